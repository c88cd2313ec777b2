"""Whether one thing is faster than another, or only seemed so.

Both are measured in turns; within a turn the device is in the same state for both, so each turn
gives one ratio of their medians, and the turns tell how much such ratios scatter by themselves. A
process is faster or slower than another one of the same program by some per cent, because of where
its memory happens to lie, and stays so (Mytkowicz et al., "Producing wrong data without doing
anything obviously wrong!", ASPLOS 2009): so turns come from several starts of both, and what is
told apart must hold over starts (Kalibera & Jones, "Rigorous benchmarking in reasonable time",
ISMM 2013).

The interval is a bootstrap of the mean over starts, each drawn whole (Efron & Tibshirani 1993,
chapter 13), widened as Student's distribution is wider than the normal one for so few.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import median

from msgspec import Struct

_DRAWS = 2000
_TRIMMED = 0.2
"""Share of the turns of a start left out at each end: something else ran on the device."""
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantiles of Student's distribution, by degrees of freedom from 1."""
_NORMAL = 1.960
LEAST_TURNS = 8
_MATTERS = 0.02
"""A difference below this is not worth the name, however surely it is there."""


class Ratio(Struct, frozen=True):
    """How many times as long the second takes as the first."""

    ratio: float
    low: float
    high: float
    """The interval that holds the true ratio with ``confidence``."""
    turns: int
    starts: int
    """Fresh processes of each."""
    confidence: float = 0.95

    @property
    def differs(self) -> bool:
        """Whether it is more than noise."""
        apart = self.low > 1.0 or self.high < 1.0
        return apart and abs(math.log(self.ratio)) > math.log1p(_MATTERS)

    @property
    def slower(self) -> bool:
        """Whether the second is surely slower."""
        return self.differs and self.ratio > 1.0

    @property
    def faster(self) -> bool:
        """Whether the second is surely faster."""
        return self.differs and self.ratio < 1.0

    def sentence(self, first: str, second: str) -> str:
        """``B takes 1.32 × as long as A (1.28 to 1.36 with 95 % confidence, 20 turns)``."""
        interval = (
            f"{self.low:.3f} to {self.high:.3f} with {self.confidence:.0%} confidence, "
            f"{self.turns} turns in {self.starts} starts"
        )
        if not self.differs:
            return f"no difference between {second} and {first} can be told (ratio {interval})"
        if self.slower:
            return f"{second} takes {self.ratio:.3g} × as long as {first} ({interval})"
        return f"{second} takes {self.ratio:.3g} × of the time of {first} ({interval})"


def compare(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    seed: int = 0,
    starts: Sequence[int] | None = None,
) -> Ratio:
    """Latencies of both, turn by turn. The same seed gives the same interval.

    Args:
        first: of each turn of the first one.
        second: likewise.
        seed: of the bootstrap.
        starts: number of the start that each turn belongs to; None = each turn is its own.
    """
    groups: dict[int, list[float]] = {}
    for turn, (ours, theirs) in enumerate(zip(first, second, strict=True)):
        apart = math.log(median(theirs)) - math.log(median(ours))
        groups.setdefault(starts[turn] if starts else turn, []).append(apart)
    means = [_trimmed(group) for group in groups.values()]
    rng = random.Random(seed)
    drawn = sorted(_trimmed(rng.choices(means, k=len(means))) for _ in range(_DRAWS))
    middle, widen = _trimmed(means), _widening(len(means))
    low, high = drawn[int(0.025 * _DRAWS)], drawn[int(0.975 * _DRAWS)]
    low, high = middle + (low - middle) * widen, middle + (high - middle) * widen
    return Ratio(math.exp(middle), math.exp(low), math.exp(high), len(first), len(groups))


def _widening(count: int) -> float:
    """Times that a bootstrap of so few values is too narrow."""
    if count < 2:
        return 1.0
    student = _STUDENT[count - 2] if count - 2 < len(_STUDENT) else _NORMAL
    return student / _NORMAL * math.sqrt(count / (count - 1))


def _trimmed(values: Sequence[float]) -> float:
    cut = int(len(values) * _TRIMMED)
    kept = sorted(values)[cut : len(values) - cut]
    return sum(kept) / len(kept)
