"""What is known of the devices of a rollout: from what they publish, and from the records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from edgeagent.fleet.database import Database
from edgeagent.fleet.rollout.ledger import Rollout
from edgeagent.fleet.rollout.plan import Plan
from edgeagent.fleet.rollout.quality import Compared, Sample
from edgeagent.fleet.rollout.standing import Row, Said
from edgeagent.fleet.roster import Device

_MOST_EVENTS = 200_000
"""Of each side; the newest."""


def said(device: Device, row: Row, plan: Plan, watched: float) -> Said:
    """What a device says about the model of a plan."""
    report, reported = device.model(plan.model), device.reported
    refused = ""
    if reported is not None and device.reported_at > row.asked:
        refused = reported.rejected
    return Said(
        online=device.online, heard=device.heard, watched=watched, chatty=device.chatty,
        own_rev=reported.rev if reported is not None else 0, refused=refused,
        version=report.version, wanted=report.wanted,
        rev=report.rev if report.source == "device" else 0, state=report.state,
        reason=report.reason, detail=report.detail, held=device.hold(plan.model),
    )  # fmt: skip


class _Data(Struct, frozen=True):
    phase: str = ""
    score: float | None = None


class _Event(Struct, frozen=True):
    model: str = ""
    data: _Data = _Data()


def compare(db: Database, rows: Iterable[Row], rollout: Rollout, now: float) -> list[Compared]:
    """The devices of the present wave that are well, each profile and all together, with the
    new version and with those before; devices that wait stand in for the time of the day.

    Raises what `Database` does.
    """
    plan, rows = rollout.plan, list(rows)
    wave = [row for row in rows if row.wave == rollout.wave and row.standing == "well"]
    waiting = [row for row in rows if row.standing == "waiting"]
    found = []
    for profile in ("", *sorted({row.profile for row in wave})):
        mine = [row for row in wave if profile in ("", row.profile)]
        others = [row for row in waiting if profile in ("", row.profile)]
        began = min((row.asked for row in mine), default=now)
        since = max((row.committed for row in mine), default=now)
        before_from = began - plan.quality.before_s
        found.append(
            Compared(
                profile,
                _sample(db, mine, plan, before_from, began, new=False),
                _sample(db, mine, plan, since, now, new=True),
                _sample(db, others, plan, before_from, began, new=False),
                _sample(db, others, plan, since, now, new=False),
            )
        )
    return found


def _sample(
    db: Database, rows: Sequence[Row], plan: Plan, first: float, last: float, *, new: bool
) -> Sample:
    """Beginnings of events received from ``first`` to ``last``, by the version that made them."""
    span = max(0.0, last - first)
    if not rows or not span:
        return Sample()
    among, devices = db.among("s.device", [row.device for row in rows])
    bodies = db.rows(
        f"SELECT r.body FROM record r JOIN stream s ON s.id = r.stream WHERE {among}"
        " AND r.kind = 'event' AND NOT r.test AND NOT r.copy AND r.received >= ?"
        f" AND r.received < ? ORDER BY r.received DESC LIMIT {_MOST_EVENTS}",
        (devices, db.stamp(first), db.stamp(last)),
    )
    scores, events = [], 0
    known_s = _known_s(db, rows, first, last)
    for (body,) in bodies:
        event = _read(body)
        name, _, version = event.model.partition("/")[0].partition("@")
        if event.data.phase == "new" and name == plan.model and (version == plan.version) == new:
            events += 1
            if event.data.score is not None:
                scores.append(event.data.score)
    return Sample(events, known_s / 3600, tuple(sorted(scores)))


def _known_s(db: Database, rows: Sequence[Row], first: float, last: float) -> float:
    """Device-seconds within a span in which the devices were known to the collector."""
    among, devices = db.among("device", [row.device for row in rows])
    heard = db.rows(
        f"SELECT device, MIN(first_heard) FROM stream WHERE {among} GROUP BY device", (devices,)
    )
    return float(sum(max(0.0, last - max(first, since)) for _, since in heard))


def _read(body: object) -> _Event:
    try:
        if isinstance(body, (str, bytes)):
            return msgspec.json.decode(body, type=_Event)
        return msgspec.convert(body, _Event)  # PostgreSQL gives json as it decoded it.
    except msgspec.MsgspecError:
        return _Event()  # A record of a kind of its own: it counts as none.
