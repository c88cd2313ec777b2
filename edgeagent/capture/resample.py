"""From one sampling rate to another, piece by piece.

`Polyphase` is for even rates: a windowed-sinc low-pass (Kaiser, β 8.6: about 90 dB) applied
in its polyphase form, as in Crochiere & Rabiner, "Multirate Digital Signal Processing" (1983),
chapter 3. Frequencies above the lower of both Nyquist limits are removed before they can fold.
`Interpolation` is for rows with times of their own: straight lines between neighbours.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

_ZERO_CROSSINGS = 24
_BETA = 8.6
_MOST_PHASES = 2000


class Polyphase:
    """Resamples rows (n, channels) from ``rate_hz`` to ``wanted_hz`` without delay.

    The pieces that come out join seamlessly, however the input is divided. ``wanted_hz`` is
    met as a fraction of whole numbers up to 2000, exact for all usual pairs of rates.
    """

    def __init__(self, rate_hz: float, wanted_hz: float) -> None:
        ratio = Fraction(wanted_hz / rate_hz).limit_denominator(_MOST_PHASES)
        self.up, self.down = ratio.numerator, ratio.denominator
        self._bank = _filters(self.up, self.down)
        """(phases, taps): the row of a phase, applied to the newest ``taps`` rows."""
        self._half = self._bank.shape[1] // 2
        self._line: Rows | None = None
        """Input rows that are still needed; the first one is row number ``_base``."""
        self._base = -self._half
        self._given = 0

    def push(self, rows: Rows) -> Rows:
        """Add float32 (n, channels); what can be computed now, float32 (m, channels)."""
        if self._line is None:
            # Zeros before the start, so that the first output stands at the first input.
            self._line = np.zeros((self._half, rows.shape[1]), np.float32)
        line = np.concatenate([self._line, rows])
        # Output m stands at input m·down/up and needs `half` rows on either side.
        reach = (self._base + len(line) - self._half) * self.up
        numbers = np.arange(self._given, max(self._given, -(-reach // self.down)))
        positions = numbers * self.down
        out = self._apply(line, positions // self.up - self._half - self._base, positions % self.up)
        self._given += len(numbers)
        done = self._given * self.down // self.up - self._half - self._base
        self._line = line[done:].copy()
        self._base += done
        return out

    def finish(self) -> Rows:
        """The rest, as if zeros followed."""
        if self._line is None:
            return np.zeros((0, 1), np.float32)
        taken = self._base + len(self._line)
        missing = -(-taken * self.up // self.down) - self._given
        return self.push(np.zeros((self._half + 1, self._line.shape[1]), np.float32))[:missing]

    def _apply(self, line: Rows, starts: NDArray[np.int64], phases: NDArray[np.int64]) -> Rows:
        taps = self._bank.shape[1]
        if not len(starts):
            return np.zeros((0, line.shape[1]), np.float32)
        stretches = np.lib.stride_tricks.sliding_window_view(line, taps, axis=0)
        picked = stretches[starts]
        out = np.einsum("mct,mt->mc", picked, self._bank[phases], optimize=True)
        return np.asarray(out, np.float32)


def _filters(up: int, down: int) -> NDArray[np.float32]:
    """Low-pass at the lower Nyquist limit, split into ``up`` phases, each of unit gain."""
    width = max(1.0, down / up)
    half = int(np.ceil(_ZERO_CROSSINGS * width))
    taps = 2 * half + 1
    offsets = np.arange(-half, half + 1)[None, :] - np.arange(up)[:, None] / up
    # A little below the limit, so that the transition band ends at it.
    cutoff = (1.0 - 1.0 / _ZERO_CROSSINGS) / width
    shape = np.sinc(offsets * cutoff)
    inside = np.clip(1.0 - (offsets / (half + 1)) ** 2, 0.0, 1.0)
    bank = shape * np.i0(_BETA * np.sqrt(inside)) / np.i0(_BETA)
    bank /= bank.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(bank.reshape(up, taps), np.float32)


class Interpolation:
    """Puts rows with times onto an even grid of ``rate_hz`` by straight lines.

    A gap of more than ``most_gap_s`` is a hole, over which no line is drawn.
    """

    def __init__(self, rate_hz: float, most_gap_s: float) -> None:
        self.rate_hz = rate_hz
        self.most_gap_s = most_gap_s
        self._time: float | None = None
        self._row: Rows | None = None
        self._start = 0.0
        self._next = 0

    def push(self, time_s: float, row: Rows) -> tuple[bool, Rows]:
        """Add one row (channels,) of a time later than the last one's.

        Returns:
            Whether there was a hole before this row, and the rows (m, channels) of the grid
            up to its time.
        """
        if self._time is None or self._row is None or time_s - self._time > self.most_gap_s:
            hole = self._time is not None
            self._time, self._row, self._start, self._next = time_s, row, time_s, 1
            return hole, row[None, :]
        last = int(np.floor((time_s - self._start) * self.rate_hz + 1e-6))
        grid = self._start + np.arange(self._next, last + 1) / self.rate_hz
        share = ((grid - self._time) / (time_s - self._time)).astype(np.float32)
        rows = self._row[None, :] + share[:, None] * (row - self._row)[None, :]
        self._time, self._row, self._next = time_s, row, max(self._next, last + 1)
        return False, np.asarray(rows, np.float32)

    def break_off(self) -> None:
        """A row is missing: the next one starts a new grid."""
        self._time = self._row = None
