"""From what was read to what it means: calibration, and what of it is to be believed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from edgeagent.config.units import seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.config.channels import Channel

    Floats = NDArray[np.float64]

_AGREE = 3
"""So many readings in a row that agree with one another are believed after a jump."""
_LARGEST = 3.4028234e38
"""Of a float32, which is what a window holds."""


class Meaning:
    """One channel's readings, in the order of time.

    Linear scale after calibration by points; a value out of ``min``/``max``, one that jumps by
    more than ``step`` and one that has been ``stuck`` become NaN and are counted by reason.
    """

    def __init__(self, channel: Channel) -> None:
        self.rejected: dict[str, int] = {}
        """Reason (range, step, stuck, number) → values."""
        self.last = float("nan")
        """The newest value that is believed."""
        self._channel = channel
        points = sorted(channel.points)
        self._xs = np.array([x for x, _ in points], np.float64)
        self._ys = np.array([y for _, y in points], np.float64)
        self._stuck_s = seconds(channel.stuck) if channel.stuck else None
        self._plain = not points and (channel.scale, channel.offset) == (1.0, 0.0)
        self._jumped: list[float] = []
        self._same: tuple[float, float] | None = None
        """A value, and since when it has not changed."""

    def __call__(self, times: Floats, read: Floats) -> Floats:
        """Values (n,) of readings (n,); NaN where there is none to be believed."""
        if self._plain:
            values = np.array(read, np.float64)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                values = self._calibrated(read) * self._channel.scale + self._channel.offset
        too_large = np.abs(values) > _LARGEST  # infinity is
        if too_large.any():
            self._refuse("number", values, too_large)
        self._range(values)
        if self._channel.step is not None:
            self._step(values, self._channel.step)
        if self._stuck_s is not None:
            self._stuck(times, values, self._stuck_s)
        last = float(values[-1]) if len(values) else math.nan
        if last != last:
            good = values[~np.isnan(values)]
            last = float(good[-1]) if len(good) else self.last
        self.last = last
        return values

    def _calibrated(self, read: Floats) -> Floats:
        if not len(self._xs):
            return read.astype(np.float64, copy=True)
        # The last piece on either side goes on: whether that is sense, `min` and `max` say.
        piece = np.clip(np.searchsorted(self._xs, read) - 1, 0, len(self._xs) - 2)
        x0, x1 = self._xs[piece], self._xs[piece + 1]
        y0, y1 = self._ys[piece], self._ys[piece + 1]
        return np.asarray(y0 + (read - x0) * (y1 - y0) / (x1 - x0), np.float64)

    def _refuse(self, reason: str, values: Floats, bad: NDArray[np.bool_]) -> None:
        count = int(np.count_nonzero(bad))
        if count:
            values[bad] = np.nan
            self.rejected[reason] = self.rejected.get(reason, 0) + count

    def _range(self, values: Floats) -> None:
        least, most = self._channel.min, self._channel.max
        if least is not None:
            self._refuse("range", values, values < least)
        if most is not None:
            self._refuse("range", values, values > most)

    def _step(self, values: Floats, step: float) -> None:
        """A jump is doubted until it has proven to be a new level."""
        last, jumped = self.last, self._jumped
        bad = np.zeros(len(values), np.bool_)
        for place, value in enumerate(values.tolist()):
            if value != value:
                continue
            if last != last or abs(value - last) <= step:
                last = value
                jumped.clear()
                continue
            if jumped and abs(value - jumped[-1]) > step:
                jumped.clear()
            jumped.append(value)
            if len(jumped) >= _AGREE:
                last = value
                jumped.clear()
            else:
                bad[place] = True
        self._refuse("step", values, bad)

    def _stuck(self, times: Floats, values: Floats, most_s: float) -> None:
        bad = np.zeros(len(values), np.bool_)
        for place, (when, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True)):
            if value != value:
                continue
            if self._same is None or value != self._same[0]:
                self._same = (value, when)
            bad[place] = when - self._same[1] >= most_s > 0
        self._refuse("stuck", values, bad)


def meanings(channels: Iterable[Channel]) -> list[Meaning]:
    """One for each channel, in order."""
    return [Meaning(channel) for channel in channels]
