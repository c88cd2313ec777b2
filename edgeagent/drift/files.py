"""References on disk: a file for each version of a pipeline's model, whole or not there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from edgeagent import durable
from edgeagent.errors import NotPermitted, StoreError

FOLDER = "drift"
_ENDING = ".sketches"


class Claims(Protocol):
    """Whom to ask for room in the data folder (a `store.allotment.Allotment`)."""

    def claim(self, size: int, what: str) -> AbstractContextManager[None]:
        """Raises StoreFull."""


class Files:
    """The folder of one data folder."""

    def __init__(self, data_dir: Path, room: Callable[[], Claims | None]) -> None:
        self._folder = data_dir / FOLDER
        self._room = room
        self.written = 0
        """Bytes, since the start."""

    def read(self, name: str) -> bytes | None:
        """None where there is none. Raises NotPermitted, StoreError."""
        file = self._file(name)
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise NotPermitted(f"{file}: may not be read by this user") from error
        except OSError as error:
            raise StoreError(f"{file}: can't be read: {error.strerror}") from error

    def write(self, name: str, data: bytes) -> None:
        """Put it in place of the old one. Raises StoreFull, StoreError, NotPermitted."""
        room = self._room()
        with room.claim(len(data), "what is usual for a pipeline") if room else nullcontext():
            durable.replace(self._file(name), data)
        self.written += len(data)

    def remove(self, name: str) -> None:
        """Raises StoreError."""
        file = self._file(name)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{file}: can't be removed: {error.strerror}") from error

    def trim(self, name: str, most: int) -> None:
        """Keep the newest files beside this one. Raises StoreError."""
        own = self._file(name)
        try:
            others = [its for its in own.parent.glob(f"*{_ENDING}") if its != own]
            others.sort(key=lambda its: its.stat().st_mtime)
            for file in others[: max(0, len(others) - most)]:
                file.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{own.parent}: {error.strerror}") from error

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}{_ENDING}"
