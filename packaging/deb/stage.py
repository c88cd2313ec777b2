"""Lays out the installed tree: an environment of Python's own kind, written as files.

`/usr/lib/edgeagent` is a virtual environment as far as Python is concerned (pyvenv.cfg beside
bin/python3), so children that the agent starts by ``sys.executable`` find what it finds, and
nothing else on the system sees its libraries. No program of the target is run to make it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIB = "lib/edgeagent"
PLUGINS = "/usr/local/lib/edgeagent/plugins"
SHARED = ("models", "device_profiles", "examples")
LAUNCHERS = {"edgeagent": "edgeagent.cli", "edgeagentd": "edgeagent.agent"}


def tracked(*folders: str) -> list[Path]:
    """Files under version control, so that nothing else gets into a package."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *folders]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in sorted(told.split("\0")) if name]


def packages(prefix: Path, python: str) -> Path:
    """Where Python looks for packages under a prefix such as ``stage/usr``."""
    return prefix / LIB / "lib" / f"python{python}" / "site-packages"


def environment(prefix: Path, python: str, interpreter: str) -> None:
    """pyvenv.cfg and the link that make Python take the folder for an environment.

    Args:
        prefix: such as ``stage/usr``.
        python: "3.11".
        interpreter: of the target, absolute.
    """
    home = prefix / LIB
    (home / "bin").mkdir(parents=True, exist_ok=True)
    (home / "bin" / "python3").symlink_to(interpreter)
    (home / "pyvenv.cfg").write_text(
        f"home = {Path(interpreter).parent}\ninclude-system-site-packages = false\n"
        f"version = {python}\n"
    )


def code(prefix: Path, python: str, version: str, *, by: str) -> None:
    """The agent's code, models, profiles and examples.

    Args:
        prefix: such as ``stage/usr``.
        python: "3.11".
        version: of the agent, as its metadata tells it.
        by: who installs, for advice: "deb" or "tarball".
    """
    site = packages(prefix, python)
    for file in tracked("edgeagent"):
        _copy(file, site / file)
    for file in tracked(*SHARED):
        if file.parts[:2] != ("models", "train"):
            _copy(file, prefix / "share" / "edgeagent" / file)
    info = site / f"edgeagent-{version.split('+')[0]}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: edgeagent\nVersion: {version.split('+')[0]}\n"
        "License-Expression: Apache-2.0\n"
    )
    # Read by edgeagent.plugins: what a person is told to install depends on how this came here.
    (prefix / LIB / "installed-by").write_text(by + "\n")


def plugins(prefix: Path, python: str, folder: str) -> None:
    """Let plugins of others lie in a folder that no package owns."""
    (packages(prefix, python) / "local.pth").write_text(folder + "\n")


def launchers(prefix: Path, python: str) -> None:
    """The commands, for a prefix that is ``python``'s parent of parents at run time."""
    (prefix / "bin").mkdir(parents=True, exist_ok=True)
    for name, module in LAUNCHERS.items():
        file = prefix / "bin" / name
        file.write_text(
            f"#!{python} -I\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n"
        )
        file.chmod(0o755)


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / file, to)
    to.chmod(0o644)
