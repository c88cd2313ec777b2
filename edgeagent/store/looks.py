"""Who looked: one line of JSON for each time that somebody was shown what the device keeps.

Lines are only ever appended, each by one write that is on the medium before the answer goes out;
the oldest go by files (`_FILES`) when the log is full. A torn last line is of a look that got no
answer.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeagent import clock
from edgeagent.errors import NotPermitted, unwritable

FOLDER = "looks"
MAX_BYTES = 1 << 20
"""Of all files together: about 4,000 looks."""
_FILES = 4
_LONGEST = 2000
_LOCK = "lock"


def note(
    data_dir: Path,
    what: str,
    by: str,
    detail: Mapping[str, Any] | None = None,
    *,
    max_bytes: int = MAX_BYTES,
) -> dict[str, Any]:
    """Keep that ``by`` was shown ``what``; the line as it is kept. What stands in ``detail`` may
    come from anybody: it never takes the place of what is known here.

    Any process that may write to the folder. Raises NotPermitted, StoreFull, StoreError.
    """
    known: dict[str, Any] = {
        "at": clock.rfc3339(clock.wall_ns()),
        "clock": "synced" if clock.synced() else "unsynced",
        "boot": clock.boot_id(), "mono_ms": int(clock.mono_ms()),
        "what": what, "by": by,
    }  # fmt: skip
    line = {**known, **{key: its for key, its in (detail or {}).items() if key not in known}}
    data = json.dumps(line, ensure_ascii=False).encode()
    if len(data) > _LONGEST:
        line = {**known, "cut": len(data)}
        data = json.dumps(line, ensure_ascii=False).encode()
    folder = data_dir / FOLDER
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        with _alone(folder):
            _append(folder, data + b"\n", max_bytes)
    except OSError as error:
        raise unwritable(folder, error) from error
    return line


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other thread or process appends or purges meanwhile: what is appended to a file that is
    just being replaced would be lost. Raises OSError."""
    # Not for the group: whoever may read it could hold the lock.
    handle = os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _append(folder: Path, data: bytes, max_bytes: int) -> None:
    files = segments(folder)
    newest = files[-1] if files else None
    if newest is None or newest.stat().st_size + len(data) > max_bytes // _FILES:
        number = int(newest.stem) + 1 if newest is not None else 1
        newest = folder / f"{number:08d}.jsonl"
        for old in files[: len(files) - _FILES + 1]:
            old.unlink(missing_ok=True)
    handle = os.open(newest, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            data = b"\n" + data  # a power cut has torn the last line
        os.write(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def segments(folder: Path) -> list[Path]:
    """The files, oldest first; none where there is no folder. Raises OSError."""
    if not folder.is_dir():
        return []
    return sorted(
        file for file in folder.iterdir() if file.suffix == ".jsonl" and file.stem.isdigit()
    )


def read(data_dir: Path) -> Iterator[dict[str, Any]]:
    """All lines, oldest first; torn ones are left out.

    Raises:
        NotPermitted: this user may not read them.
    """
    folder = data_dir / FOLDER
    try:
        for file in segments(folder):
            try:
                lines = file.read_bytes().splitlines()
            except FileNotFoundError:
                continue  # it was the oldest, and went just now
            yield from filter(None, map(_line, lines))
    except PermissionError as error:
        raise NotPermitted(
            f"{error.filename or folder}: who looked may not be read by this user",
            remedy="Ask as the agent's user: sudo -u edgeagent edgeagent privacy log",
        ) from error


def _line(data: bytes) -> dict[str, Any] | None:
    try:
        its = json.loads(data)
    except ValueError:
        return None
    return its if isinstance(its, dict) and "what" in its else None


def purge(data_dir: Path, old: Callable[[dict[str, Any]], bool], *, dry: bool) -> int:
    """Take out the lines that are ``old``; how many. Raises NotPermitted, StoreError."""
    from edgeagent.durable import put

    folder, gone = data_dir / FOLDER, 0
    if not folder.is_dir():
        return 0
    try:
        with _alone(folder):
            for file in segments(folder):
                lines = file.read_bytes().splitlines(keepends=True)
                kept = [line for line in lines if not ((its := _line(line)) and old(its))]
                gone += len(lines) - len(kept)
                if dry or len(kept) == len(lines):
                    continue
                if kept:
                    put(file, b"".join(kept), mode=0o640)
                else:
                    file.unlink()
    except OSError as error:
        raise unwritable(folder, error) from error
    return gone
