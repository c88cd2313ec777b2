"""Rows as they were written → rows at an even rate, with the holes told.

Three ways, chosen by what is known: rows are taken as they are (the file's rate is the wanted
one within 1 %, or nobody wants another), put on a grid by straight lines (rows have times),
or filtered to the new rate (rows are evenly spaced by definition).
"""

from __future__ import annotations

from itertools import pairwise
from statistics import mean, median
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from edgeagent.capture.resample import Interpolation, Polyphase
from edgeagent.capture.table import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAME_RATE = 0.01
"""Rates that differ by less than this share are taken as equal."""
_HOLE = 3.0
"""A gap of more than so many usual distances between rows is a hole."""
_BLOCK_S = 0.1
_BLOCK = 256


class Stretch(Struct, frozen=True):
    """Consecutive rows, float32 (n, channels)."""

    rows: NDArray[np.float32]
    hole: bool
    """Whether rows are missing before the first one."""
    position_s: float
    """Time of the last row since the beginning of the recording."""
    line: int
    """Line of the file at which the last row stands."""


class Series:
    """One pass through a recording.

    Args:
        timed: rows have times of their own.
        own_hz: rows per second as configured; None = judge by the times, else 1.
        wanted_hz: rows per second that are wanted; None = the recording's own.
        probe: rows with times to judge the recording's rate by.
    """

    def __init__(
        self, *, timed: bool, own_hz: float | None, wanted_hz: float | None, probe: int
    ) -> None:
        self.rate_hz = wanted_hz or own_hz or 1.0
        """Rows per second that come out."""
        self._timed = timed
        self._own_hz = own_hz or (None if timed else self.rate_hz)
        self._wanted_hz = wanted_hz
        self._probe = max(2, probe)
        self._waiting: list[tuple[Row, bool]] = []
        """Rows that came before the rate was known, and whether a hole was before them."""
        self._grid: Interpolation | None = None
        self._filter: Polyphase | None = None
        self._block: list[Row] = []
        self._seen: float | None = None
        """Time of the last row that was pushed."""
        self._last: float | None = None
        """Time of the last row that went through."""
        self._elapsed_s = 0.0
        self._count = 0
        self._missing = False
        """Whether rows are missing before the next one that is pushed."""
        self._hole = False
        """The same for the next one that comes out."""
        if self._own_hz is not None:
            self._choose(self._own_hz)

    def push(self, row: Row) -> list[Stretch]:
        """Add a usable row; what can be told now.

        Raises:
            ValueError: its time is not after the last one's; the next row starts anew.
        """
        if self._timed:
            last, self._seen = self._seen, row.time_s
            if last is not None and row.time_s is not None and row.time_s <= last:
                self._missing = True
                raise ValueError(f"time goes back from {last} to {row.time_s}")
        missing, self._missing = self._missing, False
        if self._own_hz is not None:
            return self._through(row, missing)
        self._waiting.append((row, missing))
        return self._judge() if len(self._waiting) >= self._probe else []

    def break_off(self) -> list[Stretch]:
        """A row is missing here. Returns what was held back before it, if it is known how."""
        self._missing = True
        return self._flush() if self._own_hz is not None else []

    def finish(self) -> list[Stretch]:
        """The rest, at the end of the recording."""
        return [*(self._judge() if self._waiting else []), *self._flush()]

    def _flush(self) -> list[Stretch]:
        """What the filter holds back, as if zeros followed; the next row finds a new one."""
        if self._filter is None:
            return []
        line = self._block[-1].line if self._block else 0
        out = self._filtered()
        rows = self._filter.finish()
        if len(rows):
            out.append(Stretch(rows, self._take_hole(), self._elapsed_s, line))
        self._filter = Polyphase(self._own_hz or 1.0, self.rate_hz)
        return out

    def _judge(self) -> list[Stretch]:
        """Decide by the rows that wait how fast the recording is, and let them through."""
        waiting, self._waiting = self._waiting, []
        steps = [
            (later.time_s or 0.0) - (earlier.time_s or 0.0)
            for (earlier, _), (later, missing) in pairwise(waiting)
            if not missing
        ]
        # The mean evens jitter out; the median tells which steps are holes.
        usual = [step for step in steps if step <= _HOLE * median(steps)]
        # No two neighbours: nothing says how fast it is, so the wish must do.
        self._own_hz = 1.0 / mean(usual) if usual else self.rate_hz
        self._choose(self._own_hz)
        return [stretch for row, missing in waiting for stretch in self._through(row, missing)]

    def _choose(self, own_hz: float) -> None:
        wanted = self._wanted_hz
        if wanted is None:
            self.rate_hz = own_hz
        elif abs(wanted - own_hz) > SAME_RATE * wanted:
            if self._timed:
                self._grid = Interpolation(wanted, _HOLE / own_hz)
            else:
                self._filter = Polyphase(own_hz, wanted)

    def _through(self, row: Row, missing: bool) -> list[Stretch]:
        own_hz = self._own_hz or 1.0
        if missing:
            self._hole, self._last = True, None
            if self._grid is not None:
                self._grid.break_off()
        if self._timed:
            self._advance(row.time_s or 0.0, own_hz)
        else:
            self._elapsed_s = self._count / own_hz
            self._count += 1
        if self._filter is not None:
            self._block.append(row)
            full = min(_BLOCK, max(1, round(_BLOCK_S * own_hz)))
            return self._filtered() if len(self._block) >= full else []
        if self._grid is None:
            return [Stretch(_array([row]), self._take_hole(), self._elapsed_s, row.line)]
        hole, rows = self._grid.push(row.time_s or 0.0, _array([row])[0])
        self._hole = self._hole or hole
        if not len(rows):
            return []
        return [Stretch(rows, self._take_hole(), self._elapsed_s, row.line)]

    def _advance(self, time_s: float, own_hz: float) -> None:
        last, self._last = self._last, time_s
        if last is not None:
            self._elapsed_s += time_s - last
            self._hole = self._hole or time_s - last > _HOLE / own_hz

    def _filtered(self) -> list[Stretch]:
        rows, self._block = self._block, []
        if self._filter is None or not rows:
            return []
        out = self._filter.push(_array(rows))
        if not len(out):
            return []
        return [Stretch(out, self._take_hole(), self._elapsed_s, rows[-1].line)]

    def _take_hole(self) -> bool:
        hole, self._hole = self._hole, False
        return hole


def _array(rows: list[Row]) -> NDArray[np.float32]:
    return np.array([row.values for row in rows], np.float32)
