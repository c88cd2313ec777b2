"""How the update writes: what has returned is on the medium, and a power cut leaves the old or
the new.

On Linux a file's content is safe after fsync of the file, its name after fsync of the folder
(fsync(2)); a rename replaces at one instant (rename(2)). Everything below is made of these, and
every change of a name or a content in this package goes through here, so that a test can cut
the power at each of them.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from edgeagent.errors import FULL, StoreError, StoreFull

_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
FRESH = ".new"
"""Ending of a file that is being written."""


class Disk:
    """Durable changes. Raises of all: StoreFull, StoreError."""

    def write(self, file: Path, content: bytes) -> None:
        """Replace a file's content at one instant."""
        fresh = file.with_name(file.name + FRESH)
        try:
            self.folder(file.parent)
            self._put(fresh, content)
            self._sync(fresh)
            self._rename(fresh, file)
            self._sync(file.parent)
        except OSError as error:
            raise failed(file, error) from error

    def folder(self, folder: Path) -> None:
        """Have a folder, and those above it."""
        if folder.is_dir():
            return
        self.folder(folder.parent)
        try:
            self._make(folder)
            self._sync(folder.parent)
        except OSError as error:
            raise failed(folder, error) from error

    def move(self, source: Path, into: Path) -> None:
        """Give a file or folder another name, which nothing has yet."""
        try:
            self.folder(into.parent)
            self._rename(source, into)
            self._sync(into.parent)
            self._sync(source.parent)
        except OSError as error:
            raise failed(into, error) from error

    def share(self, source: Path, into: Path) -> None:
        """Have the same content under two names: one file where the file system can."""
        try:
            try:
                self._link(source, into)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self._put(into, source.read_bytes())
                self._sync(into)
            self._sync(into.parent)
        except OSError as error:
            raise failed(into, error) from error

    def settle(self, file: Path) -> None:
        """Somebody else has written it."""
        try:
            self._sync(file)
        except OSError as error:
            raise failed(file, error) from error

    def remove(self, path: Path) -> None:
        """A file, or a folder with all that is in it; nothing happens where there is none.

        A folder is renamed first: half of it must not look like the whole.
        """
        try:
            gone = path.with_name(f".gone-{path.name}")
            if path.is_dir() and not path.is_symlink():
                if gone.exists():
                    self._delete(gone)
                self._rename(path, gone)
                self._sync(path.parent)
            elif path.exists():
                self._delete(path)
            if gone.exists():
                self._delete(gone)
        except OSError as error:
            raise failed(path, error) from error

    # --- the few calls that change something

    def _put(self, file: Path, content: bytes) -> None:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with os.fdopen(handle, "wb") as out:
            out.write(content)

    def _sync(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _rename(self, source: Path, into: Path) -> None:
        source.rename(into)

    def _make(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)

    def _link(self, source: Path, into: Path) -> None:
        os.link(source, into)

    def _delete(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            import shutil  # not needed to start

            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def failed(place: Path, error: OSError) -> StoreError:
    """The system's refusal as one of ours: a full disk is waited for, the rest is told."""
    said = f"{place}: can't be written: {error.strerror}"
    if error.errno in FULL:
        return StoreFull(said, remedy="Free space on the disk, or remove models.")
    return StoreError(said, remedy=f"Make {place.parent} writable for the agent's user.")
