"""The decision for one pipeline, and what it has saved.

What it holds back is not lost: it was looked at, and counted with the reason. Times are those of
the samples (`when_ms`), so that a recording is gated as it would have been live.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol

from edgeagent import clock
from edgeagent.capture.rhythm import Thinner
from edgeagent.config.spans import Calendar, Window
from edgeagent.config.units import seconds
from edgeagent.types import Frame

if TYPE_CHECKING:
    from edgeagent.capture.gate.motion import MotionDetector
    from edgeagent.config.model import Pipeline
    from edgeagent.types import Sample

STILL, RATE, SCHEDULE, TRIGGER = "still", "rate", "schedule", "trigger"
_ASK_CLOCK_S = 1.0
_WARM_UP_MS = 2000.0
"""Everything passes until the background is known."""


class Open(Protocol):
    """What another pipeline has open (its `decide.present.Present`)."""

    def has(self, labels: Collection[str], zones: Collection[str]) -> bool:
        """Whether it has an open event with one of the labels in one of the zones; empty = any."""


class Gate:
    """Asked by the pipeline's thread for each sample in the order of time.

    Args:
        pipeline: whose ``gate`` is set.
        timezone: of the schedule.
        other: what the pipeline of ``trigger`` has open; None = it does not run, and then nothing
            is held back for it.
        trusted: whether the wall clock may be believed.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        timezone: str = "UTC",
        other: Open | None = None,
        trusted: Callable[[], bool] = clock.synced,
    ) -> None:
        gate = pipeline.gate
        if gate is None:
            raise ValueError("the pipeline has no gate")
        self.passed = 0
        self.reason = ""
        """Why the last one was held back; empty = it was not."""
        self.held: dict[str, int] = {}
        """Samples that were not worth an inference, by reason."""
        self._motion = gate.motion
        self._polygons = [
            pipeline.zones[zone].polygon for zone in (gate.motion.zones if gate.motion else ())
        ]
        self._detector: MotionDetector | None = None
        self._hold_ms = 1e3 * seconds(gate.motion.hold) if gate.motion else 0.0
        self._least_ms = 1e3 / gate.min_fps if gate.min_fps else float("inf")
        self._rate = Thinner(gate.max_fps) if gate.max_fps else None
        self._windows = [Window.parse(text) for text in gate.schedule]
        self._calendar = Calendar(timezone)
        self._trigger = gate.trigger
        self._trigger_hold_ms = 1e3 * seconds(gate.trigger.hold) if gate.trigger else 0.0
        self._other = other
        self._trusted = trusted
        self._asked_s, self._answer = -1e9, False
        self._moved_ms = -1e18
        self._passed_ms = -1e18
        self._triggered_ms = -1e18
        self._first_ms: float | None = None
        self._share = 0.0
        self.strictness = 1.0
        """More than 1: so many times as much must move, and so many times fewer samples pass where
        nothing does. May be set by any thread."""

    @property
    def selects(self) -> bool:
        """Whether strictness makes a difference: it looks for movement."""
        return self._motion is not None

    def passes(self, sample: Sample) -> bool:
        """Whether the sample is worth an inference."""
        reason = self.reason = self._reason(sample, sample.when_ms)
        if reason:
            self.held[reason] = self.held.get(reason, 0) + 1
            return False
        self.passed += 1
        self._passed_ms = sample.when_ms
        return True

    def tally(self) -> dict[str, Any]:
        """For status and metrics: ``passed``, ``held``, ``held_by``, ``saved`` (a share), and what
        moves now (a share of the picture)."""
        held = sum(self.held.values())
        total = self.passed + held
        return {
            "passed": self.passed,
            "held": held,
            "held_by": dict(sorted(self.held.items())),
            "saved": round(held / total, 4) if total else 0.0,
            "moving": round(self._share, 4),
        }

    # --- one question a method -------------------------------------------------------------

    def _reason(self, sample: Sample, now: float) -> str:
        """Why it is held back; empty = it is not."""
        if self._first_ms is None:
            self._first_ms = now
        if not self._scheduled(sample.at_ns):
            return SCHEDULE
        # Before the others can say no: the background is to be known when it is asked.
        moves = self._moves(sample, now)
        if not self._triggered(now):
            return TRIGGER
        if not moves and now - self._passed_ms < self._least_ms * self.strictness:
            return STILL
        if self._rate is not None and not self._rate.takes(now / 1e3):
            return RATE
        return ""

    def _scheduled(self, at_ns: int) -> bool:
        if not self._windows:
            return True
        now = time.monotonic()
        if now - self._asked_s >= _ASK_CLOCK_S:
            self._asked_s, self._answer = now, self._trusted()
        return not self._answer or self._calendar.within(self._windows, at_ns)

    def _triggered(self, now: float) -> bool:
        if self._trigger is None or self._other is None:
            return True
        if self._other.has(self._trigger.labels, self._trigger.zones):
            self._triggered_ms = now
        return now - self._triggered_ms <= self._trigger_hold_ms

    def _moves(self, sample: Sample, now: float) -> bool:
        if self._motion is None or not isinstance(sample, Frame):
            return True
        if self._detector is None:
            from edgeagent.capture.gate.motion import MotionDetector

            self._detector = MotionDetector(self._polygons, self._motion.contrast)
        self._share = self._detector(sample.pixels, now / 1e3)
        assert self._first_ms is not None
        if self._share >= self._motion.area * self.strictness or now - self._first_ms < _WARM_UP_MS:
            self._moved_ms = now
        return now - self._moved_ms <= self._hold_ms
