"""Proof of the account: every seq of the epoch is pending, kept, delivered, or told in a gap.

Works on a live database beside the agent and on a file copied from a dead device. Only the
small tables are read in one snapshot; the records are read in short pieces, so that the agent's
log is never held. What moved meanwhile is looked up again before it counts as a hole.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct, field

from edgeagent.errors import InputError, NotFound, NotPermitted, StoreCorrupt, StoreError
from edgeagent.store.books import stored_ranges
from edgeagent.store.database import FILE, Database, close_quietly, last_seq, schema_steps
from edgeagent.store.encode import GAP, decoded, intact
from edgeagent.store.epochs import database_path
from edgeagent.store.ledger import BLOCK, gap_bits
from edgeagent.store.ranges import Ranges, bits_of, numbers_of, runs

_SHOWN = 20


class VerifyReport(Struct):
    """``ok`` = nothing in ``problems``."""

    path: str
    device: str = ""
    epoch: str = ""
    produced: int = 0
    delivered: int = 0
    pending: int = 0
    kept: int = 0
    """Delivered records that are still there in case a collector asks."""
    dropped: dict[str, int] = field(default_factory=dict)
    holes: list[tuple[int, int]] = field(default_factory=list)
    """Seqs of which nothing is known, as ranges (the first few)."""
    gaps_pending: int = 0
    carrying: bool = False
    """Records of a former epoch are still on their way into this one."""
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems


class _Figures(Struct):
    """One snapshot of the small tables."""

    device: str
    epoch: str
    produced: int
    delivered: int
    pending: int
    dropped: int
    folded: int
    folded_dropped: int
    reasons: dict[str, int]
    settled: Ranges
    covered: dict[int, int]
    """Block → bits told as dropped, above ``folded``."""
    gaps: dict[int, bool]
    """Seq of a gap → whether it is settled."""
    carrying: bool


def resolve(path: Path) -> Path:
    """The database meant by a file, an outbox folder, or a data folder.

    Raises:
        NotFound: there is none.
        NotPermitted: this user may not look.
    """
    try:
        for found in (path, database_path(path), database_path(path / "outbox"), path / FILE):
            if found.is_file():
                if not os.access(found, os.R_OK, effective_ids=True):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(found))
                return found
    except PermissionError as error:
        raise NotPermitted(
            f"{error.filename or path}: {error.strerror}",
            remedy="Look as the agent's user: sudo -u edgeagent edgeagent …",
        ) from error
    raise NotFound(f"there is no outbox at {path}", remedy="Name its folder, or outbox.db.")


def open_to_read(path: Path) -> Database:
    """A connection that changes nothing. Raises NotFound, StoreError and its kinds."""
    db = Database(resolve(path), read_only=True)
    version = db.value("PRAGMA user_version")
    if version not in schema_steps():
        close_quietly(db)
        raise StoreError(f"{db.path} has schema {version}, which this agent does not know")
    return db


def verify(path: Path, *, deep: bool = False) -> VerifyReport:
    """Check everything that can be checked. ``deep`` reads every body and every page as well.

    Raises: NotFound; StoreError and its kinds where it can't even be opened. Damage further in
    is a problem of the report.
    """
    db = open_to_read(path)
    report = VerifyReport(str(db.path))
    try:
        figures = _figures(db)
        _describe(report, figures)
        _check_totals(report, figures)
        _check_records(report, figures, db, deep)
        if deep:
            report.problems += [
                f"page check: {verdict}"
                for (verdict,) in db.rows("PRAGMA quick_check(10)")
                if verdict != "ok"
            ]
    except StoreError as error:
        report.problems.append(str(error))
    finally:
        close_quietly(db)
    return report


def _figures(db: Database) -> _Figures:
    db.run("BEGIN")
    try:
        return _snapshot(db)
    except (TypeError, ValueError) as error:
        raise StoreCorrupt(f"{db.path}: the account can't be read: {error}") from error
    finally:
        db.run("COMMIT")


def _snapshot(db: Database) -> _Figures:
    row = db.one(
        "SELECT device, epoch, produced, delivered, pending, dropped, folded, folded_dropped"
        " FROM account"
    )
    if row is None:
        raise StoreCorrupt(f"{db.path} holds no account")
    numbers = [int(figure) for figure in row[2:]]
    folded = numbers[4]
    settled = Ranges(stored_ranges(db, "settled"))
    covered: dict[int, int] = {}
    gaps: dict[int, bool] = {}
    for seq, block, first, last, bits in db.rows("SELECT seq, block, first, last, bits FROM gap"):
        covered[block] = covered.get(block, 0) | gap_bits(first, last, bits, int(block) * BLOCK)
        gaps[seq] = seq in settled
    for block in [block for block in covered if block * BLOCK <= folded]:
        base = block * BLOCK
        covered[block] &= ~bits_of(range(base, min(folded + 1, base + BLOCK)), base)
    rows = db.rows("SELECT reason, count FROM dropped")
    reasons = {str(reason): int(count) for reason, count in rows}
    carrying = db.value("SELECT 1 FROM carry LIMIT 1") is not None
    produced, delivered, pending, dropped, folded, folded_dropped = numbers
    return _Figures(
        str(row[0]), str(row[1]), produced, delivered, pending, dropped, folded, folded_dropped,
        reasons, settled, covered, gaps, carrying,
    )  # fmt: skip


def _describe(report: VerifyReport, figures: _Figures) -> None:
    report.device, report.epoch = figures.device, figures.epoch
    report.produced, report.delivered = figures.produced, figures.delivered
    report.pending, report.dropped = figures.pending, figures.reasons
    report.carrying = figures.carrying
    report.gaps_pending = sum(1 for settled in figures.gaps.values() if not settled)


def _check_totals(report: VerifyReport, figures: _Figures) -> None:
    """The figures against the sets that they count."""
    told = sum(bits.bit_count() for bits in figures.covered.values())
    settled_and_told = sum(
        (bits & _settled_bits(figures.settled, block)).bit_count()
        for block, bits in figures.covered.items()
    )
    dropped = told + figures.folded_dropped
    delivered = figures.settled.count - settled_and_told - figures.folded_dropped
    pairs = {
        "dropped, by gaps": (figures.dropped, dropped),
        "dropped, by reasons": (figures.dropped, sum(figures.reasons.values())),
        "delivered": (figures.delivered, delivered),
        "pending": (figures.pending, figures.produced - delivered - dropped),
    }
    for name, (stored, counted) in pairs.items():
        if stored != counted:
            report.problems.append(f"{name}: the account says {stored}, the sets say {counted}")
    if figures.settled.last > figures.produced or max(figures.gaps, default=0) > figures.produced:
        report.problems.append("a seq is settled or told that was never given")


def _settled_bits(settled: Ranges, block: int) -> int:
    bits = 0
    base = block * BLOCK
    for first, last in settled.within(base, base + BLOCK - 1):
        bits |= ((1 << (last - first + 1)) - 1) << (first - base)
    return bits


def _check_records(report: VerifyReport, figures: _Figures, db: Database, deep: bool) -> None:
    gap_rows: set[int] = set()
    told: list[int] = []
    for seq, kind, crc, body in _rows(db, figures.produced, deep):
        if seq in figures.settled:
            report.kept += 1
        if figures.covered.get(seq // BLOCK, 0) >> seq % BLOCK & 1:
            told.append(seq)
        if kind == GAP:
            gap_rows.add(seq)
        if deep:
            _check_body(report, seq, crc, body)
    report.problems += [f"{seq} is told as dropped, but is there" for seq in told[:_SHOWN]]
    _check_gaps(report, figures, db, gap_rows)
    missing = _missing(figures, db)
    if missing:
        # The agent may have sent or dropped them since the snapshot was taken.
        later = _figures(db)
        missing.subtract(later.settled)
        for block, bits in later.covered.items():
            missing.subtract(runs(numbers_of(bits, block * BLOCK)))
    report.holes = list(missing)[:_SHOWN]
    if missing:
        report.problems.append(
            f"{missing.count} seqs are neither there nor delivered nor told, from {report.holes[0]}"
        )


def _rows(db: Database, produced: int, deep: bool) -> Iterator[tuple[int, int, int, bytes]]:
    """All records (seq, kind, crc, body), read in short pieces; the body only where wanted."""
    body = "body" if deep else "NULL"
    after, limit = 0, 500 if deep else BLOCK
    while True:
        rows = db.rows(
            f"SELECT seq, kind, crc, {body} FROM record WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, limit),
        )
        if not rows:
            return
        after = last_seq(rows, after, db.path)
        yield from ((seq, kind, crc, data) for seq, kind, crc, data in rows if seq <= produced)


def _missing(figures: _Figures, db: Database) -> Ranges:
    """Seqs that are not settled, not told, and not there."""
    missing = Ranges()
    blocks = sorted(figures.covered)
    for at, end in figures.settled.absent(1, figures.produced):
        while at <= end:
            block = at // BLOCK
            stop = min(end, block * BLOCK + BLOCK - 1)
            rows = db.rows("SELECT seq FROM record WHERE seq BETWEEN ? AND ?", (at, stop))
            if not rows and block not in figures.covered:
                # Over an empty stretch in one step, however long a damaged figure makes it.
                row = db.one("SELECT seq FROM record WHERE seq > ? ORDER BY seq LIMIT 1", (stop,))
                index = bisect_right(blocks, block)
                told = blocks[index] * BLOCK if index < len(blocks) else end + 1
                following = min(row[0] if row else end + 1, told, end + 1)
                missing.add(at, following - 1)
                at = following
                continue
            base = block * BLOCK
            known = bits_of((seq for (seq,) in rows), base) | figures.covered.get(block, 0)
            wanted = bits_of(range(at, stop + 1), base)
            missing.update(runs(numbers_of(wanted & ~known, base)))
            at = stop + 1
    return missing


def _check_gaps(report: VerifyReport, figures: _Figures, db: Database, rows: set[int]) -> None:
    """A gap that is not delivered must be there to be delivered."""
    for seq, settled in figures.gaps.items():
        if settled or seq in rows:
            continue
        if db.value("SELECT 1 FROM gap WHERE seq = ?", (seq,)) and not db.value(
            "SELECT 1 FROM range WHERE name = 'settled' AND ? BETWEEN first AND last", (seq,)
        ):
            report.problems.append(f"the gap {seq} is neither delivered nor there")


def _check_body(report: VerifyReport, seq: int, crc: int, body: bytes) -> None:
    if not intact(seq, crc, body):
        report.problems.append(f"{seq}: the medium has changed it")
        return
    try:
        found = decoded(body).get("seq")
    except InputError as error:
        report.problems.append(f"{seq}: {error}")
    else:
        if found != seq:
            report.problems.append(f"{seq} calls itself {found}")
