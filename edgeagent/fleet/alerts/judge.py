"""What is wrong now, from what the broker shows and what the collector's database holds.

While there is no broker nothing is known of any device: that is one incident, and those about
devices stay as they are. Devices that go offline together are one incident as well; each that
does not come back with the others becomes one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeagent.fleet.alerts.incident import Incident
from edgeagent.fleet.audit import audit, ranges_text
from edgeagent.fleet.database import Database
from edgeagent.fleet.rollout.ledger import Ledger

_MANY = 10
_MANY_SHARE = 0.2
"""So many devices, and such a share of all, are no coincidence …"""
_TOGETHER_S = 120.0
"""… if they go within so long."""
_ROLLOUT_S = 86_400.0
"""An abort that is older is no news."""

Rows = Mapping[str, Mapping[str, Any]]
"""Device → its facts (`sight.facts`)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long something must last. Seconds; 0 = it is not looked at."""

    offline_s: float = 300.0
    broker_s: float = 30.0
    no_events_s: float = 0.0
    holes_s: float = 600.0
    settle_s: float = 60.0
    """After the broker came back, devices have so long to do the same."""


@dataclass(slots=True)
class Presence:
    """Judges who is there. Feed it often; times are seconds since 1970."""

    limits: Limits
    _gone: dict[str, float] = field(default_factory=dict)
    """Device → since when it is seen offline."""
    _down: float = 0.0
    """Since when there is no broker; 0 = there is."""
    _back: float = 0.0
    _crowd: frozenset[str] = frozenset()
    """Devices that went together."""
    _crowd_since: float = 0.0

    def judge(self, rows: Rows, *, linked: bool, now: float) -> tuple[list[Incident], set[str]]:
        """What is wrong, and the kinds that could be judged."""
        if not linked:
            self._down = self._down or now
            if now - self._down < self.limits.broker_s:
                return [], set()
            said = "there is no broker: nothing is known of any device"
            return [Incident("broker", "", self._down, said)], {"broker"}
        if self._down:
            self._down, self._back = 0.0, now
        if now - self._back < self.limits.settle_s:
            return [], {"broker"}
        self._look(rows, now)
        return list(self._offline(rows, now)), {"broker", "offline", "many-offline"}

    def _look(self, rows: Rows, now: float) -> None:
        away = {id for id, its in rows.items() if its["state"] == "offline"}
        self._gone = {id: self._gone.get(id, now) for id in away}

    def _offline(self, rows: Rows, now: float) -> Iterator[Incident]:
        if not self.limits.offline_s:
            return
        late = {id: at for id, at in self._gone.items() if now - at >= self.limits.offline_s}
        self._gather(late, len(rows))
        if self._crowd:
            count = len(self._crowd)
            yield Incident(
                "many-offline", "", self._crowd_since,
                f"{count} of {len(rows)} devices went offline together",
                {"devices": sorted(self._crowd)[:100], "count": count},
            )  # fmt: skip
        for id, at in late.items():
            if id not in self._crowd:
                its = rows[id]
                why = "; ".join(its["reasons"]) or "no reason is known"
                name = f"{id} ({its['name']})" if its["name"] else id
                where = f" at {its['site']}" if its["site"] else ""
                yield Incident(
                    "offline", id, at, f"{name}{where} is offline: {why}", {"site": its["site"]}
                )

    def _gather(self, late: Mapping[str, float], known: int) -> None:
        """Who went together; when most of them are back, the rest are each for themselves."""
        if self._crowd:
            if len(self._crowd & self._gone.keys()) * 2 < len(self._crowd):
                self._crowd = frozenset()
            return
        if not late:
            return
        first = min(late.values())
        # Also those whose time is not up yet: else the first few would be told one by one.
        together = {id for id, at in self._gone.items() if 0 <= at - first <= _TOGETHER_S}
        if len(together) >= max(_MANY, _MANY_SHARE * known):
            self._crowd, self._crowd_since = frozenset(together), first


@dataclass(slots=True)
class Records:
    """Judges what the collector has. Costs a look at the database: once a minute is enough."""

    db: Database
    limits: Limits
    _last: dict[str, float] = field(default_factory=dict)
    """Device → when its last event was received."""
    _read: float = 0.0
    _holes: dict[tuple[str, str], float] = field(default_factory=dict)

    def judge(self, rows: Rows, now: float) -> tuple[list[Incident], set[str]]:
        """Raises what `Database` does."""
        found = [*self._rollouts(now)]
        kinds = {"rollout"}
        if self.limits.no_events_s:
            found += self._no_events(rows, now)
            kinds.add("no-events")
        if self.limits.holes_s:
            found += self._missing(now)
            kinds.add("holes")
        return found, kinds

    def _no_events(self, rows: Rows, now: float) -> Iterator[Incident]:
        """Devices that are online, and told events before."""
        since = self._read or 0.0
        for device, received in self.db.rows(
            "SELECT s.device, MAX(r.received) FROM record r JOIN stream s ON s.id = r.stream"
            " WHERE r.kind = 'event' AND NOT r.test AND NOT r.copy AND r.received >= ?"
            " GROUP BY s.device",
            (self.db.stamp(since),),
        ):
            at = received.timestamp() if hasattr(received, "timestamp") else float(received)
            self._last[device] = max(at, self._last.get(device, 0.0))
        self._read = now - 5.0
        for device, at in self._last.items():
            its = rows.get(device)
            if its is not None and its["online"] and now - at >= self.limits.no_events_s:
                hours = (now - at) / 3600
                yield Incident(
                    "no-events", device, at,
                    f"{device} is online and has told no event for {hours:.1f} h",
                    {"site": its["site"]},
                )  # fmt: skip

    def _missing(self, now: float) -> Iterator[Incident]:
        """What is on its way is no hole: only what stays."""
        seen: dict[tuple[str, str], float] = {}
        for stream in audit(self.db).streams:
            if not stream.missing:
                continue
            key = stream.device, stream.epoch
            since = seen[key] = self._holes.get(key, now)
            if now - since >= self.limits.holes_s:
                yield Incident(
                    "holes", f"{stream.device}/{stream.epoch}", since,
                    f"{stream.device}: records {ranges_text(stream.missing)} did not come",
                    {"device": stream.device, "epoch": stream.epoch},
                )  # fmt: skip
        self._holes = seen

    def _rollouts(self, now: float) -> Iterator[Incident]:
        for its in Ledger(self.db).all():
            ended = its.ended or its.created
            if its.state in ("aborting", "aborted") and now - ended < _ROLLOUT_S:
                yield Incident(
                    "rollout", its.id, ended, f"rollout {its.id} of {its.plan.target} is"
                    f" {its.state}: {its.reason}", {"target": its.plan.target},
                )  # fmt: skip
