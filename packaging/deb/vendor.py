"""Fill the trees of the runtime packages with locked wheels for another Python or architecture.

    python packaging/deb/vendor.py --release trixie --arch arm64 --out build/deb/trees

Nothing of the target is run, so arm64 is built on x86 without emulation. Every wheel must have a
hash of the lock. One tree for each flavour: ``OUT/{flavour}/…`` as in site-packages.
"""

from __future__ import annotations

import argparse
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
FLAVOURS = ("base", "litert", "onnx", "opencv", "fleet")


def table() -> dict[str, Any]:
    """flavours.toml."""
    return tomllib.loads((HERE / "flavours.toml").read_text(encoding="utf-8"))


def locked(python: str, arch: str) -> dict[str, str]:
    """Name → its lines of the lock, as they hold for a Python on Linux of this architecture."""
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


def platforms(glibc: int, arch: str) -> list[str]:
    """pip's tags, newest first: it does not expand them when it is asked for another machine."""
    machine = MACHINE[arch]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc, 16, -1)]
    return [*tags, f"manylinux2014_{machine}"]


def fill(flavour: str, release: str, arch: str, out: Path) -> None:
    """Install a flavour's wheels into ``out/flavour`` and take out what no device needs.

    Raises:
        SystemExit: a distribution is not in the lock, pip fails, or a pattern of things to be
            removed matches nothing (then it is out of date, and the package silently larger).
    """
    plan = table()
    its, where = plan["release"][release], out / flavour
    lines = locked(its["python"], arch)
    missing = [name for name in plan[flavour]["distributions"] if name not in lines]
    if missing:
        raise SystemExit(f"{LOCK} has no {', '.join(missing)} for Python {its['python']}")
    shutil.rmtree(where, ignore_errors=True)
    wanted = out / f"{flavour}.txt"
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.write_text("\n".join(lines[name] for name in plan[flavour]["distributions"]) + "\n")
    command = [
        sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check",
        "--no-compile", "--no-deps", "--require-hashes", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", its["python"],
        *(f"--platform={tag}" for tag in platforms(its["glibc"], arch)),
        "--target", str(where), "-r", str(wanted),
    ]  # fmt: skip
    subprocess.run(command, check=True, umask=0o022)
    _trim(where, plan[flavour]["remove"], plan["every"]["remove"])
    _order(where)


def _trim(where: Path, own: list[str], common: list[str]) -> None:
    for pattern in own:
        found = sorted(where.glob(pattern))
        if not found:
            raise SystemExit(f"flavours.toml: {pattern} matches nothing any more in {where}")
        _remove(found)
    for pattern in common:
        _remove(sorted(where.glob(pattern)))


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _order(where: Path) -> None:
    """The same modes whoever builds. Wheels mark scripts as executable that nobody executes."""
    for folder, _, files in os.walk(where):
        Path(folder).chmod(0o755)
        for name in files:
            (Path(folder) / name).chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--release", required=True, choices=sorted(table()["release"]))
    parser.add_argument("--arch", required=True, choices=sorted(MACHINE))
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--flavour", action="append", choices=FLAVOURS)
    told = parser.parse_args()
    for flavour in told.flavour or FLAVOURS:
        fill(flavour, told.release, told.arch, told.out)


if __name__ == "__main__":
    main()
