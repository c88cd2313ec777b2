"""Drift that is told once when it has begun and once when it is over."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from edgeagent.drift.chapter import LABELS, Chapter
from edgeagent.drift.reference import Reference
from edgeagent.drift.shares import distance as of_labels

_SHARES = (0.05, 0.5, 0.95)
_MOST = 5
"""Features that are told of one incident."""


class Changed(Struct):
    """One feature that is not as it was."""

    feature: str
    distance: float
    """0 … 1, from the nearest chapter of the reference."""
    limit: float
    n: int
    """Looks that it is judged by."""
    was: list[float] = field(default_factory=list)
    """Values below which 5, 50 and 95 % lie, in the whole reference; of a label its share."""
    now: list[float] = field(default_factory=list)
    label: str = ""
    """Of `LABELS`: whose share has changed most."""

    def sentence(self) -> str:
        """In words, without the feature's distance."""
        if self.label:
            return f'"{self.label}" is {self.now[0]:.0%} of the answers, and was {self.was[0]:.0%}'
        now, was = (f"{its[1]:.3g} ({its[0]:.3g} to {its[2]:.3g})" for its in (self.now, self.was))
        return f"{self.feature} is {now}, and was {was}"


class Incident(Struct):
    """What is open."""

    since_ns: int
    """Wall time of the sample at which it was first seen."""
    since_ms: float
    """The same in the samples' time."""
    changed: list[Changed]

    @property
    def sentence(self) -> str:
        """The most that has changed, in words."""
        more = len(self.changed) - 1
        also = f"; {more} more" if more else ""
        return f"what it sees has drifted: {self.changed[0].sentence()}{also}"


class Course:
    """From distances to incidents: twice in a row beyond the limit is drift, twice in a row well
    below it is recovery."""

    _TIMES = 2
    _WELL = 0.7

    def __init__(self) -> None:
        self.times = 0

    def judge(self, over: float, is_open: bool) -> bool:
        """Whether an incident begins or ends. ``over`` = the largest distance as a multiple of its
        limit."""
        towards = over < self._WELL if is_open else over > 1.0
        self.times = self.times + 1 if towards else 0
        if self.times < self._TIMES:
            return False
        self.times = 0
        return True


def changed(now: Chapter, reference: Reference, limits: dict[str, float],
            apart: dict[str, float]) -> list[Changed]:  # fmt: skip
    """Features beyond their limits, the furthest first, with the evidence."""
    over = sorted((name for name in apart if apart[name] > limits[name]),
                  key=lambda name: -apart[name] / limits[name])[:_MOST]  # fmt: skip
    whole = reference.whole() if over else Chapter()
    return [_of(name, now, whole, apart[name], limits[name]) for name in over]


def _of(name: str, now: Chapter, whole: Chapter, apart: float, limit: float) -> Changed:
    figures = round(apart, 3), round(limit, 3)
    if name == LABELS:
        _, label = of_labels(now.labels, whole.labels)
        shares = [round(its.labels.share(label), 4) for its in (whole, now)]
        return Changed(name, *figures, now.labels.n, shares[:1], shares[1:], label)
    was, is_ = (
        [float(f"{value:.4g}") for value in its.numbers[name].quantiles(_SHARES)]
        for its in (whole, now)
    )
    return Changed(name, *figures, now.numbers[name].n, was, is_)


def told(its: Incident) -> dict[str, Any]:
    """As it stands in records."""
    from msgspec import to_builtins

    return {"reason": its.sentence, "changed": to_builtins(its.changed)}
