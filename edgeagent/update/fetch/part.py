"""A file while it is being brought: what is here of it survives stops and power cuts."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from edgeagent.durable import sync, write_through
from edgeagent.errors import StoreFull, Untrusted, unwritable
from edgeagent.update.fetch.pieces import Pieces

_NOTE_S = 2.0
"""What has come within is put on the medium and written down: so much is repeated, at most, after
a kill or a power cut, on a fast link as on a slow one."""


class _Noted(Struct):
    """The file ``{name}.map``."""

    size: int
    sha256: str
    here: list[tuple[int, int]]
    """Ranges of units (`Pieces.ranges`)."""


class Part:
    """``{into}.part``, with ``{into}.map`` that tells what is here. A `Sink`.

    The map is written only after the bytes are on the medium, so that it never promises more
    than there is. A file of another size or hash begins anew.
    """

    def __init__(
        self, into: Path, size: int, sha256: str,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> None:  # fmt: skip
        """Raises StoreError and its kinds."""
        self.into = into
        self.sha256 = sha256
        self.pieces = Pieces(size)
        self._progress = progress
        self._file = into.with_name(f"{into.name}.part")
        self._map = into.with_name(f"{into.name}.map")
        self._unnoted = False
        self._noted_at = time.monotonic()
        try:
            into.parent.mkdir(parents=True, exist_ok=True)
            self._load(size)
            self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise unwritable(self._file, error) from error
        try:
            _reserve(self._fd, size)
        except OSError as error:
            self.discard()
            raise unwritable(self._file, error) from error
        progress(self.pieces.done, size)

    def put(self, offset: int, data: bytes) -> None:
        try:
            if os.pwrite(self._fd, data, offset) != len(data):
                raise StoreFull(f"{self._file}: no space left", remedy="Free space on the disk.")
        except OSError as error:
            raise unwritable(self._file, error) from error
        self.pieces.add(offset, len(data))
        self._unnoted = True
        self.pause()
        self._progress(self.pieces.done, self.pieces.size)

    def pause(self) -> None:
        if self._unnoted and time.monotonic() - self._noted_at >= _NOTE_S:
            self.note()

    def note(self) -> None:
        """Have what is here remembered. Raises StoreError."""
        document = _Noted(self.pieces.size, self.sha256, self.pieces.ranges())
        try:
            os.fdatasync(self._fd)
            fresh = self._map.with_suffix(".map~")
            write_through(fresh, msgspec.json.encode(document))
            fresh.replace(self._map)
        except OSError as error:
            raise unwritable(self._map, error) from error
        self._unnoted, self._noted_at = False, time.monotonic()

    def finish(self) -> None:
        """Check the whole, and give it its name, on the medium.

        Raises Untrusted where it is not what was signed; nothing is left of it then.
        """
        found = hashlib.sha256()
        with os.fdopen(os.dup(self._fd), "rb") as stream:
            stream.seek(0)
            for block in iter(lambda: stream.read(1 << 20), b""):
                found.update(block)
        if found.hexdigest() != self.sha256:
            self.discard()
            raise Untrusted(
                f"{self.into.name}: what came is not what was signed "
                f"(sha256 {found.hexdigest()[:12]}…, signed {self.sha256[:12]}…)"
            )
        try:
            os.fsync(self._fd)
            self.close()
            self._file.replace(self.into)
            self._map.unlink(missing_ok=True)
            sync(self.into.parent)
        except OSError as error:
            raise unwritable(self.into, error) from error

    def discard(self) -> None:
        """Nothing of it is wanted any more."""
        self.close()
        self._file.unlink(missing_ok=True)
        self._map.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it; a later `Part` goes on. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _load(self, size: int) -> None:
        try:
            noted = msgspec.json.decode(self._map.read_bytes(), type=_Noted)
            whole = self._file.stat().st_size == size
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            whole, noted = False, _Noted(0, "", [])
        if whole and (noted.size, noted.sha256) == (size, self.sha256):
            self.pieces = Pieces(size, noted.here)
        else:
            self._map.unlink(missing_ok=True)
            self._file.unlink(missing_ok=True)


class Buffer:
    """A small file in memory. A `Sink`."""

    def __init__(self, size: int, sha256: str = "") -> None:
        self.pieces = Pieces(size)
        self.sha256 = sha256
        self.data = bytearray(size)

    def put(self, offset: int, data: bytes) -> None:
        self.pieces.add(offset, len(data))
        self.data[offset : offset + len(data)] = data

    def pause(self) -> None:
        """Nothing of it is remembered."""


def _reserve(fd: int, size: int) -> None:
    """Have room for all of it now, rather than run out of it in the middle. Raises OSError."""
    if os.fstat(fd).st_size == size:
        return
    system = os.fstatvfs(fd)
    if size > system.f_bavail * system.f_frsize:
        # Asked for it, some file systems would first give all that there is.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        if size:
            os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
            raise
    os.ftruncate(fd, size)
