"""Looking into an outbox and taking things out of it, from the database file.

Reads in short pieces beside a running agent, or from the copied file of a dead device.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from edgeagent.errors import InputError, StoreError
from edgeagent.store.batch import envelope
from edgeagent.store.books import stored_ranges
from edgeagent.store.database import close_quietly, last_seq
from edgeagent.store.encode import decoded, intact
from edgeagent.store.ranges import Ranges
from edgeagent.store.verify import open_to_read, resolve

_ROWS = 500
CSV_COLUMNS = (
    "seq", "state", "kind", "pipeline", "at", "clock", "boot", "mono_ms", "model", "config",
    "source", "frame", "data", "blobs", "from", "to", "count", "reason", "dropped",
)  # fmt: skip


class Filter(Struct, frozen=True):
    """What to show; empty = no limit. Times are RFC 3339 (UTC, ``Z``), compared as text."""

    kinds: frozenset[str] = frozenset()
    pipeline: str = ""
    since: str = ""
    until: str = ""
    state: str = ""
    """``pending`` | ``kept``"""

    def wants(self, record: dict[str, Any], state: str) -> bool:
        at = str(record.get("at", ""))
        return (
            (not self.kinds or record.get("kind") in self.kinds)
            and (not self.pipeline or record.get("pipeline") == self.pipeline)
            and (not self.since or at >= self.since)
            and (not self.until or at < self.until)
            and (not self.state or state == self.state)
        )


EVERYTHING = Filter()


def records(
    path: Path, chosen: Filter = EVERYTHING, *, newest_first: bool = False
) -> Iterator[tuple[dict[str, Any], str]]:
    """Records and their state (``pending`` or ``kept``). Bodies that can't be read are given as
    ``{"seq": …, "kind": "unreadable"}``.

    Raises: NotFound, StoreError and its kinds.
    """
    db = open_to_read(path)
    try:
        settled = Ranges(stored_ranges(db, "settled"))
        order, beyond, at = ("DESC", "<", 1 << 62) if newest_first else ("ASC", ">", 0)
        while True:
            rows = db.rows(
                f"SELECT seq, crc, body FROM record WHERE seq {beyond} ?"
                f" ORDER BY seq {order} LIMIT ?",
                (at, _ROWS),
            )
            if not rows:
                return
            if not newest_first:
                at = last_seq(rows, at, db.path)
            else:
                at = -last_seq([(-row[0],) for row in rows], -at, db.path)
            for seq, crc, body in rows:
                state = "kept" if seq in settled else "pending"
                record = _readable(seq, body if intact(seq, crc, body) else b"")
                if chosen.wants(record, state):
                    yield record, state
    finally:
        close_quietly(db)


def _readable(seq: int, body: bytes) -> dict[str, Any]:
    try:
        return decoded(body)
    except InputError:
        return {"seq": seq, "kind": "unreadable"}


def peek(path: Path, count: int, chosen: Filter = EVERYTHING) -> list[dict[str, Any]]:
    """The newest ``count`` records, newest first, each with its ``state``."""
    found: list[dict[str, Any]] = []
    for record, state in records(path, chosen, newest_first=True):
        if len(found) >= count:
            break
        found.append({**record, "state": state})
    return found


def evidence_file(path: Path, sha256: str) -> Path:
    """Where evidence that a record refers to lies, as long as it is kept. Raises as `resolve`."""
    return resolve(path).parent.parent / "blobs" / sha256


class Born(Struct, frozen=True):
    """Where an outbox was begun, and what waits in it."""

    machine: str
    """Hash of the machine's id."""
    pending: int


def born(path: Path) -> Born:
    """Raises: NotFound, StoreError and its kinds."""
    db = open_to_read(path)
    try:
        row = db.one("SELECT machine, pending FROM account")
    finally:
        close_quietly(db)
    if row is None:
        raise StoreError(f"{path} holds no account")
    return Born(str(row[0]), int(row[1]))


def one(path: Path, seq: int) -> dict[str, Any] | None:
    """The record of this number, if it is still here.

    Raises: NotFound, StoreError and its kinds.
    """
    if seq >= 1 << 63:
        return None  # More than the database can count.
    db = open_to_read(path)
    try:
        rows = db.rows("SELECT seq, crc, body FROM record WHERE seq = ?", (seq,))
    finally:
        close_quietly(db)
    if not rows or not intact(*rows[0]):
        return None
    return _readable(seq, rows[0][2])


def dead_letters(path: Path) -> list[dict[str, Any]]:
    """What the broker refused for good: epoch, seq, reason, at, record."""
    db = open_to_read(path)
    try:
        rows = db.rows("SELECT epoch, seq, reason, at, body FROM dead ORDER BY at, seq")
    finally:
        close_quietly(db)
    return [
        {"epoch": epoch, "seq": seq, "reason": reason, "at": at, "record": _readable(seq, body)}
        for epoch, seq, reason, at, body in rows
    ]


def jsonl(path: Path, chosen: Filter = EVERYTHING) -> Iterator[str]:
    """One record a line, as it would go on the wire, without line ends."""
    for record, _ in records(path, chosen):
        yield msgspec.json.encode(record).decode()


def csv_lines(path: Path, chosen: Filter = EVERYTHING) -> Iterator[str]:
    """A header and one line a record, with line ends; ``data`` and ``blobs`` are JSON."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    rows: Iterable[list[Any]] = ([_cell(record, state, name) for name in CSV_COLUMNS]
                                 for record, state in records(path, chosen))  # fmt: skip
    writer.writerow(CSV_COLUMNS)
    yield _taken(buffer)
    for row in rows:
        writer.writerow(row)
        yield _taken(buffer)


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _cell(record: dict[str, Any], state: str, name: str) -> Any:
    if name == "state":
        return state
    value = record.get(name, "")
    return msgspec.json.encode(value).decode() if isinstance(value, (dict, list)) else value


def carry(path: Path, folder: Path, *, batch_bytes: int = 1024 * 1024) -> list[Path]:
    """Write all that is pending to ``folder`` for a person to carry to the collector: batches
    as on the wire (JSON, zlib) and the evidence that they refer to, by its hash.

    Nothing changes in the outbox: the collector's confirm, by MQTT or carried back, settles it.
    Returns the files. Raises NotFound, StoreError and its kinds.
    """
    db = open_to_read(path)
    written: list[Path] = []
    try:
        row = db.one("SELECT device, epoch FROM account")
        device, epoch = row if row is not None else ("", "")
        folder.mkdir(parents=True, exist_ok=True)
        for seqs, bodies in _pending_batches(path, batch_bytes):
            target = folder / f"{device}.{epoch}.{seqs[0]}-{seqs[-1]}.batch"
            target.write_bytes(zlib.compress(envelope(device, epoch, seqs, bodies)))
            written.append(target)
        evidence = db.path.parent.parent / "blobs"
        for (sha256,) in db.rows("SELECT sha256 FROM blob WHERE state = 0"):
            if (evidence / sha256).is_file():
                target = folder / f"{sha256}.blob"
                target.write_bytes((evidence / sha256).read_bytes())
                written.append(target)
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: {error.strerror}") from error
    finally:
        close_quietly(db)
    return written


def _pending_batches(
    path: Path, batch_bytes: int
) -> Iterator[tuple[tuple[int, ...], tuple[bytes, ...]]]:
    seqs: list[int] = []
    bodies: list[bytes] = []
    size = 0
    for record, _ in records(path, Filter(state="pending")):
        body = msgspec.json.encode(record)
        if seqs and size + len(body) > batch_bytes:
            yield tuple(seqs), tuple(bodies)
            seqs, bodies, size = [], [], 0
        seqs.append(record["seq"])
        bodies.append(body)
        size += len(body)
    if seqs:
        yield tuple(seqs), tuple(bodies)
