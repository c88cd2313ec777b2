"""Readings with times of their own → rows at an even rate.

A row stands for the stretch of one period around its time. ``hold`` takes the last reading before
the middle to the next row: readings that come at the rate of the rows, each a little early or
late, then make one row each, where a strict "not later than" would double some and lose others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Method = Literal["hold", "linear", "mean"]
SLACK_S = 0.1
"""A reading may be handed over so late and still find its row open."""
_USUAL = 3.0
_LEAST_GAP_S = 0.05
"""A gap is more than so many usual distances, and no hiccup of the system, where none is
configured."""
_MOST_ROWS = 100_000
"""At once; a clock that jumped by years must not take the memory."""


class Rows(Struct, frozen=True):
    """Consecutive rows of the grid."""

    values: NDArray[np.float32]
    """(n, channels); finite where ``whole``."""
    whole: NDArray[np.bool_]
    """(n,): whether every channel has a value."""
    time_s: float
    """Time of the last row."""
    hole: bool = False
    """Whether rows are missing before the first one."""


class _Track:
    """Readings of one channel that still matter."""

    def __init__(self) -> None:
        self.times = np.empty(0)
        self.values = np.empty(0)
        self.usual_s = 0.0
        """Mean distance of readings, over about the last sixteen."""

    def push(self, times: Floats, values: Floats) -> None:
        there = ~np.isnan(values)
        if not there.all():
            times, values = times[there], values[there]
        if not len(times):
            return
        if len(self.times):
            span, count = times[-1] - self.times[-1], len(times)
            weight = min(1.0, count / 16) if self.usual_s else 1.0
            self.usual_s += weight * (span / count - self.usual_s)
        elif len(times) > 1:
            self.usual_s = float(times[-1] - times[0]) / (len(times) - 1)
        self.times = np.concatenate([self.times, times])
        self.values = np.concatenate([self.values, values])

    def trim(self, edge: float) -> None:
        """Forget what lies before the last reading that is not later than ``edge``."""
        first = max(0, int(np.searchsorted(self.times, edge, "right")) - 1)
        if first:
            self.times, self.values = self.times[first:], self.values[first:]


class Align:
    """The grid of one source.

    Args:
        fills: for each channel what stands where it is missing; None = the row is not whole.
        rate_hz: rows per second.
        method: how values between readings are made.
        gap_s: how long a channel may be without a reading; None = by its usual distances.
    """

    def __init__(
        self, fills: Sequence[float | None], rate_hz: float, method: Method = "hold",
        gap_s: float | None = None,
    ) -> None:  # fmt: skip
        self.rate_hz = rate_hz
        self.late = 0
        """Readings that came when their row was given already, or whose time went back."""
        self._fills = list(fills)
        self._method = method
        self._gap_s = gap_s
        self._tracks = [_Track() for _ in fills]
        self._seen = [float("-inf")] * len(fills)
        """Time of the last reading that was pushed, whether it has a value or not."""
        self._start: float | None = None
        self._next = 0
        self._lead_s = 0.0 if method == "linear" else 0.5 / rate_hz

    def push(self, columns: Sequence[int], times: Floats, values: Floats) -> None:
        """Add readings (n, len(columns)) of some channels at times (n,). Those that are not later
        than the last ones of these channels are left out and counted."""
        last = max(self._seen[column] for column in columns)
        floor = np.maximum.accumulate(np.concatenate([[last], times]))[:-1]
        good = times > floor
        if not good.all():
            self.late += int(np.count_nonzero(~good))
            times, values = times[good], values[good]
        if not len(times):
            return
        if self._start is None:
            self._start = float(times[0])
        given = self._edge(self._next - 1)
        self.late += int(np.searchsorted(times, given, "right")) if self._next else 0
        for place, column in enumerate(columns):
            self._seen[column] = float(times[-1])
            self._tracks[column].push(times, values[:, place])

    def due(self, count: int) -> float:
        """When the ``count``-th row from now can be told at the latest; inf before any reading."""
        if self._start is None:
            return float("inf")
        columns = range(len(self._tracks))
        wait = max(map(self._gap, columns)) if self._method == "linear" else 0.0
        return self._edge(self._next + count - 1) + SLACK_S + wait

    def ready(self, now: float) -> int:
        """How many rows `take` would give."""
        return 0 if self._start is None else self._decided(now) + 1 - self._next

    def take(self, now: float) -> Rows | None:
        """All rows that nothing can change any more at the time ``now``; None = there are none."""
        if self._start is None:
            return None
        last = self._decided(now)
        first = max(self._next, last + 1 - _MOST_ROWS)
        if last < first:
            return None
        times = self._start + np.arange(first, last + 1) / self.rate_hz
        out = np.empty((len(times), len(self._tracks)), np.float32)
        whole = np.ones(len(times), np.bool_)
        for column, track in enumerate(self._tracks):
            values = self._values(column, track, times)
            missing = np.isnan(values)
            if missing.any():
                fill = self._fills[column]
                if fill is None:
                    whole &= ~missing
                values[missing] = 0.0 if fill is None else fill
            out[:, column] = values
            track.trim(self._edge(last))
        hole, self._next = first > self._next, last + 1
        return Rows(out, whole, float(times[-1]), hole)

    def missing_for(self, now: float) -> dict[int, float]:
        """Channel → seconds without a reading, of those that are missing at the time ``now``."""
        found = {}
        for column, track in enumerate(self._tracks):
            since = track.times[-1] if len(track.times) else self._start
            if since is not None and now - since > self._gap(column) + SLACK_S:
                found[column] = float(now - since)
        return found

    def _edge(self, number: int) -> float:
        """Until when readings count for a row."""
        return (self._start or 0.0) + number / self.rate_hz + self._lead_s

    def _gap(self, column: int) -> float:
        if self._gap_s is not None:
            return self._gap_s
        return max(_LEAST_GAP_S, _USUAL * max(self._tracks[column].usual_s, 1.0 / self.rate_hz))

    def _decided(self, now: float) -> int:
        """Number of the last row that is decided."""
        # Half a millionth of a row: sums of times must not lose the row that they mean.
        passed = (now - SLACK_S - self._edge(0)) * self.rate_hz
        known = []
        for column, (seen, track) in enumerate(zip(self._seen, self._tracks, strict=True)):
            waits = passed
            if self._method == "linear":
                # A reading without a value says nothing of where the line goes.
                seen = float(track.times[-1]) if len(track.times) else float("-inf")
                waits -= self._gap(column) * self.rate_hz
            own = (seen - self._edge(0)) * self.rate_hz
            known.append(max(own, waits))
        least = min(known)
        return int(np.floor(min(least, 1e15) + 5e-7)) if np.isfinite(least) else -1

    def _values(self, column: int, track: _Track, times: Floats) -> Floats:
        if not len(track.times):
            return np.full(len(times), np.nan)
        gap = self._gap(column)
        if self._method == "linear":
            # What `_decided` takes for equal is equal.
            last = track.times[-1]
            times = np.where(np.abs(times - last) * self.rate_hz < 1e-6, last, times)
            return _lines(track, times, gap)
        edges = times + self._lead_s
        held = _held(track, edges, times, gap)
        if self._method == "hold":
            return held
        sums = np.concatenate([[0.0], np.cumsum(track.values)])
        to = np.searchsorted(track.times, edges, "right")
        since = np.searchsorted(track.times, edges - 1.0 / self.rate_hz, "right")
        count = to - since
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (sums[to] - sums[since]) / count
        return np.where(count > 0, means, held)


def _held(track: _Track, edges: Floats, times: Floats, gap: float) -> Floats:
    place = np.searchsorted(track.times, edges, "right") - 1
    there = place >= 0
    place = np.maximum(place, 0)
    there &= times - track.times[place] <= gap
    return np.where(there, track.values[place], np.nan)


def _lines(track: _Track, times: Floats, gap: float) -> Floats:
    """Straight lines between readings, none over a gap."""
    right = np.searchsorted(track.times, times, "left")
    there = right < len(track.times)
    right = np.minimum(right, len(track.times) - 1)
    exact = there & (track.times[right] == times)
    left = np.maximum(right - 1, 0)
    there &= exact | ((right > 0) & (track.times[right] - track.times[left] <= gap))
    values = np.interp(times, track.times, track.values)
    return np.where(there, values, np.nan)
