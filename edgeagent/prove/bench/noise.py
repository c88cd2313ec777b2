"""Whether one thing is faster than another, or only seemed so.

Both are measured in turns; within a turn the device is in the same state for both, so each turn
gives one ratio of their medians, and the turns tell how much such ratios scatter by themselves.
The interval is a percentile bootstrap over turns (Efron & Tibshirani 1993, chapter 13) of their
trimmed mean. A turn is drawn whole: runs within it are not independent of one another.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import median

from msgspec import Struct

_DRAWS = 2000
_TRIMMED = 0.2
"""Share of the turns left out at each end: something else ran on the device."""
LEAST_TURNS = 8
_MATTERS = 0.01
"""A difference below this is not worth the name, however surely it is there."""


class Ratio(Struct, frozen=True):
    """How many times as long the second takes as the first."""

    ratio: float
    low: float
    high: float
    """The interval that holds the true ratio with ``confidence``."""
    turns: int
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
            f"{self.turns} turns"
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
    confidence: float = 0.95,
) -> Ratio:
    """Latencies of both, turn by turn. The same seed gives the same interval."""
    logs = [
        math.log(median(theirs)) - math.log(median(ours))
        for ours, theirs in zip(first, second, strict=True)
    ]
    rng = random.Random(seed)
    drawn = sorted(_trimmed(rng.choices(logs, k=len(logs))) for _ in range(_DRAWS))
    tail = (1.0 - confidence) / 2
    # A bootstrap of n values is too narrow by n / (n − 1): their scatter about their own mean.
    middle, widen = _trimmed(logs), math.sqrt(len(logs) / max(len(logs) - 1, 1))
    low, high = (drawn[min(int(share * _DRAWS), _DRAWS - 1)] for share in (tail, 1 - tail))
    low, high = middle + (low - middle) * widen, middle + (high - middle) * widen
    return Ratio(math.exp(middle), math.exp(low), math.exp(high), len(logs), confidence)


def _trimmed(values: Sequence[float]) -> float:
    cut = int(len(values) * _TRIMMED)
    kept = sorted(values)[cut : len(values) - cut]
    return sum(kept) / len(kept)
