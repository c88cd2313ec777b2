"""How much of the work a board can do for ever: the share that keeps it just below its limit.

A PI controller in its velocity form (Åström, Hägglund: "Advanced PID Control", 2006, §3.5): what
it has settled on is its only state, so there is nothing to wind up at full work, and it begins to
lessen early where a rise is steep (at a rise that would reach the target within `_KP / _KI`
seconds). Only the last degrees count: a processor that is 20 degrees warmer in ten seconds because
its work began is no news.
"""

from __future__ import annotations

from msgspec import Struct


class Gains(Struct, frozen=True):
    """How it answers; the defaults suit degrees of a board (time constants of 5 to 500 s)."""

    below: float = 1.3
    """The target lies so far below the limit."""
    band: float = 8.0
    """What is further below the target does not count."""
    proportional: float = 0.05
    """Share by unit."""
    integral: float = 0.0008
    """Share by unit and second."""
    smooth_s: float = 10.0
    """Time constant of the mean over noise and coarse steps of a sensor …"""
    noise: float = 1.0
    """… which are no larger than that: what goes beyond is believed at once."""


DEGREES = Gains()
PERCENT = Gains(below=5.0, band=30.0, proportional=0.01, integral=0.0005, noise=10.0)
"""For pressure: % of the time in which something waits."""
_SLOWED = 0.05
"""By which the share falls each second while the limit is passed, or the board slows itself."""
_NEAR, _URGENT = 0.3, 8.0
"""What is further above the target than that counts so many times more: there the limit is near,
and a heavy heat sink goes on rising for minutes."""
_STEEP, _STEEPEST = 0.01, 4.0
"""From that change of the share on a rise is steep, and so many times it is answered at most."""
_LONGEST_S = 10.0
"""A reading that comes later than that after the one before says nothing about the time between."""


class Thermostat:
    """Readings in, a share of the full work out.

    Args:
        limit: what must not be reached.
        gains: how it answers.
    """

    def __init__(self, limit: float, gains: Gains = DEGREES) -> None:
        self.limit = limit
        self.target = limit - gains.below
        self.share = 1.0
        self.level: float | None = None
        """The smoothed reading; None = there was none."""
        self._gains = gains
        self._at = 0.0

    @property
    def over(self) -> bool:
        """Above what it aims at."""
        return self.level is not None and self.level > self.target

    @property
    def easy(self) -> bool:
        """Full work, and well below what it aims at."""
        far = self.level is None or self.level < self.target - self._gains.band / 2
        return self.share == 1.0 and far

    def feel(self, now: float, reading: float, *, least: float, slowed: bool = False) -> float:
        """The share from now on.

        Args:
            now: seconds of a monotonic clock.
            reading: in the limit's unit.
            least: the share is never smaller.
            slowed: the board is slowing itself down.
        """
        if self.level is None:
            self.level, self._at = reading, now
            return self.share
        passed = min(max(0.0, now - self._at), _LONGEST_S)
        before, self._at = self.level, now
        smooth = before + (reading - before) * passed / (passed + self._gains.smooth_s)
        self.level = min(reading + self._gains.noise, max(reading - self._gains.noise, smooth))
        lowest = self.target - self._gains.band
        was, here = max(before, lowest), max(self.level, lowest)
        change = self._gains.proportional * (here - was)
        change += self._gains.integral * (here - self.target) * passed
        if here > self.target + _NEAR:
            change += _URGENT * self._gains.integral * (here - self.target - _NEAR) * passed
        # Noise goes up and down by little; what rises steeply is met with more than its measure.
        change *= 1.0 + max(0.0, min(_STEEPEST, change / _STEEP - 1.0))
        if slowed or self.level >= self.limit:
            change = max(change, 0.0) + _SLOWED * passed
        self.share = min(1.0, max(least, self.share - change))
        return self.share
