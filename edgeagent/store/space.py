"""How many bytes the database may take, and the log that never grows beyond its share.

``max_bytes`` is shared out: a fixed log, its index, the rest pages of the database. The log is
allocated whole when the store opens and is never cut, so that a full disk can still be
written on: SQLite must write to the log even in order to delete.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from edgeagent.errors import StoreError, UsageError
from edgeagent.store.database import PAGE, Database

_FRAME = PAGE + 24
_INDEX = 64 * 1024
_HEADER = struct.Struct("=16xI")
"""WalIndexHdr: mxFrame follows 16 bytes (SQLite's "WAL-index header", walformat)."""
_LEAST = 1024 * 1024


class Space:
    """The limits of one database, and what of them is used."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        if max_bytes < _LEAST:
            raise UsageError(
                f"an outbox of {max_bytes} bytes is too small", remedy="1 MiB at least."
            )
        self._log = path.with_name(path.name + "-wal")
        self._shared = path.with_name(path.name + "-shm")
        self._path = path
        self.log_bytes = min(4 * 1024 * 1024, max(256 * 1024, max_bytes // 8))
        self.max_pages = (max_bytes - self.log_bytes - _INDEX) // PAGE
        self.frozen = False
        """The disk is full: the database must do with the pages that it has."""

    @property
    def checkpoint_pages(self) -> int:
        """The log is written back when it holds so many. A transaction is kept to half of the
        log, so both together fit."""
        return self.log_bytes * 3 // 8 // _FRAME

    @property
    def group_bytes(self) -> int:
        """Record bytes that one transaction may take in."""
        return self.log_bytes // 8

    @property
    def piece_bytes(self) -> int:
        """Record bytes that one transaction may delete or rewrite."""
        return self.log_bytes // 4

    def reserve(self) -> bool:
        """Give the log all its blocks. False = the disk has no room for it."""
        try:
            with self._log.open("r+b") as log:
                os.posix_fallocate(log.fileno(), 0, self.log_bytes)
        except OSError:
            return False
        return True

    def used_bytes(self) -> int:
        """Database, log and index on disk."""
        return sum(_size(file) for file in (self._path, self._log, self._shared))

    def free_bytes(self, db: Database) -> int:
        """What new records can take before the limit (or the full disk) is met."""
        pages, free = int(db.value("PRAGMA page_count")), int(db.value("PRAGMA freelist_count"))
        limit = pages if self.frozen else self.max_pages
        return (max(limit - pages, 0) + free) * PAGE

    def freeze(self, db: Database) -> bool:
        """A write found no space. True = the disk is full, not the database at its limit."""
        pages = int(db.value("PRAGMA page_count"))
        if pages >= self.max_pages:
            return False
        self.frozen = True
        db.value(f"PRAGMA max_page_count = {pages}")
        return True

    def thaw(self, db: Database) -> bool:
        """Take up the full size again if the disk has room for a log's worth of growth."""
        if not self.frozen:
            return True
        try:
            found = os.statvfs(self._path.parent)
        except OSError:
            return False
        if found.f_bavail * found.f_frsize < self.log_bytes or not self.reserve():
            return False
        self.frozen = False
        db.value(f"PRAGMA max_page_count = {self.max_pages}")
        return True

    def bound_log(self, db: Database) -> None:
        """Call before a transaction: what it writes will fit the log.

        Raises:
            StoreError: a reader holds the log (it goes on when that reader is done).
        """
        frames = self._frames()
        if frames <= self.checkpoint_pages:
            return
        db.run("PRAGMA busy_timeout = 250")
        try:
            busy = db.one("PRAGMA wal_checkpoint(RESTART)")
        finally:
            db.run("PRAGMA busy_timeout = 5000")
        if busy is not None and busy[0]:
            raise StoreError(
                f"{self._path}: a reader holds the log", remedy="End the program that reads it."
            )

    def _frames(self) -> int:
        """Frames in the log now. Without an index nobody else can read it, so SQLite itself
        writes it back in time."""
        try:
            with self._shared.open("rb") as shared:
                head = shared.read(_HEADER.size)
        except OSError:
            return 0
        return int(_HEADER.unpack(head)[0]) if len(head) == _HEADER.size else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
