"""Descriptors of SQLite's own files that stay open as long as SQLite has them open.

POSIX takes away all locks that a process holds on a file when it closes *any* descriptor of
it. So what is opened beside SQLite is kept, by inode, until the file is deleted or the outbox
is closed.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

_lock = threading.Lock()
_held: dict[tuple[int, int], tuple[int, Path]] = {}


def descriptor(path: Path) -> int:
    """An open descriptor (read and write) of the file that is at ``path`` now. Never close it.

    Raises: OSError.
    """
    found = path.stat()
    key = (found.st_dev, found.st_ino)
    with _lock:
        if key not in _held:
            _drop_deleted()
            _held[key] = (os.open(path, os.O_RDWR | os.O_CLOEXEC), path)
        return _held[key][0]


def release(folder: Path) -> None:
    """Close what was held below ``folder``; no connection to it may be open any more."""
    with _lock:
        for key, (handle, path) in list(_held.items()):
            if folder in path.parents:
                os.close(handle)
                del _held[key]


def _drop_deleted() -> None:
    for key, (handle, _) in list(_held.items()):
        if os.fstat(handle).st_nlink == 0:
            os.close(handle)
            del _held[key]
