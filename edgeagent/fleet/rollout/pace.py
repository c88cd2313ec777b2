"""How many devices may be asked now. Pure: the clock is an argument."""

from __future__ import annotations

import math

from edgeagent.fleet.rollout.plan import Pace


def per_minute(pace: Pace, well: int) -> float:
    """The rate after ``well`` devices are well; infinite where none is set."""
    if not pace.per_minute:
        return math.inf
    steps = well // pace.every if pace.every else 0
    # A power of a large rollout overflows long before it matters.
    rate = pace.per_minute * pace.factor ** min(steps, 64)
    return min(rate, pace.most_per_minute or math.inf)


class Bucket:
    """Leaky bucket of permissions: it fills at the rate and holds a minute's worth at most, so
    hours outside the schedule are not made up for."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._held = 1.0

    def allowed(self, pace: Pace, well: int, now: float) -> int:
        """How many may be asked now, by the rate alone."""
        rate = per_minute(pace, well)
        passed, self._at = max(0.0, now - self._at), now
        if math.isinf(rate):
            return 1 << 30
        self._held = min(max(1.0, rate), self._held + passed * rate / 60)
        return int(self._held)

    def took(self, count: int) -> None:
        self._held -= count
