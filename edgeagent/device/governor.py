"""Keeps a board below the heat at which it slows itself down, and out of the reach of the OOM
killer, by having pipelines do less: by rate first, which is even and can be measured out, then step
by step.

It reads (`strain.look`), decides (`thermostat`, `ladder`), has others act (`Act`) and tells. What
it decides depends on readings and times only, so that tests can let hours pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from edgeagent.device.ladder import Ladder
from edgeagent.device.strain import Strain
from edgeagent.device.thermostat import PERCENT, Thermostat

Cause = Literal["heat", "memory"]
RATE = "rate"
_CRAWL = 0.05
"""Share of the frames that is always left."""
_TELL = 0.1
"""The rate is told anew when it has changed by that share."""
_HEAT_SETTLE_S, _HEAT_PATIENCE_S = 30.0, 120.0
_MEMORY_SETTLE_S, _MEMORY_PATIENCE_S = 6.0, 60.0
"""The kernel's average over ten seconds must have heard of a step before the next is taken, and
what fills the memory may be quick."""
_CALM = 0.25
"""Share of the pressure's limit below which memory counts as at ease."""
_ROOM = 2.0
"""So many times the least free memory must be free, besides what a step has freed."""
_KEPT = 20


class Act(Protocol):
    """Something that can give way, and come back."""

    name: str

    def take(self, reason: str) -> str:
        """Do less; what was done, in words. Empty = there was nothing to be done."""

    def back(self) -> str:
        """As before; what was done, in words. Empty = that can't be now."""


class Step(Struct, frozen=True):
    """Something that was done; what a record tells."""

    cause: Cause
    name: str
    """``rate``, or the name of an `Act`."""
    phase: Literal["new", "update", "end"]
    said: str
    """What was done."""
    reason: str
    """Why."""
    share: float
    """Of the full frame rate that is left."""


class Limits(Struct, frozen=True):
    """See `config.governor.Governor`."""

    degrees: float
    least_rate: float = 0.5
    memory_pressure: float = 20.0
    least_memory: float = 0.05
    cpu_pressure: float | None = None


class Governor:
    """One decision a `tick`; call it every second or two, from one thread.

    Args:
        limits: what must not be reached.
        pace: told the share of the full frame rate that pipelines may have.
        heat: what gives way once the rate is at its least, in that order.
        memory: what gives way when memory is short, in that order.
        tell: told each step.
    """

    def __init__(
        self,
        limits: Limits,
        pace: Callable[[float], None],
        heat: Sequence[Act],
        memory: Sequence[Act],
        tell: Callable[[Step], None],
    ) -> None:
        self.strain = Strain()
        self.share = 1.0
        self.steps: deque[Step] = deque(maxlen=_KEPT)
        """The last ones, for people."""
        self.taken = 0
        self._limits = limits
        self._pace = pace
        self._tell = tell
        self._thermostat = Thermostat(limits.degrees)
        self._busy = Thermostat(limits.cpu_pressure, PERCENT) if limits.cpu_pressure else None
        self._heat = _Stair("heat", heat, Ladder(_HEAT_SETTLE_S, _HEAT_PATIENCE_S))
        self._memory = _Stair("memory", memory, Ladder(_MEMORY_SETTLE_S, _MEMORY_PATIENCE_S))
        self._told_share = 1.0
        self._freed: list[float] = []
        """Parts of the memory that each step for memory has freed."""
        self._before: tuple[float, float] | None = None

    @property
    def reason(self) -> str:
        """What gives way now and why, in words that stay the same while nothing is done; empty =
        everything runs in full."""
        return "; ".join(
            f"{', '.join(its.said for its in steps)} ({steps[-1].reason})"
            for steps in self._open().values()
        )

    def status(self) -> dict[str, Any]:
        """For `status` and metrics."""
        told = {
            "limit_c": self._limits.degrees,
            "temperature_c": self._thermostat.level and round(self._thermostat.level, 1),
            "zone": self.strain.zone,
            "rate": round(self.share, 2),
            "steps": [its.said for steps in self._open().values() for its in steps],
            "reason": self.reason,
            "taken": self.taken,
        }
        return {key: value for key, value in told.items() if value not in (None, "")}

    def tick(self, now: float, strain: Strain) -> None:
        """Look at a strain and do what it asks for. ``now`` = seconds of a monotonic clock."""
        self.strain = strain
        self._keep_cool(now, strain)
        self._keep_room(now, strain)

    def end(self) -> None:
        """Everything as it was, before nobody looks any more."""
        self.share = 1.0
        self._pace(1.0)

    # --- heat ------------------------------------------------------------------------------

    def _keep_cool(self, now: float, strain: Strain) -> None:
        least = self._limits.least_rate if self._heat.more else _CRAWL
        warm = self._thermostat
        if strain.degrees is None and not strain.slowed:
            share = 1.0
        else:
            # Of a board that only says that it slows down nothing else is known.
            degrees = strain.degrees if strain.degrees is not None else warm.target - 1.0
            share = warm.feel(now, degrees, least=least, slowed=bool(strain.slowed))
        if self._busy is not None and strain.cpu is not None:
            share = min(share, self._busy.feel(now, strain.cpu, least=self._limits.least_rate))
        self._slow_down(share)
        over = warm.over or bool(strain.slowed)
        move = self._heat.ladder.feel(
            now, want=over and self._heat.more and warm.share <= least, ease=warm.easy
        )
        for step in self._heat.move(move, strain.sentence(self._limits.degrees)):
            self._done(step)
        if warm.easy:
            self._heat.forget()

    def _slow_down(self, share: float) -> None:
        if share != self.share:
            self._pace(share)
        self.share = share
        told = self._told_share
        back = share == 1.0
        if abs(share - told) < _TELL * told and not (back and told < 1.0):
            return
        phase: Literal["new", "update", "end"] = "new" if told == 1.0 else "update"
        said = f"frame rate at {share:.0%}"
        self._told_share = share
        self._done(Step("heat", RATE, "end" if back else phase, said, self._why_slower(), share))

    def _why_slower(self) -> str:
        busy, cpu = self._busy, self.strain.cpu
        if busy is not None and cpu is not None and busy.share < self._thermostat.share:
            return f"something waits for a processor {cpu:.0f} % of the time"
        return self.strain.sentence(self._limits.degrees)

    # --- memory ----------------------------------------------------------------------------

    def _keep_room(self, now: float, strain: Strain) -> None:
        limits, stair = self._limits, self._memory
        if strain.memory is None and strain.free is None:
            return
        pressure, free = strain.memory or 0.0, 1.0 if strain.free is None else strain.free
        self._weigh(now, free)
        want = pressure >= limits.memory_pressure or free < limits.least_memory
        needed = _ROOM * limits.least_memory + (self._freed[-1] if self._freed else 0.0)
        ease = pressure < _CALM * limits.memory_pressure and free > needed
        reason = f"{free:.0%} of the memory is free"
        if pressure >= limits.memory_pressure:
            reason += f", something waits for it {pressure:.0f} % of the time"
        done = stair.move(stair.ladder.feel(now, want=want, ease=ease), reason)
        for step in done:
            if step.phase == "new":
                self._freed.append(0.0)
                self._before = (now, free)
            elif self._freed:
                self._freed.pop()
            self._done(step)
        if ease:
            stair.forget()

    def _weigh(self, now: float, free: float) -> None:
        """How much the last step has freed, once that shows."""
        if self._before is None or not self._freed:
            return
        taken_at, before = self._before
        self._freed[-1] = max(self._freed[-1], free - before)
        if now - taken_at > _MEMORY_SETTLE_S:
            self._before = None

    # --- what was done -----------------------------------------------------------------------

    def _done(self, step: Step) -> None:
        self.taken += 1
        self.steps.append(step)
        self._tell(step)

    def _open(self) -> dict[Cause, list[Step]]:
        """Steps that are not taken back, by their cause."""
        found: dict[Cause, list[Step]] = {}
        slower = next((its for its in reversed(self.steps) if its.name == RATE), None)
        if slower is not None and slower.phase != "end":
            found["heat"] = [slower]
        for stair in (self._heat, self._memory):
            if stair.taken:
                found.setdefault(stair.cause, []).extend(step for _, step in stair.taken)
        return found


class _Stair:
    """Acts in their order: those that were taken, and where the next is."""

    def __init__(self, cause: Cause, acts: Sequence[Act], ladder: Ladder) -> None:
        self.cause = cause
        self.ladder = ladder
        self.taken: list[tuple[Act, Step]] = []
        self._acts = list(acts)
        self._next = 0

    @property
    def more(self) -> bool:
        """Whether anything is left that may give way."""
        return self._next < len(self._acts)

    def forget(self) -> None:
        """What found nothing to be done may find something another time."""
        if not self.taken:
            self._next = 0

    def move(self, by: int, reason: str) -> list[Step]:
        """What was done; what finds nothing to be done is passed over."""
        if by < 0:
            return self._back(reason)
        while by > 0 and self.more:
            act = self._acts[self._next]
            self._next += 1
            said = act.take(reason)
            if said:
                step = Step(self.cause, act.name, "new", said, reason, 1.0)
                self.taken.append((act, step))
                self.ladder.depth = len(self.taken)
                return [step]
        return []

    def _back(self, reason: str) -> list[Step]:
        act, _ = self.taken[-1]
        said = act.back()
        if not said:
            return []
        self.taken.pop()
        self._next = self._acts.index(act)
        self.ladder.depth = len(self.taken)
        return [Step(self.cause, act.name, "end", said, reason, 1.0)]
