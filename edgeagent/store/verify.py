"""Proof of the account: every seq of the epoch is pending, kept, delivered, or told in a gap.

Works on a live database beside the agent and on a file copied from a dead device. Only the
small tables are read in one snapshot; the records are read in short pieces, so that the agent's
log is never held. What moved meanwhile is looked up again before it counts as a hole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.errors import InputError, NotFound, StoreError
from edgeagent.store.database import FILE, Database, close_quietly, schema_steps
from edgeagent.store.encode import GAP, decoded, intact
from edgeagent.store.epochs import database_path
from edgeagent.store.ledger import BLOCK, gap_bits
from edgeagent.store.ranges import Ranges, bits_of, numbers_of, runs

_SHOWN = 20


@dataclass(slots=True)
class VerifyReport:
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


@dataclass(slots=True)
class _Figures:
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
    """The database meant by a file, an outbox folder, or a data folder. Raises NotFound."""
    for found in (path, database_path(path), database_path(path / "outbox"), path / FILE):
        if found.is_file():
            return found
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
        row = db.one(
            "SELECT device, epoch, produced, delivered, pending, dropped, folded, folded_dropped"
            " FROM account"
        )
        if row is None:
            raise StoreError(f"{db.path} holds no account")
        settled = Ranges(db.rows("SELECT first, last FROM range WHERE name = 'settled'"))
        covered: dict[int, int] = {}
        gaps: dict[int, bool] = {}
        for seq, block, first, last, bits in db.rows(
            "SELECT seq, block, first, last, bits FROM gap"
        ):
            covered[block] = covered.get(block, 0) | gap_bits(first, last, bits, block * BLOCK)
            gaps[seq] = seq in settled
        for block in [block for block in covered if block * BLOCK <= row[6]]:
            base = block * BLOCK
            covered[block] &= ~bits_of(range(base, min(row[6] + 1, base + BLOCK)), base)
        reasons: dict[str, int] = dict(db.each("SELECT reason, count FROM dropped"))
        carrying = db.value("SELECT 1 FROM carry LIMIT 1") is not None
    finally:
        db.run("COMMIT")
    device, epoch, produced, delivered, pending, dropped, folded, folded_dropped = row
    return _Figures(
        device, epoch, produced, delivered, pending, dropped, folded, folded_dropped,
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
    missing = Ranges()
    gap_rows: set[int] = set()
    for base, rows in _blocks(db, figures.produced):
        block = base // BLOCK
        present = bits_of((seq for seq, _ in rows), base)
        settled = _settled_bits(figures.settled, block)
        covered = figures.covered.get(block, 0)
        wanted = bits_of(range(max(base, 1), min(base + BLOCK, figures.produced + 1)), base)
        for first, last in runs(numbers_of(wanted & ~settled & ~covered & ~present, base)):
            missing.add(first, last)
        for seq in list(numbers_of(present & covered, base))[:_SHOWN]:
            report.problems.append(f"{seq} is told as dropped, but is there")
        report.kept += (present & settled).bit_count()
        gap_rows.update(seq for seq, kind in rows if kind == GAP)
        if deep:
            _check_bodies(report, db, base)
    _check_gaps(report, figures, db, gap_rows)
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


def _blocks(db: Database, produced: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    for base in range(0, produced + 1, BLOCK):
        rows = db.rows(
            "SELECT seq, kind FROM record WHERE seq BETWEEN ? AND ?", (base, base + BLOCK - 1)
        )
        yield base, [(row[0], row[1]) for row in rows if row[0] <= produced]


def _check_gaps(report: VerifyReport, figures: _Figures, db: Database, rows: set[int]) -> None:
    """A gap that is not delivered must be there to be delivered."""
    for seq, settled in figures.gaps.items():
        if settled or seq in rows:
            continue
        if db.value("SELECT 1 FROM gap WHERE seq = ?", (seq,)) and not db.value(
            "SELECT 1 FROM range WHERE name = 'settled' AND ? BETWEEN first AND last", (seq,)
        ):
            report.problems.append(f"the gap {seq} is neither delivered nor there")


def _check_bodies(report: VerifyReport, db: Database, base: int) -> None:
    for seq, crc, body in db.each(
        "SELECT seq, crc, body FROM record WHERE seq BETWEEN ? AND ?", (base, base + BLOCK - 1)
    ):
        if not intact(seq, crc, body):
            report.problems.append(f"{seq}: the medium has changed it")
            continue
        try:
            found = decoded(body).get("seq")
        except InputError as error:
            report.problems.append(f"{seq}: {error}")
        else:
            if found != seq:
                report.problems.append(f"{seq} calls itself {found}")
