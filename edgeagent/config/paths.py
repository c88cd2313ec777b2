"""Where things lie: configuration, data, and what is shipped beside the code."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

SYSTEM_CONFIG = Path("/etc/edgeagent/agent.toml")
SYSTEM_DATA = Path("/var/lib/edgeagent")


def data_dir(named: str | Path | None = None, config_file: Path | None = None) -> Path:
    """The data folder: as named, else the service's, else the user's own.

    The service's is what systemd says (``STATE_DIRECTORY``), or /var/lib/edgeagent where the
    configuration is the system's: a person who asks about the running service means that one.
    """
    if named:
        return Path(named).expanduser().absolute()
    state = os.environ.get("STATE_DIRECTORY", "")
    if state:
        return Path(state.split(":")[0])
    if config_file is not None and config_file.is_relative_to(SYSTEM_CONFIG.parent):
        return SYSTEM_DATA
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser().absolute() / "edgeagent"


def view_file(folder: Path, source: str) -> Path:
    """Where in a data folder it is kept what a camera usually sees."""
    return folder / "views" / f"{source}.json"


def there(path: Path) -> bool:
    """Whether a file or folder exists; yes where this user may not look."""
    try:
        return path.exists()
    except OSError:
        return True


def shipped(name: str, data: Path | None = None, *, working: bool = False) -> list[Path]:
    """Folders ``name`` (``models``, ``device_profiles``) that exist, in the order of search:
    data folder, installed share, source checkout.

    Args:
        name: of the folder.
        data: the agent's data folder.
        working: search the working directory last. For people at a shell only: a daemon must
            not depend on where it was started.
    """
    # Where a wheel's data goes depends on the kind of installation: environment, system, user,
    # or beside whatever holds the code (--target, --prefix).
    above = Path(__file__).resolve().parents[2:]
    bases: list[str | Path] = [sysconfig.get_path("data"), sys.prefix, site.getuserbase(), *above]
    parents = [Path(base) / "share" / "edgeagent" for base in bases]
    parents.append(above[0])
    if data is not None:
        parents.insert(0, data)
    if working:
        parents.append(Path.cwd())
    folders = dict.fromkeys((parent / name).absolute() for parent in parents)
    return [folder for folder in folders if _entered(folder)]


def _entered(folder: Path) -> bool:
    """Whether it is a folder; one that this user may not even look at holds nothing for them."""
    try:
        return folder.is_dir()
    except OSError:
        return False


def within_reach(path: Path) -> bool:
    """Whether it is there and may be looked at. False also where a folder on the way may not be
    entered: whoever has to use it says so, with what helps."""
    try:
        return path.exists()
    except OSError:
        return False
