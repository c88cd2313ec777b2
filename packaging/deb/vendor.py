"""Locked wheels for another Python or architecture, as the trees of the library packages.

Nothing of the target is run, so arm64 is built on x86 without emulation. Every wheel must have a
hash of the lock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

HERE = Path(__file__).parent
LOCK = HERE.parent / "locks" / "dev.txt"
MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}


def plan() -> dict[str, Any]:
    """flavours.toml."""
    return tomllib.loads((HERE / "flavours.toml").read_text(encoding="utf-8"))


def flavours() -> list[str]:
    """Names of the packages that hold libraries."""
    return list(plan()["flavour"])


def locked(python: str, arch: str) -> dict[str, str]:
    """Name → its line of the lock with hashes, as it holds for a Python on that architecture."""
    # Markers ask for the Python that will run there, not for the one that runs this.
    target = {
        "python_version": python, "python_full_version": f"{python}.0",
        "implementation_name": "cpython", "platform_python_implementation": "CPython",
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
        "platform_machine": MACHINE[arch],
    }  # fmt: skip
    found: dict[str, str] = {}
    for stanza in LOCK.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if not stanza.strip() or stanza.lstrip().startswith("#"):
            continue
        said, *hashes = stanza.split("--hash=")
        its = Requirement(said.strip())
        if its.marker is None or its.marker.evaluate(target):
            pinned = f"{its.name}{its.specifier}"
            found[its.name] = " ".join([pinned, *(f"--hash={value.strip()}" for value in hashes)])
    return found


def version(name: str, python: str, arch: str) -> str:
    """The locked version of a distribution."""
    return locked(python, arch)[name].split("==")[1].split()[0]


def platforms(glibc: int, arch: str) -> list[str]:
    """pip's tags, newest first: it does not expand them when it is asked for another machine."""
    machine = MACHINE[arch]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc, 16, -1)]
    return [*tags, f"manylinux2014_{machine}"]


def fill(flavour: str, release: str, arch: str, where: Path, wheels: Path) -> None:
    """Install a flavour's wheels into a folder, and take out what no device needs.

    Args:
        flavour: name of the package, in flavours.toml.
        release: Debian's, likewise.
        arch: Debian's name of the architecture.
        where: the folder, made anew.
        wheels: where downloaded wheels are kept for the next time.

    Raises:
        SystemExit: a distribution is not in the lock, or a pattern of things to be removed
            matches nothing (then it is out of date, and the package silently larger).
        CalledProcessError: pip has failed, and said why.
    """
    table = plan()
    its, target = table["flavour"][flavour], table["release"][release]
    lines = locked(target["python"], arch)
    missing = [name for name in its["distributions"] if name not in lines]
    if missing:
        raise SystemExit(f"{LOCK} has no {', '.join(missing)} for Python {target['python']}")
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    wanted = where.with_suffix(".txt")
    wanted.write_text("\n".join(lines[name] for name in its["distributions"]) + "\n")
    same = [
        "-qq", "--disable-pip-version-check", "--no-deps", "--require-hashes",
        "--only-binary=:all:", "--implementation", "cp", "--python-version", target["python"],
        # The wheels are for that Python; the one that runs pip does not matter.
        "--ignore-requires-python",
        *(f"--platform={tag}" for tag in platforms(target["glibc"], arch)),
        "-r", str(wanted),
    ]  # fmt: skip
    wheels.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "download", *same, "--dest", str(wheels)], check=True)
    subprocess.run(
        [*pip, "install", *same, "--no-compile", "--no-index", "--find-links", str(wheels),
         "--target", str(where)],
        check=True,
    )  # fmt: skip
    trim(where, [*its["remove"], *its.get(f"remove_{arch}", ())], table["every"]["remove"])


def trim(where: Path, own: list[str], common: list[str]) -> None:
    """Remove what matches, and give the rest the same modes whoever builds.

    Raises:
        SystemExit: one of ``own`` matches nothing.
    """
    for pattern in own:
        found = sorted(where.glob(pattern))
        if not found:
            raise SystemExit(f"flavours.toml: {pattern} matches nothing any more in {where}")
        _remove(found)
    for pattern in common:
        _remove(sorted(where.glob(pattern)))
    for folder, _, files in os.walk(where):
        Path(folder).chmod(0o755)
        for name in files:
            # Wheels mark scripts as executable that nobody executes.
            (Path(folder) / name).chmod(0o644)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
