"""Where the demo keeps things: what it fetched (a cache) and what it made (a folder)."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeagent.errors import NotPermitted, UsageError

_MARK = ".edgeagent-demo"
"""Only a folder with this file in it is ever removed."""


def default_dir() -> Path:
    """``~/.local/share/edgeagent/demo`` (XDG_DATA_HOME)."""
    return _xdg("XDG_DATA_HOME", ".local/share") / "edgeagent" / "demo"


def cache_dir() -> Path:
    """``~/.cache/edgeagent/demo`` (XDG_CACHE_HOME)."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "edgeagent" / "demo"


def _xdg(variable: str, fallback: str) -> Path:
    named = os.environ.get(variable, "")
    return Path(named) if named else Path.home() / fallback


@dataclass(frozen=True, slots=True)
class Folders:
    """The folder of one demo and what lies in it."""

    root: Path
    page: Path

    @property
    def data(self) -> Path:
        """The agent's data folder."""
        return self.root / "data"

    @property
    def pictures(self) -> Path:
        return self.root / "pictures"

    @property
    def clip(self) -> Path:
        """The clip with glare."""
        return self.root / "clip.avi"

    @property
    def versions(self) -> Path:
        """Further versions of a model, made to be pushed to the agent."""
        return self.root / "versions"

    @property
    def config(self) -> Path:
        return self.root / "agent.toml"

    @property
    def received(self) -> Path:
        """What the independent reader got, one batch a line."""
        return self.root / "received.jsonl"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def renew(self) -> None:
        """Empty the folder of an earlier demo, or make it.

        Raises:
            UsageError: there is something in it that no demo has put there.
            NotPermitted: the operating system refuses.
        """
        if self.root.is_dir() and any(self.root.iterdir()) and not marked(self.root):
            raise UsageError(
                f"{self.root} is not empty and holds no demo",
                remedy="Name another folder with --dir.",
            )
        try:
            for old in (self.data, self.pictures, self.logs, self.versions):
                if old.exists():
                    shutil.rmtree(old)
            for folder in (self.root, self.data, self.pictures, self.logs, self.page.parent):
                folder.mkdir(parents=True, exist_ok=True)
            self.received.unlink(missing_ok=True)
            (self.root / _MARK).touch()
        except OSError as error:
            raise NotPermitted(f"{error.filename or self.root}: {error.strerror}") from error


def marked(folder: Path) -> bool:
    """Whether a demo has made this folder."""
    return (folder / _MARK).is_file()


def mark(folder: Path) -> None:
    """Make a folder that `clean` may remove."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()


def clean(root: Path) -> list[Path]:
    """Remove the demo's folder and its cache; what was removed.

    Raises NotPermitted. A folder that no demo has made is left alone.
    """
    removed = []
    for folder in (root, cache_dir()):
        if not marked(folder):
            continue
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise NotPermitted(f"{error.filename or folder}: {error.strerror}") from error
        removed.append(folder)
    return removed
