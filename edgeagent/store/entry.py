"""Getting into a data folder: its lock, and why one is kept out."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from edgeagent.errors import (
    FORBIDDEN,
    Busy,
    EdgeAgentError,
    NotPermitted,
    StoreError,
    UsageError,
    unwritable,
)
from edgeagent.store import epochs

_NO_FOLDER = (errno.EEXIST, errno.ENOTDIR)


def locked(folder: Path) -> int:
    """An exclusive lock on the outbox folder, held as long as the descriptor is open.

    Raises:
        Busy: another process has it.
        NotPermitted, StoreFull, UsageError, StoreError: as `refusal` tells.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise refusal(folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise Busy(
            f"{folder}: another process, probably an agent, works on this data folder",
            remedy="Ask it with: edgeagent status. Or use another --data-dir.",
        ) from error
    return handle


def give_back(folder: Path, *names: str) -> None:
    """What root has made in a data folder belongs to whom the folder belongs: the agent must
    write it. Raises OSError."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    for name in names:
        place = folder / name
        for path in (place, *place.rglob("*")) if place.exists() else ():
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def refusal(folder: Path, error: OSError) -> EdgeAgentError:
    """The error of ours for what the system says about a data folder."""
    said = f"the data folder {folder} can't be used: {error.strerror}"
    if error.errno in FORBIDDEN:
        remedy = "Name one that can be written: --data-dir, or storage.data_dir."
        if error.errno != errno.EROFS:
            remedy = f"Give it to the agent's user: sudo chown -R edgeagent: {folder}"
        return NotPermitted(said, remedy=remedy)
    if error.errno in _NO_FOLDER:
        return UsageError(
            f"the data folder {folder} is not a folder, or lies in something that is none",
            remedy="Name a folder with --data-dir, or with storage.data_dir.",
        )
    return unwritable(folder, error)


def barred(folder: Path, error: StoreError | OSError) -> EdgeAgentError:
    """Why an outbox that can be locked can't be opened. SQLite tells a missing permission as one
    of many reasons, so the files themselves are asked."""
    database = epochs.database_path(folder)
    names = (database.name, f"{database.name}-wal", f"{database.name}-shm")
    for file in (folder, database.parent, *(database.with_name(name) for name in names)):
        if os.path.lexists(file) and not _usable(file):
            said = os.strerror(errno.EACCES)
            return NotPermitted(
                f"the data folder {folder} can't be used: {file}: {said}",
                remedy=f"Give it to the agent's user: sudo chown -R edgeagent: {folder}",
            )
    return error if isinstance(error, StoreError) else refusal(folder, error)


def _usable(file: Path) -> bool:
    needed = os.R_OK | os.W_OK | (os.X_OK if file.is_dir() else 0)
    return os.access(file, needed, effective_ids=True)
