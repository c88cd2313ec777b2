"""A distribution of numbers in little room, which can be merged.

The sketch of Karnin, Lang and Liberty ("Optimal Quantile Approximation in Streams", FOCS 2016):
values wait in levels; a full level is sorted and every second value goes up, where it counts
twice. Which half goes is said by a coin that is part of the sketch, so the same values give the
same sketch in every process. Nothing of it depends on the range of the values.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import frexp, ldexp
from typing import Any

from msgspec import Struct, field

SIZE = 96
"""Values of the uppermost level. A rank is wrong by at most 2.296 / SIZE^0.9021 = 3.7 % of all
values (with 99 % confidence; Apache DataSketches' figure for this sketch), and not at all below
SIZE values."""
RANK_ERROR = 2.296 / SIZE**0.9021
_SHRINK = 2 / 3
_BITS, _STEPS = 12, 4096
"""Of a value, which is a fortieth of a percent: that another kernel says 0.99999 where this one
says 1.0 is no drift, and a value is in a file what it is in memory."""
_LARGEST = 1e38
"""Values are kept in four bytes."""
_LEAST = 4
"""Values of the lowest level."""


class Sketch(Struct):
    """Of one feature."""

    n: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    levels: list[array[float]] = field(default_factory=lambda: [array("f")])
    """A value of level i counts 2^i times."""
    coin: int = 1
    _steps: tuple[Any, Any] | None = None
    """As `steps` gave them, until something is added."""

    def add(self, value: float) -> None:
        """Take in a value, to `_BITS`; one that is no number is passed over."""
        if not abs(value) < _LARGEST:
            return
        part, power = frexp(value)
        value = ldexp(round(part * _STEPS), power - _BITS)
        self.n += 1
        self._steps = None
        if value < self.low:
            self.low = value
        if value > self.high:
            self.high = value
        self.levels[0].append(value)
        if len(self.levels[0]) >= SIZE:
            self._shrink()

    def merge(self, other: Sketch) -> None:
        """Take in what the other one has seen; it stays as it is."""
        if not other.n:
            return
        self.n += other.n
        self._steps = None
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        while len(self.levels) < len(other.levels):
            self.levels.append(array("f"))
        for mine, its in zip(self.levels, other.levels, strict=False):
            mine.extend(its)
        self._shrink()

    def _shrink(self) -> None:
        while self._size() > sum(map(self._room, range(len(self.levels)))):
            level = next(i for i, its in enumerate(self.levels) if len(its) > self._room(i))
            values = sorted(self.levels[level])
            if level + 1 == len(self.levels):
                self.levels.append(array("f"))
            # One of an odd number stays, so that all together still count n.
            odd = array("f", values[: len(values) % 2])
            self.coin = (self.coin * 1103515245 + 12345) & 0x7FFFFFFF
            self.levels[level + 1].extend(values[len(odd) + (self.coin >> 16 & 1) :: 2])
            self.levels[level] = odd

    def _room(self, level: int) -> int:
        return max(_LEAST, round(SIZE * _SHRINK ** (len(self.levels) - 1 - level)))

    def _size(self) -> int:
        return sum(map(len, self.levels))

    def weighted(self) -> tuple[list[float], list[int]]:
        """Values in ascending order, and how many values lie at or below each."""
        pairs = sorted(
            (value, 1 << level) for level, its in enumerate(self.levels) for value in its
        )
        return [value for value, _ in pairs], list(accumulate(weight for _, weight in pairs))

    def steps(self) -> tuple[Any, Any]:
        """Values in ascending order, and the share that lies at or below each, after a 0."""
        import numpy as np

        if self._steps is None:
            values, ranks = self.weighted()
            shares = np.array([0, *ranks], np.float32) / max(1, self.n)
            self._steps = np.array(values, np.float32), shares
        return self._steps

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Values below which so large shares (0 … 1) lie. NaN where nothing was seen."""
        values, ranks = self.weighted()
        if not values:
            return [float("nan")] * len(shares)
        last = len(values) - 1
        return [
            self.low if share <= 0 else self.high if share >= 1
            else values[min(last, bisect_right(ranks, share * self.n - 1e-9))]
            for share in shares
        ]  # fmt: skip


def distance(a: Sketch, b: Sketch) -> float:
    """The Kolmogorov-Smirnov distance, 0 … 1: the largest difference between the shares of values
    that lie at or below a value, over all values. Wrong by `RANK_ERROR` of each.

    It needs no bins, and for n independent values it exceeds e by chance with a probability of at
    most 2·exp(−2·n·e²) (Dvoretzky, Kiefer, Wolfowitz; the constant is Massart's, 1990).
    """
    import numpy as np

    if not a.n or not b.n:
        return 0.0
    (its, own), (others, their) = a.steps(), b.steps()
    # The difference is largest at a value of one of them.
    at_its = own[1:] - their[np.searchsorted(others, its, side="right")]
    at_others = own[np.searchsorted(its, others, side="right")] - their[1:]
    # Of equal values the last one counts; those before it lie between two shares that do.
    last_its = np.append(its[1:] != its[:-1], True)
    last_others = np.append(others[1:] != others[:-1], True)
    return float(max(np.abs(at_its[last_its]).max(), np.abs(at_others[last_others]).max()))


class Packed(Struct, array_like=True):
    """A sketch as it lies in a file: four bytes a value."""

    n: int
    low: float
    high: float
    coin: int
    levels: list[bytes]

    @classmethod
    def of(cls, its: Sketch) -> Packed:
        levels = [level.tobytes() for level in its.levels]
        return cls(its.n, its.low, its.high, its.coin, levels)

    def sketch(self) -> Sketch:
        """Raises ValueError for what can't be."""
        levels = [array("f", bytes_) for bytes_ in self.levels]
        if sum(len(its) << level for level, its in enumerate(levels)) != self.n:
            raise ValueError("a sketch does not add up")
        return Sketch(self.n, self.low, self.high, levels or [array("f")], self.coin)
