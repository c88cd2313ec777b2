"""What is stored, counted: how many, how many bytes, from when to when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from edgeagent import clock
from edgeagent.errors import NotFound
from edgeagent.store.books import stored_ranges
from edgeagent.store.database import Database, close_quietly
from edgeagent.store.erase import stamp_of
from edgeagent.store.ranges import Ranges
from edgeagent.store.verify import open_to_read


class Kept(Struct):
    """Of one kind of thing. Times are RFC 3339, by the clock of when it was written; empty = there
    is none."""

    count: int = 0
    bytes: int = 0
    oldest: str = ""
    newest: str = ""

    def add(self, at_ns: int, size: int) -> None:
        """One more."""
        at = clock.rfc3339(at_ns)
        self.count += 1
        self.bytes += size
        self.oldest = min(self.oldest or at, at)
        self.newest = max(self.newest, at)


def files(*places: Path) -> Kept:
    """All files at and below these places, by when they were last written. Raises OSError where
    they may not be looked at."""
    found = Kept()
    for place in places:
        for file in walk(place):
            try:
                state = file.lstat()
            except FileNotFoundError:
                continue  # gone meanwhile
            found.add(state.st_mtime_ns, state.st_size)
    return found


def walk(place: Path) -> Iterator[Path]:
    """The place, if it is a file, or all files below it. Raises OSError."""
    if not place.is_dir():
        if place.exists():
            yield place
        return
    with os.scandir(place) as entries:
        for entry in sorted(entries, key=lambda its: its.name):
            if entry.is_dir(follow_symlinks=False):
                yield from walk(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def outbox(folder: Path) -> dict[str, Kept]:
    """``waiting`` and ``sent`` records, ``evidence`` (by its files), ``refused`` records and
    ``commands`` of an outbox; empty ones where there is none yet.

    Raises: NotPermitted, StoreError and its kinds.
    """
    found = {name: Kept() for name in ("waiting", "sent", "evidence", "refused", "commands")}
    try:
        db = open_to_read(folder)
    except NotFound:
        return found
    try:
        _records(db, found)
        _tables(db, found)
        for (sha256,) in db.rows("SELECT sha256 FROM blob"):
            file = folder / "blobs" / sha256
            if file.is_file():
                found["evidence"].add(file.stat().st_mtime_ns, file.stat().st_size)
    finally:
        close_quietly(db)
    return found


def _records(db: Database, found: dict[str, Kept]) -> None:
    settled = Ranges(stored_ranges(db, "settled"))
    last = int(db.value("SELECT coalesce(max(seq), 0) FROM record"))
    spans = [("sent", span) for span in settled.within(1, last)]
    spans += [("waiting", span) for span in settled.absent(1, last)]
    for name, span in spans:
        count, size, first, newest = db.rows(
            "SELECT count(*), coalesce(sum(length(body)), 0), min(seq), max(seq)"
            " FROM record WHERE seq BETWEEN ? AND ?", span,
        )[0]  # fmt: skip
        if not count:
            continue
        its = found[name]
        its.count += count
        its.bytes += size
        for seq in (first, newest):
            body = db.value("SELECT body FROM record WHERE seq = ?", (seq,))
            at = clock.rfc3339(stamp_of(body or b"").wall_ns)
            its.oldest = min(its.oldest or at, at)
            its.newest = max(its.newest, at)


def _tables(db: Database, found: dict[str, Kept]) -> None:
    for name, table, size, at in (
        ("refused", "dead", "body", "at"), ("commands", "command", "status", "since"),
    ):  # fmt: skip
        row = db.rows(
            f"SELECT count(*), coalesce(sum(length({size})), 0), min(nullif({at}, '')), max({at})"
            f" FROM {table}"
        )[0]
        found[name] = Kept(row[0], row[1], row[2] or "", row[3] or "")


def status_without_result(data: bytes) -> bytes | None:
    """A journaled status without what a command has answered; None = it has no answer."""
    try:
        status = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return b"{}"
    if not isinstance(status, dict) or "result" not in status:
        return None
    return msgspec.json.encode({key: its for key, its in status.items() if key != "result"})
