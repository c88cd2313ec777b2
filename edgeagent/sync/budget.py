"""How much may go over a metered link: bytes by class of traffic, an hour, day and month.

What has no budget left waits; nothing is thrown away for it. Events go on where results wait,
and the device's answers (status, commands) go on always, but count.

* **Never above, not even across a crash.** What is used is noted on disk *before* it is sent,
  a little ahead, so that a process that is killed comes back to a count that is too high by a
  64th of the budget at most, never too low.
* **Without a clock that is trusted** a span ends only once its whole length has passed on
  CLOCK_BOOTTIME in this boot; what was used in the meantime counts for the span that the clock
  names when it can be trusted. Quiet windows can't be known then and don't hold anything.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct, field

from edgeagent import clock as system_clock
from edgeagent.config.spans import LONGEST_S, SPANS, Calendar, Span, Window
from edgeagent.config.units import size_bytes
from edgeagent.errors import StoreError
from edgeagent.store.encode import Clock
from edgeagent.sync.topics import Topics, Traffic

if TYPE_CHECKING:
    from edgeagent.config.model import Sync
    from edgeagent.sync.reasons import Reason

log = logging.getLogger(__name__)

CLASSES: tuple[Traffic, ...] = (
    "events", "results", "evidence", "updates", "state", "metrics", "control",
)  # fmt: skip
_TOTAL = "total"
_KEY = "sync.budget"
_LOUD_WHEN_QUIET = frozenset({"events", "control"})
_SMALLEST = 512
_SMALLEST_CHUNK = 2048
"""With fewer bytes left a class is closed: no message of it is so small."""
_ROLL_S = 1.0
_NOTE_S = 600.0
_NO_LIMIT = 1 << 62


class Memory(Protocol):
    """Small things kept on disk."""

    def remember(self, key: str, value: bytes | None) -> None: ...
    def recall(self, key: str) -> bytes | None: ...


class BudgetSettings(Struct, frozen=True):
    """Limits in bytes; none = metered, but not limited."""

    limits: Mapping[str, Mapping[Span, int]] = field(default_factory=dict)
    """Class or ``total`` → span → bytes, sent and received."""
    quiet: tuple[Window, ...] = ()
    zone: str = "UTC"
    month_begins: int = 1

    @classmethod
    def of(cls, sync: Sync, timezone: str) -> BudgetSettings:
        """From the configuration. Raises ConfigError."""
        budget = sync.budget
        limits: dict[str, dict[Span, int]] = {}
        for name in (_TOTAL, *CLASSES):
            allowance = getattr(budget, name, None)
            if allowance is not None:
                texts = {span: getattr(allowance, span) for span in SPANS}
                limits[name] = {span: size_bytes(text) for span, text in texts.items() if text}
        quiet = tuple(Window.parse(text) for text in budget.quiet)
        return cls(limits, quiet, timezone, budget.month_begins)


class _Used(Struct):
    """What one span has used."""

    key: str = ""
    """Of the calendar; empty = the clock was not trusted."""
    since_ms: float = 0.0
    """CLOCK_BOOTTIME at which this boot began to count it."""
    bytes: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    """What stands on disk, of the classes that are limited."""


class Budget:
    """Passenger of the link. Everything else may be called from any thread."""

    def __init__(
        self, settings: BudgetSettings | None = None, topics: Topics | None = None,
        memory: Memory | None = None, clock: Clock = system_clock,
    ) -> None:  # fmt: skip
        """``topics`` tell which class a message is of; without ``memory`` nothing is kept."""
        self._settings = settings or BudgetSettings()
        self._calendar = Calendar(self._settings.zone, self._settings.month_begins)
        self._topics = topics
        self._memory = memory
        self._clock = clock
        now_ms = clock.mono_ms()
        self._spans: dict[Span, _Used] = {span: _Used(since_ms=now_ms) for span in SPANS}
        self._sent: dict[str, int] = dict.fromkeys(CLASSES, 0)
        self._units: dict[str, int] = {"events": 0, "results": 0}
        self._rolled_ms = self._noted_ms = float("-inf")
        self._quiet = self._trusted = self._changed = self._faulty = False
        self._told: dict[str, str] = {}
        self._lock = threading.RLock()
        self._load()
        self._roll(now_ms)

    # --- asking and counting

    def left(self, traffic: Traffic) -> int:
        """Bytes that may still be sent now; 0 = closed."""
        with self._lock:
            self._roll(self._clock.mono_ms())
            if self._quiet and traffic not in _LOUD_WHEN_QUIET:
                return 0
            found = min((left for left, _ in self._lefts(traffic)), default=_NO_LIMIT)
            return found if found >= _least(traffic) else 0

    def open(self, traffic: Traffic) -> bool:
        return self.left(traffic) > 0

    def charge(self, traffic: Traffic, count: int, units: int = 0) -> None:
        """``count`` bytes are about to be sent, or have been received, for so many events or
        results."""
        with self._lock:
            self._roll(self._clock.mono_ms())
            self._changed = True
            self._sent[traffic] += count
            if units:
                self._units[traffic] += units
            for used in self._spans.values():
                for name in (traffic, _TOTAL):
                    used.bytes[name] = used.bytes.get(name, 0) + count
            if self._ahead():
                self._note(reserve=True)

    def sent(self, topic: str, count: int) -> None:
        """Any message but a batch of records, which the publisher charges by what is in it."""
        if self._topics is not None and topic != self._topics.records:
            self.charge(self._topics.traffic(topic), count)

    def received(self, topic: str, count: int) -> None:
        if self._topics is not None:
            self.charge(self._topics.traffic(topic), count)

    def may(self, topic: str) -> bool:
        """Whether a message on this topic may go out now."""
        traffic = "control" if self._topics is None else self._topics.traffic(topic)
        return traffic == "control" or self.open(traffic)

    def _lefts(self, traffic: str) -> Iterable[tuple[int, tuple[str, Span]]]:
        for name in (traffic, _TOTAL):
            for span, limit in self._settings.limits.get(name, {}).items():
                yield limit - self._spans[span].bytes.get(name, 0), (name, span)

    # --- the link's calls

    def connected(self) -> None:
        """Nothing changes by it."""

    def disconnected(self, _reason: Reason) -> None:
        """Nothing changes by it."""

    def turn(self, now: float) -> float:
        now_ms = self._clock.mono_ms()
        with self._lock:
            self._roll(now_ms)
            self._tell()
            if self._changed and now_ms - self._noted_ms >= _NOTE_S * 1000:
                self._note(reserve=True)
        return now + 5.0

    def farewell(self) -> None:
        """The last messages are still to come: `close` notes."""

    def close(self) -> None:
        """Note what was used, exactly. After the link has ended."""
        with self._lock:
            if self._changed:
                self._note(reserve=False)

    # --- for people

    def held(self, traffic: Traffic) -> str:
        """Why a class waits; empty = it does not."""
        with self._lock:
            self._roll(self._clock.mono_ms())
            return self._held().get(traffic, "")

    def status(self) -> dict[str, Any]:
        """For `edgeagent status`: used, limits, what is held back and until when."""
        with self._lock:
            return self._status()

    def _status(self) -> dict[str, Any]:
        per = {
            f"bytes_per_{name}": round(self._sent[plural] / count)
            for name, plural in (("event", "events"), ("result", "results"))
            if (count := self._units[plural])
        }
        if self._units["events"] and self._sent["evidence"]:
            per["evidence_bytes_per_event"] = round(self._sent["evidence"] / self._units["events"])
        limits = {name: dict(spans) for name, spans in self._settings.limits.items() if spans}
        return {
            **per,
            "sent": {name: count for name, count in self._sent.items() if count},
            **{span: dict(used.bytes) for span, used in self._spans.items()},
            "limits": limits,
            "held": self._held(),
        }

    def _held(self) -> dict[str, str]:
        """Class → why it waits, in words."""
        found: dict[str, str] = {}
        for traffic in CLASSES:
            if self._quiet and traffic not in _LOUD_WHEN_QUIET:
                found[traffic] = "quiet window"
                continue
            used_up = [which for left, which in self._lefts(traffic) if left < _least(traffic)]
            if used_up and traffic != "control":
                found[traffic] = self._words(*max(used_up, key=lambda its: SPANS.index(its[1])))
        return found

    def _words(self, name: str, span: Span) -> str:
        what = f"the {span}'s budget{' in total' if name == _TOTAL else ''} is used up"
        if not self._trusted:
            return f"{what}, and the clock is not trusted"
        end = system_clock.rfc3339(self._calendar.end(span, self._clock.wall_ns()))
        return f"{what}, until {end[:16]}Z"

    def _tell(self) -> None:
        held = self._held()
        for traffic in held.keys() - self._told.keys():
            log.info("%s wait: %s", traffic, held[traffic])
        for traffic in self._told.keys() - held.keys():
            log.info("%s go on", traffic)
        self._told = held

    # --- time

    def _roll(self, now_ms: float) -> None:
        if now_ms - self._rolled_ms < _ROLL_S * 1000:
            return
        self._rolled_ms = now_ms
        self._trusted = self._clock.synced()
        wall_ns = self._clock.wall_ns()
        self._quiet = (
            self._trusted
            and bool(self._settings.quiet)
            and self._calendar.within(self._settings.quiet, wall_ns)
        )
        for span, used in self._spans.items():
            if self._trusted:
                key = self._calendar.key(span, wall_ns)
                # A stored key that is later than now comes of a wrong clock: it gives nothing.
                over, used.key = bool(used.key) and key > used.key, key
            else:
                over = now_ms - used.since_ms >= LONGEST_S[span] * 1000
                used.key = "" if over else used.key
            if over:
                used.since_ms, used.bytes, used.noted = now_ms, {}, {}
                self._changed = True

    # --- memory

    def _ahead(self) -> bool:
        """Whether more is used than stands on disk."""
        return any(
            self._spans[span].bytes.get(name, 0) > self._spans[span].noted.get(name, 0)
            for name, spans in self._settings.limits.items()
            for span in spans
        )

    def _note(self, *, reserve: bool) -> None:
        for name, spans in self._settings.limits.items():
            for span, limit in spans.items():
                used = self._spans[span]
                ahead = max(1024, limit // 64) if reserve else 0
                used.noted[name] = used.bytes.get(name, 0) + ahead
        document = {
            span: {"key": used.key, "bytes": {**used.bytes, **used.noted}}
            for span, used in self._spans.items()
        }
        self._changed, self._noted_ms = False, self._clock.mono_ms()
        if self._memory is None:
            return
        try:
            self._memory.remember(_KEY, msgspec.json.encode(document))
            self._faulty = False
        except StoreError as error:
            if not self._faulty:
                log.warning("what the link has used can't be noted: %s", error)
            self._faulty = True

    def _load(self) -> None:
        try:
            stored = self._memory.recall(_KEY) if self._memory is not None else None
            found = msgspec.json.decode(stored, type=dict[str, _Noted]) if stored else {}
        except (StoreError, msgspec.MsgspecError) as error:
            log.warning("what the link has used can't be read: %s", error)
            return
        for span, used in self._spans.items():
            noted = found.get(span, _Noted())
            used.key, used.bytes = noted.key, dict(noted.bytes)
            used.noted = {name: noted.bytes.get(name, 0) for name in self._settings.limits}


def _least(traffic: Traffic) -> int:
    return _SMALLEST_CHUNK if traffic in ("evidence", "updates") else _SMALLEST


class _Noted(msgspec.Struct):
    """One span on disk."""

    key: str = ""
    bytes: dict[str, int] = msgspec.field(default_factory=dict)
