"""A stretch of what a pipeline saw and said, and how far two stretches are apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

from msgspec import Struct, field

from edgeagent.drift import shares, sketch
from edgeagent.drift.shares import Shares
from edgeagent.drift.sketch import Packed, Sketch

LABELS = "labels"
"""Name of the feature that the shares of labels are."""


class Chapter(Struct):
    """Some hundreds of looks."""

    n: int = 0
    numbers: dict[str, Sketch] = field(default_factory=dict)
    labels: Shares = field(default_factory=Shares)

    def add(self, features: Mapping[str, float], label: str) -> None:
        """One look."""
        self.n += 1
        for name, value in features.items():
            its = self.numbers.get(name)
            if its is None:
                its = self.numbers[name] = Sketch()
            its.add(value)
        self.labels.add(label)

    def merge(self, other: Chapter) -> None:
        """Take in another one, which stays as it is."""
        self.n += other.n
        for name, its in other.numbers.items():
            self.numbers.setdefault(name, Sketch()).merge(its)
        self.labels.merge(other.labels)


class Gliding:
    """The last looks, in blocks: with each block that is full the oldest one goes."""

    BLOCKS = 4

    def __init__(self, size: int) -> None:
        """``size`` = looks in all blocks."""
        self._size = size
        self._block = Chapter()
        self._blocks: deque[Chapter] = deque(maxlen=self.BLOCKS)

    def add(self, features: Mapping[str, float], label: str) -> bool:
        """One look; whether a block is full with it, and all of them are there."""
        self._block.add(features, label)
        if self._block.n * self.BLOCKS < self._size:
            return False
        self._blocks.append(self._block)
        self._block = Chapter()
        return len(self._blocks) == self.BLOCKS

    def whole(self) -> Chapter:
        """The full blocks in one."""
        together = Chapter()
        for block in self._blocks:
            together.merge(block)
        return together


def distances(
    a: Chapter, b: Chapter, least: int = 1, only: Collection[str] | None = None
) -> dict[str, float]:
    """Feature → distance, 0 … 1, of the features of which both have ``least`` values; `LABELS`
    among them. ``only`` = these alone."""
    found = {
        name: sketch.distance(its, other)
        for name, its in a.numbers.items()
        if (only is None or name in only)
        and (other := b.numbers.get(name)) is not None
        and its.n >= least <= other.n
    }
    if (only is None or LABELS in only) and a.labels.n >= least <= b.labels.n:
        found[LABELS] = shares.distance(a.labels, b.labels)[0]
    return found


class PackedChapter(Struct, array_like=True):
    """A chapter as it lies in a file."""

    n: int
    numbers: dict[str, Packed]
    labels: dict[str, int]

    @classmethod
    def of(cls, its: Chapter) -> PackedChapter:
        numbers = {name: Packed.of(one) for name, one in its.numbers.items()}
        return cls(its.n, numbers, dict(its.labels.counts))

    def chapter(self) -> Chapter:
        """Raises ValueError for what can't be."""
        labels = Shares()
        for label, count in self.labels.items():
            labels.add(label, count)
        return Chapter(self.n, {name: its.sketch() for name, its in self.numbers.items()}, labels)
