"""``storage.max``: one cap on everything that the agent writes, shared out beforehand.

The data folder holds the outbox's database, as much again for what is set aside while its
records are carried over, evidence, and what others write there: models, what a fetch or a proof
leaves meanwhile, snapshots of the configuration. Each share is a promise, so the sum can't pass
the cap even while all of them are full: the database is ballast for the rest, not the other way
round. Where `outbox.max` and `outbox.blobs` leave no room for that, both are scaled down.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from edgeagent.errors import StoreFull

SLACK = 512 * 1024
"""Folders, the epoch's mark, locks, the last good configuration."""
LEAST = 1024 * 1024
"""An outbox smaller than this is of no use (`Space`)."""
BLOCK = 4096
_OWN = frozenset({"db", "db.new", "aside", "quarantine", "blobs", "reserve", "lock", "epoch.json"})


class Shares(Struct, frozen=True):
    """In bytes; ``2 * outbox + blobs + others + SLACK`` is the cap."""

    outbox: int
    blobs: int
    others: int

    @property
    def store(self) -> int:
        """All that the outbox writes."""
        return 2 * self.outbox + self.blobs


def shares(cap: int, outbox: int, blobs: int) -> Shares:
    """What each may take of ``cap`` when the outbox would like ``outbox`` and ``blobs``."""
    room = max(cap - SLACK, 2 * LEAST)
    wanted = 2 * outbox + blobs
    if wanted > room:
        outbox = max(LEAST, outbox * room // wanted // BLOCK * BLOCK)
        blobs = max(0, min(blobs, room - 2 * outbox))
    return Shares(outbox, blobs, max(0, room - 2 * outbox - blobs))


class Allotment:
    """Who asks before writing into the data folder. Any thread."""

    def __init__(self, folder: Path, cap: int, given: Shares) -> None:
        self.cap = cap
        self.shares = given
        self._folder = folder
        self._lock = threading.Lock()
        self._claimed = 0

    def others(self) -> int:
        """Bytes on disk in the data folder that are not the outbox's."""
        total = 0
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name not in _OWN:
                        total += tree_bytes(Path(entry.path))
        except OSError:
            # Nothing there yet.
            return 0
        return total

    def left(self) -> int:
        """What others may still write."""
        with self._lock:
            return self._left()

    def _left(self) -> int:
        return max(0, self.shares.others - self.others() - self._claimed)

    @contextmanager
    def claim(self, size: int, what: str) -> Iterator[None]:
        """Write up to ``size`` bytes inside the block, e.g. ``what = "model parts 1.3.0"``.

        Raises: StoreFull, where that would pass ``storage.max``.
        """
        with self._lock:
            left = self._left()
            if size > left:
                raise StoreFull(
                    f"{what} needs {size:,} bytes, and storage.max leaves {left:,}",
                    remedy="Raise storage.max, lower outbox.max, or remove models.",
                )
            self._claimed += size
        try:
            yield
        finally:
            with self._lock:
                self._claimed -= size


def tree_bytes(path: Path) -> int:
    """Bytes that a file, or all files below a folder, take on disk."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_blocks * 512
        return sum(tree_bytes(Path(entry.path)) for entry in os.scandir(path))
    except OSError:
        # Gone meanwhile.
        return 0
