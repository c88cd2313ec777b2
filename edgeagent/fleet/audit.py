"""What is here of every device and epoch, what is told lost and why, and what is missing.

Read from the account in the database alone; it holds however long records are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeagent.errors import NotFound
from edgeagent.fleet.account import ALL, Account, Range, pieces
from edgeagent.fleet.database import Database
from edgeagent.fleet.evidence import AWAITED, HERE, LOST
from edgeagent.store.ranges import unpack

State = Literal["complete", "missing", "unknown"]
_OTHER = "told by a gap that is not here"


@dataclass(slots=True)
class Evidence:
    """Pieces of evidence that records of a stream refer to."""

    here: int = 0
    lost: int = 0
    """Told by the device."""
    missing: int = 0


@dataclass(slots=True)
class StreamAudit:
    """One epoch of one device."""

    device: str
    epoch: str
    current: bool
    """The device is writing it now, as far as is known here."""
    produced: int
    """The highest seq known to exist."""
    received: int
    gaps: dict[str, int] = field(default_factory=dict)
    """Reason → seqs told lost that did not come after all."""
    missing: list[Range] = field(default_factory=list)
    """Seqs that neither came nor are told."""
    unknown: list[Range] = field(default_factory=list)
    """Seqs beyond the place from which a later epoch says that nothing is known."""
    ended: str = ""
    """Why the end of this epoch is unknown; empty = it is not."""
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def state(self) -> State:
        """``missing`` outweighs ``unknown``."""
        if self.missing:
            return "missing"
        return "unknown" if self.unknown or self.ended else "complete"


@dataclass(slots=True)
class Audit:
    """The whole fleet, by device and time."""

    streams: list[StreamAudit]
    refused: dict[str, int]
    """Topic (or device and epoch) → messages and records that could not be read."""

    @property
    def complete(self) -> bool:
        """Nothing is missing; what is unknown is at least told."""
        return not any(stream.missing for stream in self.streams)


def audit(db: Database, devices: Iterable[str] = ()) -> Audit:
    """Audit all, or the named devices.

    Raises: NotFound for a device of which nothing is here; what `Database` does.
    """
    wanted = sorted(set(devices))
    where: str = ""
    values: tuple[Any, ...] = ()
    if wanted:
        condition, value = db.among("s.device", wanted)
        where, values = f" WHERE {condition}", (value,)
    with db.snapshot():
        rows = db.rows(
            "SELECT s.id, s.device, s.epoch, s.top, s.ended_from, s.ended_reason,"
            " d.stream IS NOT NULL FROM stream s"
            f" LEFT JOIN device d ON d.device = s.device AND d.stream = s.id{where}"
            " ORDER BY s.device, s.first_heard, s.id",
            values,
        )
        absent = set(wanted) - {device for _, device, *_ in rows}
        if absent:
            raise NotFound(f"nothing is here of {', '.join(sorted(absent))}")
        streams = [_stream(db, *row) for row in rows]
        refused = {
            str(topic): int(count)
            for topic, count in db.rows(
                "SELECT topic, count(*) FROM refused GROUP BY topic ORDER BY topic"
            )
            if not wanted or any(device in str(topic) for device in wanted)
        }
    return Audit(streams, refused)


def _stream(
    db: Database, stream: int, device: str, epoch: str, top: int, ended_from: int | None,
    ended_reason: str | None, current: Any,
) -> StreamAudit:  # fmt: skip
    account, told = Account(), 0
    account.top = top
    have: dict[int, int] = {}
    received = 0
    for number, stored_have, stored_told in db.rows(
        "SELECT block, have, told FROM block WHERE stream = ? ORDER BY block", (stream,)
    ):
        account.load(number, stored_have, stored_told)
        block = account.blocks[number]
        received += block.have.bit_count() - (number == 0)
        told += (block.told & ~block.have).bit_count()
        if block.told:
            have[number] = block.have
        else:
            account.prune()
    missing = list(account.missing())
    return StreamAudit(
        device, epoch, bool(current), top, received,
        gaps=_reasons(db, stream, have, told) if told else {},
        missing=_cut(missing, 1, (ended_from or top + 1) - 1),
        unknown=_cut(missing, ended_from, top) if ended_from else [],
        ended=ended_reason or "" if ended_from else "",
        evidence=_evidence(db, stream),
    )  # fmt: skip


def _reasons(db: Database, stream: int, have: dict[int, int], told: int) -> dict[str, int]:
    """Reason → seqs. A seq that several gaps tell of counts for the first."""
    seen: dict[int, int] = {}
    counts: dict[str, int] = {}
    for first, last, bits, reason in db.rows(
        "SELECT first, last, bits, reason FROM gap WHERE stream = ? ORDER BY source, seq", (stream,)
    ):
        for number, part in pieces(first, last, None if bits is None else unpack(bits)):
            news = part & ~seen.get(number, 0) & ~have.get(number, ALL)
            seen[number] = seen.get(number, 0) | part
            if news:
                counts[reason] = counts.get(reason, 0) + news.bit_count()
    rest = told - sum(counts.values())
    return {**counts, **({_OTHER: rest} if rest else {})}


def _cut(ranges: Iterable[Range], first: int, last: int) -> list[Range]:
    return [
        (max(low, first), min(high, last)) for low, high in ranges if low <= last and high >= first
    ]


def _evidence(db: Database, stream: int) -> Evidence:
    found: dict[int, int] = dict(
        db.rows(
            "SELECT b.state, count(*) FROM evidence e JOIN blob b ON b.sha256 = e.sha256"
            " WHERE e.stream = ? GROUP BY b.state",
            (stream,),
        )
    )
    return Evidence(found.get(HERE, 0), found.get(LOST, 0), found.get(AWAITED, 0))


def as_json(found: Audit) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "complete": found.complete,
        "streams": [
            {
                "device": s.device, "epoch": s.epoch, "current": s.current, "state": s.state,
                "produced": s.produced, "received": s.received, "gaps": s.gaps,
                "missing": s.missing, "unknown": s.unknown, "ended": s.ended,
                "evidence": {
                    "here": s.evidence.here, "lost": s.evidence.lost,
                    "missing": s.evidence.missing,
                },
            }
            for s in found.streams
        ],
        "refused": found.refused,
    }  # fmt: skip


def ranges_text(ranges: Iterable[Range], most: int = 8) -> str:
    """``1041, 1050-1061 …`` for people."""
    shown = list(ranges)
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in shown[:most]]
    return ", ".join(texts) + (f" and {len(shown) - most} more" if len(shown) > most else "")
