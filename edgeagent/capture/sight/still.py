"""Pictures that do not change any more: a camera that froze, a server that repeats its last one.

A living sensor has noise, and codecs carry some of it with every key frame, so that in real
recordings not even the stillest scene stays the same for a second. What is repeated differs at
most by what the encoder makes of the same picture each time. Two rules follow:

- *same*: nearly all blocks are identical, for longer than ever while the view was learned;
- *quiet*: the median change over half a minute is a third of what was the least at set-up.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

_ACROSS, _DOWN = 160, 120
_BLOCKS = 8
_SAME = 0.85
"""Share of blocks that are identical in a picture that is the same: a clock may be burnt in."""
_LEAST_LOOKS = 4
_QUIET_S = 30.0
_QUIET_LOOKS = 12
_QUIET_SHARE = 0.33
_MOST_STIR = 3.0
"""Mean change in levels that no re-encoding of the same picture makes."""
_PATIENCE = 3.0
"""Stillness may last this many times longer than it ever did at set-up."""


class Still:
    """Follows one source; times in seconds of any steady clock."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self.usual_s = 0.0
        """The longest stillness at set-up; infinite = its pictures do not change by themselves."""
        self.usual_stir = 0.0
        """The least change that was usual at set-up; 0 = unknown."""
        self.same_s = 0.0
        """For how long the pictures are the same."""
        self.blocks: NDArray[Any] = np.zeros((_BLOCKS, _BLOCKS))
        """Mean level of each block of the newest picture: a first glance at what has changed."""
        self._last: NDArray[Any] | None = None
        self._since: float | None = None
        self._looks = 0
        self._stirs: deque[tuple[float, float]] = deque()

    def see(self, pixels: Picture, now: float) -> float | None:
        """One more picture. Returns the mean change in levels; None for the first or where the
        size changed."""
        high, wide = pixels.shape[:2]
        points = pixels[:: max(1, high // _DOWN), :: max(1, wide // _ACROSS)]
        if points.ndim == 3:
            points = points[..., 1]
        before, self._last = self._last, points.copy()
        self.blocks = _means(self._last)
        if before is None or before.shape != points.shape:
            self._since, self._looks = now, 0
            self._stirs.clear()
            return None
        change = np.abs(self._last.astype(np.int16) - before)
        stir = float(change.mean())
        self._stirs.append((now, stir))
        while self._stirs and now - self._stirs[0][0] > _QUIET_S:
            self._stirs.popleft()
        if _unchanged(change) < _SAME or self._since is None:
            self._since, self._looks = now, 0
        self._looks += 1
        self.same_s = now - self._since
        return stir

    def pause(self) -> None:
        """The source was reopened: a stretch without pictures is no stillness."""
        self._stirs.clear()
        if self.same_s < self.after_s:
            self._since = None

    @property
    def frozen(self) -> bool:
        """Whether the source repeats itself."""
        return self._same() or self._quiet()

    def _same(self) -> bool:
        allowed_s = max(self.after_s, _PATIENCE * self.usual_s)
        return self._looks >= _LEAST_LOOKS and self.same_s >= allowed_s

    def _quiet(self) -> bool:
        if not self.usual_stir or len(self._stirs) < _QUIET_LOOKS or self.usual_s > self.after_s:
            return False
        if self._stirs[-1][0] - self._stirs[0][0] < 0.9 * _QUIET_S:
            return False
        stirs = [stir for _, stir in self._stirs]
        return max(stirs) < _MOST_STIR and float(np.median(stirs)) < _QUIET_SHARE * self.usual_stir


def _means(points: NDArray[Any]) -> NDArray[Any]:
    high, wide = (length // _BLOCKS * _BLOCKS for length in points.shape)
    if not high or not wide:
        return np.full((_BLOCKS, _BLOCKS), points.mean())
    blocks = points[:high, :wide].reshape(_BLOCKS, high // _BLOCKS, _BLOCKS, wide // _BLOCKS)
    return np.asarray(blocks.mean((1, 3)))


def _unchanged(change: NDArray[Any]) -> float:
    """Share of blocks in which nothing changed at all."""
    high, wide = (length // _BLOCKS * _BLOCKS for length in change.shape)
    if not high or not wide:
        return float(not change.any())
    blocks = change[:high, :wide].reshape(_BLOCKS, high // _BLOCKS, _BLOCKS, wide // _BLOCKS)
    return float((blocks.max((1, 3)) == 0).mean())
