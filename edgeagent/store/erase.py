"""Erasing (privacy): the bytes go, a gap stays.

Three things together take them from the medium, as far as a file system can. SQLite overwrites
what it deletes within a page always (``secure_delete = FAST``, `database`), and whole pages here
(always, where records have an age: `OutboxSettings.overwrite`); pages that became free before are
filled with zeros; and the log, which still holds former pages, is cut. What a flash controller
keeps of overwritten blocks is out of reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from msgspec import Struct

from edgeagent import clock
from edgeagent.errors import InputError, StoreError
from edgeagent.store.age import Stamp
from edgeagent.store.commit import Committer
from edgeagent.store.database import PAGE, ZEROS, last_seq
from edgeagent.store.encode import GAP, decoded
from edgeagent.store.ledger import Ledger
from edgeagent.types import BlobRef

ERASED = "erased"
RETENTION = "retention"
_ROWS = 500
_ROW = 16
"""What a row takes on its page besides the body, about."""
_FEW = 4
_LEAF = 3000
"""A row that has a leaf of its own."""

Old = Callable[[int, Stamp], bool]
"""(seq, or 0 where it is of another epoch; when it was written) → whether it is to go."""


class Wish(Struct, frozen=True):
    """What is to be erased, and how it is told."""

    old: Old
    records: bool = True
    evidence: bool = True
    undelivered: bool = False
    """Also what nobody has got yet: a gap tells of it."""
    reason: str = ERASED
    dry: bool = False
    """Only count."""
    upto: int = 1 << 62
    """The last number that is looked at."""
    scrub: bool = False
    """Fill all that is free with zeros as well: what went before, by delivery, is still there."""


class Erased(Struct):
    """How much."""

    records: int = 0
    undelivered: int = 0
    """Of these, those that nobody has got."""
    kept: int = 0
    """Records that are old enough, and stay because nobody has got them."""
    evidence: int = 0
    evidence_bytes: int = 0
    unsent: int = 0
    """Of the pieces of evidence, those that nobody has got."""
    evidence_kept: int = 0
    dead_letters: int = 0

    @property
    def any(self) -> bool:
        return bool(self.records or self.evidence or self.dead_letters)


def erase(committer: Committer, wish: Wish) -> Erased:
    """Erase; gaps stay. Runs in the writing thread, in transactions of a size that fits the log.

    Raises: StoreError; what was erased until then stays so. `Committer.recover` ends the rest.
    """
    done = Erased()
    db = committer.ledger.db
    db.run("PRAGMA secure_delete = ON")
    if wish.records:
        _records(committer, wish, done)
        _dead_letters(committer, wish, done)
    if wish.evidence:
        _evidence(committer, wish, done)
    if wish.scrub and not wish.dry:
        _scrub(committer)
    committer.end_erasing()
    if (done.any or wish.scrub) and not wish.dry:
        _cut_log(committer)
    return done


def _records(committer: Committer, wish: Wish, done: Erased) -> None:
    ledger, after = committer.ledger, 0
    while True:
        rows = ledger.db.rows(
            "SELECT seq, kind, body FROM record WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (after, wish.upto, _ROWS),
        )
        if not rows:
            return
        after = last_seq(rows, after, ledger.db.path)
        old = [(seq, len(body)) for seq, kind, body in rows
               if kind != GAP and wish.old(seq, stamp_of(body))]  # fmt: skip
        waiting = [seq for seq, _ in old if seq not in ledger.settled]
        if not wish.undelivered:
            done.kept += len(waiting)
            stays = set(waiting)
            old, waiting = [row for row in old if row[0] not in stays], []
        done.records += len(old)
        done.undelivered += len(waiting)
        for seqs in _pieces(old, committer.space.piece_bytes // 2):
            if not wish.dry:
                committer.job(partial(_delete, committer, wish, seqs, done))
            else:
                settled = ledger.settled
                _count_evidence(
                    committer, [its for its in seqs if wish.evidence or its not in settled], done
                )


def _pieces(rows: Sequence[tuple[int, int]], most: int) -> Iterator[list[int]]:
    """Seqs in portions whose pages fit the log."""
    piece: list[int] = []
    weight = 0
    for seq, size in rows:
        piece.append(seq)
        weight += size + _ROW
        if weight >= most:
            yield piece
            piece, weight = [], 0
    if piece:
        yield piece


def _delete(
    committer: Committer, wish: Wish, seqs: list[int], done: Erased, ledger: Ledger
) -> None:
    pending = [seq for seq in seqs if seq not in ledger.settled]
    # A picture of a record that nobody will get goes with it, and is told by the same gap.
    gone = seqs if wish.evidence else pending
    _count_evidence(committer, gone, done)
    for seq in gone:
        committer.shelf.erase(seq)
    for seq in seqs:
        if seq in ledger.settled:
            ledger.delete(seq, seq)
    if pending:
        ledger.drop(pending, wish.reason)


def _count_evidence(committer: Committer, seqs: list[int], done: Erased) -> None:
    sql = "SELECT bytes, state FROM blob WHERE seq = ?"
    for seq in seqs:
        for size, state in committer.ledger.db.rows(sql, (seq,)):
            _count(done, size, state)


def _count(done: Erased, size: int, state: int) -> None:
    done.evidence += 1
    done.evidence_bytes += size
    done.unsent += state == 0


def _dead_letters(committer: Committer, wish: Wish, done: Erased) -> None:
    ledger = committer.ledger
    old = [
        (epoch, seq)
        for epoch, seq, body in ledger.db.rows("SELECT epoch, seq, body FROM dead")
        if wish.old(seq if epoch == ledger.epoch else 0, stamp_of(body))
    ]
    done.dead_letters = len(old)
    if old and not wish.dry:
        sql = "DELETE FROM dead WHERE epoch = ? AND seq = ?"
        committer.job(lambda its: its.db.run_many(sql, old))


def _evidence(committer: Committer, wish: Wish, done: Erased) -> None:
    """Evidence whose record was delivered and is kept no more, or stays."""
    ledger = committer.ledger
    sql = "SELECT sha256, seq, bytes, type, state FROM blob WHERE seq <= ? ORDER BY seq"
    rows = ledger.db.rows(sql, (wish.upto,))
    for sha256, seq, size, type_, state in rows:
        body = ledger.db.value("SELECT body FROM record WHERE seq = ?", (seq,))
        if not wish.old(seq, stamp_of(body) if body else committer.shelf.written(sha256)):
            continue
        if state == 0 and not wish.undelivered:
            done.evidence_kept += 1
            continue
        if wish.dry and wish.records and body and (wish.undelivered or seq in ledger.settled):
            continue  # counted with its record
        _count(done, size, state)
        if not wish.dry:
            told = BlobRef(sha256, size, type_) if state == 0 else None
            committer.job(partial(_remove, committer, seq, told, wish.reason))


def _remove(
    committer: Committer, seq: int, told: BlobRef | None, reason: str, _ledger: Ledger
) -> None:
    committer.shelf.erase(seq)
    if told is not None:
        committer.shelf.lose(told, seq, reason)
        committer.take_lost()


def _scrub(committer: Committer) -> None:
    """Fill with zeros what is free: what was deleted with whole pages before this (a delivered
    record that was kept long enough) is still in them."""
    db, piece = committer.ledger.db, committer.space.piece_bytes // PAGE
    committer.job(lambda its: its.db.run(f"CREATE TABLE {ZEROS} (content BLOB)"))
    while left := int(db.value("PRAGMA freelist_count")):
        # What is left of a long row on a leaf, and the leaves, take pages as well.
        size = _LEAF if left <= _FEW else min(left - 2, piece) * (PAGE - 4)
        committer.job(partial(_fill, size))


def _fill(size: int, ledger: Ledger) -> None:
    ledger.db.run(f"INSERT INTO {ZEROS} VALUES (zeroblob(?))", (size,))


def _cut_log(committer: Committer) -> None:
    db = committer.ledger.db
    row = db.one("PRAGMA wal_checkpoint(TRUNCATE)")
    committer.space.reserve(db)
    if row is None or row[0]:
        raise StoreError(
            f"{db.path}: what was erased is still in the log, because somebody reads it",
            remedy="Once more, when no other program reads the outbox.",
        )


def stamp_of(body: bytes) -> Stamp:
    """When a record was written; where it can't be read, longer ago than anything."""
    try:
        its = decoded(body)
        at_ns = clock.parse_rfc3339(str(its.get("at", "")))
        boot, mono_ms = str(its.get("boot", "")), float(its.get("mono_ms", 0.0))
    except (InputError, ValueError, TypeError):
        return Stamp(0, synced=True)
    return Stamp(at_ns, mono_ms, boot, its.get("clock") in ("synced", "backfilled"))
