"""Files that are whole or not there, whatever the power does: written beside the old one, put on
the medium, and given its name in one step."""

from __future__ import annotations

import os
from pathlib import Path

from edgeagent.errors import unwritable

_PLAIN = 0o666


def replace(file: Path, data: bytes, *, mode: int = _PLAIN) -> None:
    """As `put`. Raises StoreError and its kinds, NotPermitted, UsageError (`errors.unwritable`)."""
    try:
        put(file, data, mode=mode)
    except OSError as error:
        raise unwritable(file, error) from error


def put(file: Path, data: bytes, *, mode: int = _PLAIN, group: int | None = None) -> None:
    """Put a file in place of another one: after a power cut there is one of both, whole.

    Args:
        mode: of a new file, less the process's umask.
        group: it then belongs to root and this group, which only root can give away.

    Raises:
        OSError: the old file is as it was, and nothing is left beside it.
    """
    fresh = file.with_name(f"{file.name}~")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_through(fresh, data, mode=mode)
        if group is not None:
            os.chown(fresh, 0, group)
        fresh.replace(file)
        sync(file.parent)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def write_through(file: Path, data: bytes, *, mode: int = _PLAIN) -> None:
    """Write a whole file and have it on the medium. Raises OSError."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync(path: Path) -> None:
    """Have a file, or the names that were given or taken in a folder, on the medium.

    Raises OSError.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
