"""How many bytes the database may take, and blocks in reserve for a disk that others fill.

``max_bytes`` is shared out: a fixed log, its index, the rest pages of the database. SQLite must
write to the log even in order to delete, and writes the log back into the database file; so on
a full disk it could do neither. Therefore the log has all its blocks from the beginning and is
never cut, and the database file is always a log's worth of blocks longer than what is in it:
whatever one filling of the log can bring fits. Where the disk does not give these blocks, the
database is *frozen* at what it has, and the outbox makes room within that.
"""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

from edgeagent.errors import StoreError, UsageError
from edgeagent.store import held
from edgeagent.store.database import PAGE, Database

_FRAME = PAGE + 24
_INDEX = 64 * 1024
_HEADER = struct.Struct("=16xI")
"""WalIndexHdr: mxFrame follows 16 bytes (SQLite's "WAL-index header", walformat)."""
_NO_RESERVE = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_LEAST = 1024 * 1024
_BLIND = 32
"""Transactions between two write-backs where the log's length can't be seen."""


class Space:
    """The limits of one database, and what of them is used. Belongs to the writing thread."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        if max_bytes < _LEAST:
            raise UsageError(
                f"an outbox of {max_bytes} bytes is too small", remedy="1 MiB at least."
            )
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._shared = path.with_name(path.name + "-shm")
        self._reserve = path.parent.parent / "reserve"
        self.log_bytes = min(4 * 1024 * 1024, max(256 * 1024, max_bytes // 8))
        self.max_pages = (max_bytes - self.log_bytes - _INDEX) // PAGE
        self._allowed = 0
        """Pages for which the file has blocks."""
        self._unseen = 0
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

    def used_bytes(self) -> int:
        """Database, log and index on disk."""
        return sum(_size(file) for file in (self._path, self._log, self._shared))

    def free_bytes(self, db: Database) -> int:
        """What new records can take before the limit (or the full disk) is met."""
        pages, free = int(db.value("PRAGMA page_count")), int(db.value("PRAGMA freelist_count"))
        limit = self._allowed if self.frozen else self.max_pages
        return (max(limit - pages, 0) + free) * PAGE

    # --- blocks in reserve ---------------------------------------------------------------

    def reserve(self, db: Database) -> None:
        """Give the log all its blocks and the file those ahead, or freeze it at what it has.
        Raises StoreError."""
        pages = int(db.value("PRAGMA page_count"))
        ahead = min(self.max_pages, pages + self.log_bytes // PAGE)
        try:
            with self._log.open("r+b") as log:
                os.posix_fallocate(log.fileno(), 0, self.log_bytes)
            handle = held.descriptor(self._path)
            if ahead > pages:
                os.posix_fallocate(handle, 0, ahead * PAGE)
            self.frozen = False
        except OSError as error:
            # Some file systems can't reserve: then there is only their word at each write.
            self.frozen = error.errno not in _NO_RESERVE
            ahead = self.max_pages
        self._allowed = ahead if not self.frozen else max(pages, _size(self._path) // PAGE)
        db.run(f"PRAGMA max_page_count = {self._allowed}")

    def thaw(self, db: Database) -> None:
        """Take up the full size again if the disk has room once more. Raises StoreError."""
        if self.frozen and self._available() >= 2 * self.log_bytes:
            self.reserve(db)

    def hold(self) -> None:
        """Keep the log's blocks while the outbox is closed: SQLite deletes its log then (not
        while somebody reads)."""
        if self._log.exists():
            return
        try:
            handle = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            # Not even a name for it: there is nothing to hold.
            return
        try:
            os.posix_fallocate(handle, 0, self.log_bytes + _INDEX)
        except OSError:
            os.ftruncate(handle, 0)
        finally:
            os.close(handle)

    def let_go(self) -> None:
        """Before opening: the blocks held while it was closed are for the log now."""
        try:
            self._reserve.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self._reserve}: {error.strerror}") from error

    def _available(self) -> int:
        try:
            found = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize

    # --- the log -------------------------------------------------------------------------

    def bound_log(self, db: Database) -> None:
        """Call before a transaction: what it writes will fit the log.

        Raises:
            StoreError: a reader holds the log (it goes on when that reader is done).
        """
        frames = self._frames()
        if frames <= self.checkpoint_pages:
            return
        if self._write_back(db, "PASSIVE"):
            return
        if frames * _FRAME <= self.log_bytes // 2:
            # Some reader looks at a part of it; there is still room for a transaction.
            return
        db.run("PRAGMA busy_timeout = 250")
        try:
            done = self._write_back(db, "RESTART")
        finally:
            db.run("PRAGMA busy_timeout = 5000")
        if not done:
            raise StoreError(
                f"{self._path}: a reader holds the log", remedy="End the program that reads it."
            )

    def write_back(self, db: Database) -> None:
        """Write the log back now, as far as readers let it, and renew the reserve."""
        self._write_back(db, "PASSIVE")

    def _write_back(self, db: Database, how: str) -> bool:
        """True = all of it, and the next transaction begins the log anew."""
        row = db.one(f"PRAGMA wal_checkpoint({how})")
        self._unseen = 0
        if row is None or row[0] or row[1] != row[2]:
            return False
        self.reserve(db)
        return True

    def _frames(self) -> int:
        """Frames in the log now. Without an index (one connection alone) it can't be seen."""
        try:
            head = os.pread(held.descriptor(self._shared), _HEADER.size, 0)
        except OSError:
            self._unseen += 1
            return self.checkpoint_pages + 1 if self._unseen >= _BLIND else 0
        return int(_HEADER.unpack(head)[0]) if len(head) == _HEADER.size else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
