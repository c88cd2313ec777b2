"""Evidence put together from chunks and proven by its name, which is its sha256.

How a device sends it is docs/adr/0008-blob-chunks.md. Chunks wait in the database, since with
several processes each may get some of them; all functions run inside a transaction, and lock
the evidence that they speak of in the order of its names.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edgeagent.fleet.batches import Lost, Ref
from edgeagent.fleet.database import Database

log = logging.getLogger(__name__)

UNIT = 1024
"""Bytes that the index in a topic counts."""
LARGEST_BYTES = 1 << 30
AWAITED, HERE, LOST = 0, 1, 2


class Piece(NamedTuple):
    """One chunk."""

    device: str
    sha256: str
    at: int
    """Its offset in bytes."""
    data: bytes


def settle(
    db: Database, refs: Sequence[tuple[int, Ref]], lost: Sequence[Lost], pieces: Sequence[Piece],
    now: float,
) -> int:  # fmt: skip
    """Records of streams refer to evidence, some of it is told as lost, chunks have come. How
    many pieces of evidence are whole now that were not."""
    referred = {ref.blob.sha256 for _, ref in refs}
    states = _locked(db, {*referred, *(p.sha256 for p in pieces), *(x.sha256 for x in lost)}, now)
    db.many(
        "INSERT INTO evidence (sha256, stream, seq) VALUES (?, ?, ?)"
        " ON CONFLICT (sha256, stream, seq) DO NOTHING",
        sorted((ref.blob.sha256, stream, ref.seq) for stream, ref in refs),
    )
    db.many(
        "UPDATE blob SET bytes = ?, type = ? WHERE sha256 = ? AND type = ''",
        [(ref.blob.bytes, ref.blob.type, ref.blob.sha256) for _, ref in refs],
    )
    db.many(
        f"UPDATE blob SET state = {LOST}, reason = ? WHERE sha256 = ? AND state = {AWAITED}",
        [(loss.reason, loss.sha256) for loss in lost],
    )
    wanted = [
        piece for piece in pieces
        if states[piece.sha256] != HERE and piece.at + len(piece.data) <= LARGEST_BYTES
    ]  # fmt: skip
    db.many(
        "INSERT INTO piece (sha256, device, at, data) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (sha256, device, at) DO UPDATE SET data = excluded.data"
        " WHERE length(excluded.data) > length(piece.data)",
        [(piece.sha256, piece.device, piece.at, piece.data) for piece in wanted],
    )
    moved = referred.union(piece.sha256 for piece in wanted)
    return sum(_complete(db, sha256, now) for sha256 in sorted(moved))


def whole(db: Database, data: bytes, now: float) -> bool:
    """Evidence that came in one piece, under the name that it has. False = it was here."""
    sha256 = hashlib.sha256(data).hexdigest()
    if _locked(db, {sha256}, now)[sha256] == HERE:
        return False
    _keep(db, sha256, data, now)
    return True


def named(sha256: str, data: bytes) -> bool:
    """Whether this is its content."""
    return hashlib.sha256(data).hexdigest() == sha256


def _locked(db: Database, shas: Iterable[str], now: float) -> dict[str, int]:
    """Name → state, of rows that are made where there are none."""
    names = sorted(shas)
    db.many(
        "INSERT INTO blob (sha256, received) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING",
        [(sha256, int(now)) for sha256 in names],
    )
    condition, value = db.among("sha256", names)
    sql = f"SELECT sha256, state FROM blob s WHERE {condition} ORDER BY sha256{db.for_update}"
    return dict(db.rows(sql, (value,)))


def _complete(db: Database, sha256: str, now: float) -> bool:
    """Put it together if all of it is here."""
    size, state = db.rows("SELECT bytes, state FROM blob WHERE sha256 = ?", (sha256,))[0]
    if size is None or state == HERE:
        return False
    spans: dict[str, list[tuple[int, int]]] = {}
    for device, at, length in db.rows(
        "SELECT device, at, length(data) FROM piece WHERE sha256 = ? ORDER BY device, at",
        (sha256,),
    ):
        spans.setdefault(device, []).append((at, length))
    for device, parts in spans.items():
        if _covered(parts) < size:
            continue
        data = _joined(db, sha256, device, size)
        if named(sha256, data):
            _keep(db, sha256, data, now)
            return True
        log.warning("chunks of %s from %s do not match their hash", sha256, device)
        db.run("DELETE FROM piece WHERE sha256 = ? AND device = ?", (sha256, device))
    return False


def _covered(parts: Iterable[tuple[int, int]]) -> int:
    """Up to where ascending (offset, length) leave no hole."""
    end = 0
    for at, length in parts:
        if at > end:
            break
        end = max(end, at + length)
    return end


def _joined(db: Database, sha256: str, device: str, size: int) -> bytes:
    data = bytearray(size)
    for at, part in db.rows(
        "SELECT at, data FROM piece WHERE sha256 = ? AND device = ? ORDER BY at", (sha256, device)
    ):
        if at < size:
            data[at : at + len(part)] = part[: size - at]
    return bytes(data)


def _keep(db: Database, sha256: str, data: bytes, now: float) -> None:
    db.run(
        f"UPDATE blob SET state = {HERE}, data = ?, bytes = ?, received = ?, reason = ''"
        " WHERE sha256 = ?",
        (data, len(data), int(now), sha256),
    )
    db.run("DELETE FROM piece WHERE sha256 = ?", (sha256,))
