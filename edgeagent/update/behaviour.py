"""How a pipeline behaves: what a model on probation is judged by, gathered all the time.

Cheap enough for every sample: a few counters for each minute of the samples' own time, so that a
recording behaves the same however fast it is read. Minutes become hours, hours are kept for two
days: what is usual on this device includes its nights and its lunch breaks.

Counted are *things*, not sightings: one part on a belt is seen in thirty frames, and thirty frames
are no thirty pieces of evidence.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from edgeagent.metrics import Histogram
from edgeagent.types import Anomaly, Prediction, Regression

MINUTE_MS = 60_000.0
_MINUTES = 60
_HOURS = 48
_PAUSE_MS = 5_000.0
"""Time between two samples counts up to this: nobody looked in between."""
BINS = 10
"""Of scores, 0..1."""
_REMEMBERED = 256
"""Tracks that are known to have been counted."""

Counts = dict[str, int]


class Span(Struct):
    """A stretch of the samples' time."""

    ms: float = 0.0
    """How much of it was looked at."""
    steps: int = 0
    failed: int = 0
    """Samples that could not be inferred."""
    things: Counts = field(default_factory=dict)
    """By label: things that appeared."""
    events: Counts = field(default_factory=dict)
    """By label: events that began."""
    scores: dict[str, list[int]] = field(default_factory=dict)
    """By label: sightings in each tenth of the score."""

    @property
    def minutes(self) -> float:
        return self.ms / MINUTE_MS

    def add(self, other: Span) -> None:
        """Count what the other one counted."""
        self.ms += other.ms
        self.steps += other.steps
        self.failed += other.failed
        for mine, its in ((self.things, other.things), (self.events, other.events)):
            for label, count in its.items():
                mine[label] = mine.get(label, 0) + count
        for label, bins in other.scores.items():
            known = self.scores.setdefault(label, [0] * BINS)
            self.scores[label] = [a + b for a, b in zip(known, bins, strict=True)]


def total(spans: Iterable[Span]) -> Span:
    """All of them in one."""
    whole = Span()
    for span in spans:
        whole.add(span)
    return whole


class Behaviour(Struct):
    """What one pipeline showed under one version of its model; plain values in a file."""

    model: str = ""
    minutes: list[Span] = field(default_factory=list)
    """The last hour, the newest last; the last one is not full."""
    hours: list[Span] = field(default_factory=list)
    """Before that."""
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    took: list[tuple[float, int]] = field(default_factory=list)
    """Samples by how long they took: upper bound in ms, count."""
    worst_ms: float = 0.0
    stalls: int = 0
    """Samples that took `STALL` times the usual, and half a second at least."""
    restarts: int = 0
    """How often it had to be opened again after errors."""
    memory_mb: list[float] = field(default_factory=list)
    """Of the whole agent, a value every minute, the newest last."""

    def slower(self, ms: float) -> int:
        """Samples that took longer."""
        return sum(count for bound, count in self.took if bound > ms)

    def whole(self) -> Span:
        """Everything that was counted."""
        return total((*self.hours, *self.minutes))


def behaviours(plain: Any) -> dict[str, Behaviour]:
    """By pipeline, from plain values. What can't be read is as good as not known."""
    try:
        return msgspec.convert(plain, dict[str, Behaviour])
    except msgspec.ValidationError:
        return {}


STALL = 20.0
_STALL_S = 0.5


class Watch:
    """Gathers the behaviour of one version in one pipeline.

    `saw`, `missed` and `began` are called by the pipeline's thread, `behaviour` by any.
    """

    def __init__(self, model: str = "") -> None:
        self.model = model
        self.restarts = 0
        self._lock = threading.Lock()
        self._took = Histogram()
        self._worst_s = 0.0
        self._stalls = 0
        self._minutes: deque[Span] = deque([Span()])
        self._hours: deque[Span] = deque(maxlen=_HOURS)
        self._ended_ms = 0.0
        self._last_ms: float | None = None
        self._tracks: OrderedDict[int, None] = OrderedDict()
        self._last: str = ""
        self._memory: deque[float] = deque(maxlen=_MINUTES)

    def saw(
        self, predictions: Sequence[Prediction], when_ms: float, took_s: float, threshold: float
    ) -> None:
        """One sample: what is in it (tracked), its time, and how long it took."""
        self._took.add(took_s)
        if took_s > self._worst_s:
            self._worst_s = took_s
        if took_s > _STALL_S and took_s > STALL * self._took.quantile(0.5):
            self._stalls += 1
        with self._lock:
            span = self._span(when_ms)
            span.steps += 1
            best, best_score = "", -1.0
            for prediction in predictions:
                label, score = _told(prediction)
                if not label or score < (threshold if type(prediction) is not Anomaly else 0.0):
                    continue
                _bin(span, label, score)
                track = getattr(prediction, "track", None)
                if track is None:
                    if score > best_score:
                        best, best_score = label, score
                elif track and track not in self._tracks:
                    self._remember(track)
                    span.things[label] = span.things.get(label, 0) + 1
            if best and best != self._last:
                span.things[best] = span.things.get(best, 0) + 1
            self._last = best

    def missed(self, when_ms: float) -> None:
        """One sample that the runtime refused."""
        with self._lock:
            self._span(when_ms).failed += 1

    def began(self, label: str) -> None:
        """An event."""
        with self._lock:
            events = self._minutes[-1].events
            events[label] = events.get(label, 0) + 1

    def behaviour(self) -> Behaviour:
        """Until now."""
        with self._lock:
            # Copies: the pipeline goes on counting.
            minutes = [total([span]) for span in self._minutes]
            hours = [total([span]) for span in self._hours]
        return Behaviour(
            model=self.model,
            minutes=minutes,
            hours=hours,
            p50_ms=round(self._took.quantile(0.5) * 1e3, 3),
            p95_ms=round(self._took.quantile(0.95) * 1e3, 3),
            took=[(round(bound * 1e3, 4), count) for bound, count in self._took.buckets()],
            worst_ms=round(self._worst_s * 1e3, 3),
            stalls=self._stalls,
            restarts=self.restarts,
            memory_mb=list(self._memory),
        )

    def _span(self, when_ms: float) -> Span:
        """The minute that this time lies in, with the time until it counted."""
        span = self._minutes[-1]
        last, self._last_ms = self._last_ms, when_ms
        if last is None:
            self._ended_ms = when_ms + MINUTE_MS
            return span
        span.ms += min(max(when_ms - last, 0.0), _PAUSE_MS)
        if when_ms >= self._ended_ms or when_ms < self._ended_ms - 2 * MINUTE_MS:
            self._ended_ms = when_ms + MINUTE_MS
            self._memory.append(round(resident_mb(), 1))
            self._minutes.append(Span())
            if len(self._minutes) > _MINUTES:
                self._grow_old(self._minutes.popleft())
        return self._minutes[-1]

    def _grow_old(self, span: Span) -> None:
        if not self._hours or self._hours[-1].ms >= _MINUTES * MINUTE_MS:
            self._hours.append(Span())
        self._hours[-1].add(span)

    def _remember(self, track: int) -> None:
        self._tracks[track] = None
        if len(self._tracks) > _REMEMBERED:
            self._tracks.popitem(last=False)


def _told(prediction: Prediction) -> tuple[str, float]:
    """Its label and a score of 0..1; empty where there is nothing to count."""
    if type(prediction) is Anomaly:
        if not prediction.alarming:
            return "", 0.0
        return "anomaly", min(1.0, prediction.score / (4 * abs(prediction.threshold) or 1.0))
    if type(prediction) is Regression:
        return "", 0.0
    return getattr(prediction, "label", ""), getattr(prediction, "score", 0.0)


def _bin(span: Span, label: str, score: float) -> None:
    bins = span.scores.get(label)
    if bins is None:
        bins = span.scores[label] = [0] * BINS
    bins[min(BINS - 1, max(0, int(score * BINS)))] += 1


def resident_mb() -> float:
    """Memory of this process, MB; 0 where the kernel does not tell. Cheap, unlike PSS."""
    import os

    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except OSError:
        return 0.0
