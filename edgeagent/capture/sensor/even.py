"""Rows that are evenly spaced by definition: a device samples by its own quartz, and when its
lines arrive says little about when they were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeagent.capture.resample import Polyphase
from edgeagent.capture.sensor.align import SLACK_S, Rows
from edgeagent.capture.series import SAME_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Even:
    """One stream. The same port as `align.Align`, for rows that all channels share.

    Args:
        fills: as `align.Align`'s.
        own_hz: rows per second that come.
        rate_hz: rows per second that are wanted; another rate is filtered to it.
        gap_s: how long a channel's last value stands in for one that is missing.
    """

    def __init__(
        self, fills: Sequence[float | None], own_hz: float, rate_hz: float, gap_s: float | None
    ) -> None:
        self.rate_hz = rate_hz
        self.late = 0
        self._fills = list(fills)
        self._own_hz = own_hz
        self._same = abs(own_hz - rate_hz) <= SAME_RATE * rate_hz
        self._gap = max(1, round((3 / own_hz if gap_s is None else gap_s) * own_hz))
        """Rows that a value may be held."""
        self._parts: list[NDArray[np.float32]] = []
        self._whole: list[NDArray[np.bool_]] = []
        self._rows = 0
        self._last = np.full(len(fills), np.nan)
        self._missed = np.zeros(len(fills), np.int64)
        self._filter: Polyphase | None = None
        self._hole = False
        self._time = 0.0

    def push(self, columns: Sequence[int], times: Floats, values: Floats) -> None:
        """Add rows (n, channels); ``columns`` are all channels."""
        del columns
        self._time = float(times[-1])
        whole = np.ones(len(values), np.bool_)
        gone = np.isnan(values)
        if gone.any():
            values = values.copy()
            self._stand_in(values, gone, whole)
        self._last = np.where(gone[-1], self._last, values[-1])
        self._missed[~gone[-1]] = 0
        self._parts.append(values.astype(np.float32))
        self._whole.append(whole)
        self._rows += len(values)

    def break_off(self) -> None:
        """Rows are missing here, nobody knows how many."""
        self._parts.clear()
        self._whole.clear()
        self._rows = 0
        self._last[:] = np.nan
        self._filter = None
        self._hole = True

    def due(self, count: int) -> float:
        """Never by time alone: what has come is all that can be told."""
        del count
        return float("inf")

    def lacking(self, count: int) -> int:
        """How many rows must come before ``count`` can be told, about."""
        return round(count * self._own_hz / self.rate_hz) - self._rows

    def ready(self, now: float) -> int:
        """How many rows `take` would give, about."""
        del now
        return int(self._rows * self.rate_hz / self._own_hz)

    def take(self, now: float) -> Rows | None:
        """All rows that came, at the wanted rate; None = there are none."""
        del now
        if not self._parts:
            return None
        values, whole = np.concatenate(self._parts), np.concatenate(self._whole)
        self._parts.clear()
        self._whole.clear()
        self._rows = 0
        hole, self._hole = self._hole, False
        if not self._same:
            values, whole, hole = self._filtered(values, whole, hole)
            if not len(values):
                self._hole = self._hole or hole
                return None
        return Rows(values, whole, self._time, hole)

    def missing_for(self, now: float) -> dict[int, float]:
        """Channel → seconds without a value, of those that are missing now."""
        silent_s = now - self._time if self._time else 0.0
        silent = silent_s > self._gap / self._own_hz + SLACK_S
        return {
            column: silent_s + float(missed) / self._own_hz
            for column, missed in enumerate(self._missed.tolist())
            if silent or missed > self._gap
        }

    def _stand_in(self, values: Floats, gone: NDArray[np.bool_], whole: NDArray[np.bool_]) -> None:
        """The last value for a while, then the channel's own filling, else the row is not whole."""
        for column in np.flatnonzero(gone.any(axis=0)).tolist():
            last, missed, fill = self._last[column], int(self._missed[column]), self._fills[column]
            for row in range(len(values)):
                if not gone[row, column]:
                    last, missed = values[row, column], 0
                    continue
                missed += 1
                if last == last and missed <= self._gap:
                    values[row, column] = last
                else:
                    values[row, column] = 0.0 if fill is None else fill
                    whole[row] &= fill is not None
            self._last[column], self._missed[column] = last, missed

    def _filtered(
        self, values: NDArray[np.float32], whole: NDArray[np.bool_], hole: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], bool]:
        """At the wanted rate. A row that is not whole ends the stretch: a filter would smear it
        over its neighbours."""
        if not whole.all():
            behind = int(np.flatnonzero(~whole)[-1]) + 1
            values, whole, hole = values[behind:], whole[behind:], True
            self._filter = None
        if self._filter is None:
            self._filter = Polyphase(self._own_hz, self.rate_hz)
        out = self._filter.push(values) if len(values) else values[:0]
        return out, np.ones(len(out), np.bool_), hole
