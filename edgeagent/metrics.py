"""Counters, gauges and latency histograms: small, thread-safe, no dependency.

A histogram has fixed buckets, 16 to each doubling (linear within it, the layout of
HdrHistogram), from about 1 µs to 17 minutes: a quantile read from it is wrong by at most 1/32
of its value, memory does not grow, and adding costs well under a microsecond.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import Any

_PER_OCTAVE = 16
_LOWEST = -20
"""Exponent of the first octave: 2⁻²¹ s ≤ x < 2⁻²⁰ s, about half a microsecond."""
_OCTAVES = 31
_BUCKETS = _PER_OCTAVE * _OCTAVES
_AT_A_TIME = 16


class Counter:
    """A number that only grows."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    def add(self, amount: int = 1) -> None:
        with self._lock:
            self._value += amount

    @property
    def value(self) -> int:
        return self._value


class Gauge:
    """A number that goes up and down; NaN until it is set."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = math.nan

    def set(self, value: float) -> None:
        self.value = value


class Histogram:
    """Durations in seconds."""

    __slots__ = ("_count", "_counts", "_lock", "_max", "_min", "_sum", "_waiting")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[float] = []
        """Added, but not counted yet."""
        self._counts = [0] * _BUCKETS
        self._count = 0
        self._sum = 0.0
        self._min = math.inf
        self._max = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; what lies outside the buckets counts in the outermost one."""
        # Several at a time, because behind a large model each first look at the buckets and the
        # lock is one at cold memory.
        waiting = self._waiting
        waiting.append(seconds)
        if len(waiting) >= _AT_A_TIME:
            with self._lock:
                self._settle()

    def _settle(self) -> None:
        """Count what waits. The lock is held; others may go on adding."""
        waiting = self._waiting
        taken = waiting[:]
        del waiting[: len(taken)]
        for seconds in taken:
            mantissa, exponent = math.frexp(seconds)
            # frexp's mantissa is 0.5 ≤ m < 1: twice it less one is the place within the octave.
            place = int((exponent - _LOWEST + 2.0 * mantissa - 1.0) * _PER_OCTAVE)
            if place < 0:
                place = 0
            elif place >= _BUCKETS:
                place = _BUCKETS - 1
            self._counts[place] += 1
            self._sum += seconds
            if seconds < self._min:
                self._min = seconds
            if seconds > self._max:
                self._max = seconds
        self._count += len(taken)

    @property
    def count(self) -> int:
        """How many were added."""
        with self._lock:
            self._settle()
            return self._count

    @property
    def total_s(self) -> float:
        """All durations, summed up."""
        with self._lock:
            self._settle()
            return self._sum

    def quantile(self, share: float) -> float:
        """Seconds below which ``share`` (0..1) of the durations lie; 0.0 without any."""
        with self._lock:
            self._settle()
            counts, total = self._counts.copy(), self._count
            low, high = self._min, self._max
        if not total:
            return 0.0
        wanted = max(1, math.ceil(share * total))
        seen = 0
        for place, count in enumerate(counts):
            seen += count
            if seen >= wanted:
                return min(max(_middle(place), low), high)
        return high

    def buckets(self) -> list[tuple[float, int]]:
        """Upper bound in seconds and count of every bucket that holds something."""
        with self._lock:
            self._settle()
            counts = self._counts.copy()
        return [(_bound(place + 1), count) for place, count in enumerate(counts) if count]

    def snapshot(self) -> dict[str, float]:
        """``count, mean_ms, p50_ms, p95_ms, p99_ms, max_ms``."""
        with self._lock:
            self._settle()
            count, total, high = self._count, self._sum, self._max
        figures = {"mean": total / count if count else 0.0, "max": high}
        for share in (50, 95, 99):
            figures[f"p{share}"] = self.quantile(share / 100)
        return {"count": count} | {
            f"{name}_ms": round(seconds * 1e3, 4) for name, seconds in sorted(figures.items())
        }


KNOWN = 20
_IN_A_ROW = 4
_TIMES, _NOTED_S = 5.0, 0.25
"""A model is slow that takes so many times the usual, and so much longer, in each of the last
`_IN_A_ROW` steps; the usual is known after `KNOWN` steps."""


class Meter:
    """What a pipeline measures about itself; written by its thread, read by any."""

    def __init__(self) -> None:
        self.gate = Histogram()
        self.prepare = Histogram()
        self.queue = Histogram()
        """How long it waited for its turn at a session that it shares; not part of `infer`."""
        self.infer = Histogram()
        self.cold = Histogram()
        """Opening of a model that had been unloaded."""
        self.decide = Histogram()
        self.step = Histogram()
        self.age = Histogram()
        """How old live samples are once all is decided about them."""
        self.steps = 0
        self.records = 0
        self.skipped = 0
        self.failed = 0
        self.taken = 0
        """Samples that came, whether or not anything was done with them."""
        self.paced = 0
        """Of those, samples for which there was no time: the device is to do less."""
        self._recent: deque[float] = deque(maxlen=64)
        self._lately: deque[float] = deque(maxlen=_IN_A_ROW)
        """How long the model took, of the last steps."""

    def took(
        self, started: float, prepared: float, inferred: float, ended: float, queued: float = 0.0
    ) -> None:
        """Add one step by its four instants (seconds of a monotonic clock), and by how long it
        waited for its session between the second and the third."""
        self.prepare.add(prepared - started)
        if queued:
            self.queue.add(queued)
        self.infer.add(inferred - prepared - queued)
        self._lately.append(inferred - prepared - queued)
        self.decide.add(ended - inferred)
        self.step.add(ended - started)
        self.steps += 1
        self._recent.append(ended)

    def fps(self) -> float:
        """Steps per second over the last ones, 0 when they are long ago."""
        recent = tuple(self._recent)
        if len(recent) < 2:
            return 0.0
        span = max(recent[-1], time.monotonic() - 2.0) - recent[0]
        return (len(recent) - 1) / span if span > 0 else 0.0

    @property
    def slow(self) -> str:
        """That the model takes much longer than it used to, if so."""
        lately = list(self._lately)
        if self.steps < KNOWN or len(lately) < _IN_A_ROW:
            return ""
        usual, now = self.infer.quantile(0.5), min(lately)
        if now < max(_TIMES * usual, usual + _NOTED_S):
            return ""
        # To one digit: what is told must not be new at every look.
        unit = 10.0 ** math.floor(math.log10(now * 1e3))
        least = math.floor(now * 1e3 / unit) * unit
        return f"its model takes {least:.0f} ms or more a sample, where {usual * 1e3:.2g} are usual"

    def snapshot(self) -> dict[str, Any]:
        """Figures for status and metrics."""
        return {
            "fps": round(self.fps(), 2),
            "steps": self.steps,
            "records": self.records,
            "skipped": self.skipped,
            "failed": self.failed,
            **({"paced": self.paced} if self.paced else {}),
            **self._cold_starts(),
            "p50_ms": round(self.step.quantile(0.5) * 1e3, 3),
            "p95_ms": round(self.step.quantile(0.95) * 1e3, 3),
            **self._ages(),
            "stages_ms": {
                **({"gate": round(self.gate.quantile(0.5) * 1e3, 3)} if self.gate.count else {}),
                "prepare": round(self.prepare.quantile(0.5) * 1e3, 3),
                **({"queue": round(self.queue.quantile(0.5) * 1e3, 3)} if self.queue.count else {}),
                "infer": round(self.infer.quantile(0.5) * 1e3, 3),
                "decide": round(self.decide.quantile(0.5) * 1e3, 3),
            },
        }

    def _cold_starts(self) -> dict[str, float]:
        if not self.cold.count:
            return {}
        return {"cold_starts": self.cold.count,
                "cold_start_ms": round(self.cold.quantile(0.5) * 1e3, 1)}  # fmt: skip

    def _ages(self) -> dict[str, float]:
        if not self.age.count:
            return {}
        return {f"age_p{share}_ms": round(self.age.quantile(share / 100) * 1e3, 1)
                for share in (50, 95)}  # fmt: skip


class Registry:
    """Named instruments, made at their first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}

    def counter(self, name: str) -> Counter:
        with self._lock:
            return self._counters.setdefault(name, Counter())

    def gauge(self, name: str) -> Gauge:
        with self._lock:
            return self._gauges.setdefault(name, Gauge())

    def histogram(self, name: str) -> Histogram:
        with self._lock:
            return self._histograms.setdefault(name, Histogram())

    def snapshot(self) -> dict[str, Any]:
        """Name → number (counters and set gauges) or table (histograms), sorted by name."""
        with self._lock:
            counters, gauges = dict(self._counters), dict(self._gauges)
            histograms = dict(self._histograms)
        figures: dict[str, Any] = {name: it.value for name, it in counters.items()}
        figures |= {name: it.value for name, it in gauges.items() if not math.isnan(it.value)}
        figures |= {name: it.snapshot() for name, it in histograms.items()}
        return dict(sorted(figures.items()))


def _bound(place: int) -> float:
    """Lower bound of a bucket in seconds."""
    octave, part = divmod(place, _PER_OCTAVE)
    return math.ldexp(0.5 + 0.5 * part / _PER_OCTAVE, octave + _LOWEST)


def _middle(place: int) -> float:
    return (_bound(place) + _bound(place + 1)) / 2
