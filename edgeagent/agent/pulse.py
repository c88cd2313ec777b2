"""How pipelines fare from one look to the next, read off the meters that they keep anyway."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeagent.pipeline import Pipeline

_SLOW, _SLOW_MS = 1.5, 0.5
"""Times of what a run took when it was chosen, and milliseconds above that: between two frames
caches go cold, which is no change of the device."""
_SLOW_LOOKS = 3
_LEAST_RUNS = 20
_DISTURBED, _DISTURBED_MS = 1.25, 1.0
"""Times of the usual mean step, and milliseconds above that, which a search may cost a pipeline."""
_SETTLE_S = 5.0
_USUAL_S = 60.0

Steps = dict[str, tuple[int, float]]
"""Pipeline → how many steps it has made, and the seconds that they took together."""


class Slowness:
    """Whether a tuned model has become slow in its pipelines."""

    def __init__(self) -> None:
        self._before: dict[str, dict[float, int]] = {}
        self._slow: dict[str, int] = {}
        """Looks in a row at which a pipeline was slow."""

    def look(self, pipeline: Pipeline, chosen_ms: float) -> str:
        """What the last runs took beside ``chosen_ms``; empty = no more than usual."""
        name, now = pipeline.name, dict(pipeline.meter.infer.buckets())
        before = self._before.setdefault(name, now)
        took = _median({bound: count - before.get(bound, 0) for bound, count in now.items()})
        if took is not None:
            self._before[name] = now
            slow = took * 1e3 > _SLOW * chosen_ms + _SLOW_MS
            self._slow[name] = self._slow.get(name, 0) + 1 if slow else 0
        if self._slow.get(name, 0) < _SLOW_LOOKS:
            return ""
        return f"a run takes more than {_SLOW:g} × what it took when it was chosen"

    def forget(self) -> None:
        """What runs is another one."""
        self._before.clear()
        self._slow.clear()


def _median(counts: dict[float, int]) -> float | None:
    """Upper bound of the bucket that holds it, in seconds; None = too few runs."""
    total = sum(counts.values())
    if total < _LEAST_RUNS:
        return None
    seen = 0
    for bound, count in counts.items():
        seen += count
        if 2 * seen >= total:
            return bound
    return None


class Pulse:
    """Whether something costs pipelines more than its share: the mean time of their steps since it
    began beside that of the minute before."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Steps]] = deque()
        self._began_s = 0.0
        self._usual: dict[str, float] = {}
        self._at: Steps = {}

    def look(self, pipelines: Iterable[Pipeline]) -> None:
        """Take note of how they fare while nothing else is done."""
        now = time.monotonic()
        self._looks.append((now, _steps(pipelines)))
        while len(self._looks) > 2 and now - self._looks[1][0] > _USUAL_S:
            self._looks.popleft()

    def forget(self) -> None:
        """What they run is another configuration."""
        self._looks.clear()

    def begin(self, pipelines: Iterable[Pipeline]) -> None:
        """From now on something is done beside them."""
        self._began_s, self._at = time.monotonic(), _steps(pipelines)
        first = self._looks[0][1] if self._looks else {}
        self._usual = _means(first, self._at)

    def disturbed(self, pipelines: Iterable[Pipeline]) -> str:
        """What is held up; empty = nothing is, as far as can be told yet."""
        if time.monotonic() - self._began_s < _SETTLE_S:
            return ""
        for name, present in _means(self._at, _steps(pipelines)).items():
            usual = self._usual.get(name)
            if usual and present > max(_DISTURBED * usual, usual + _DISTURBED_MS):
                return f"it held up {name} ({present:.3g} ms a step in place of {usual:.3g})"
        return ""


def _steps(pipelines: Iterable[Pipeline]) -> Steps:
    return {its.name: (its.meter.step.count, its.meter.step.total_s) for its in pipelines}


def _means(before: Steps, now: Steps) -> dict[str, float]:
    """Milliseconds of a step in between, of those that made enough."""
    means = {}
    for name, (count, total) in now.items():
        was = before.get(name)
        if was is not None and count - was[0] >= _LEAST_RUNS:
            means[name] = (total - was[1]) / (count - was[0]) * 1e3
    return means
