"""Rows of values, cut into windows.

A window is a stretch without a hole: where a row is missing or unusable, `break_off` forgets
what was collected and the next window starts behind it. Nothing is ever made up.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]


class Cutter:
    """Cuts ``length`` rows every ``hop`` rows; hops larger than the length leave rows out.

    Args:
        length: rows of a window.
        hop: rows from one window's start to the next one's.
    """

    def __init__(self, length: int, hop: int | None = None) -> None:
        self.length = length
        self.hop = hop or length
        if self.length < 1 or self.hop < 1:
            raise ValueError("a window has at least one row, and so has a hop")
        self.unused = 0
        """Rows that were forgotten and had not been part of any window."""
        self._parts: deque[Rows] = deque()
        self._held = 0
        self._fresh = 0
        """Of the rows that are held, those that no window has shown."""
        self._skip = 0

    @property
    def held(self) -> int:
        """Rows that wait for more."""
        return self._held

    def push(self, rows: Rows) -> list[Rows]:
        """Add float32 (n, channels); the windows that are complete now, oldest first."""
        if self._skip:
            cut = min(self._skip, len(rows))
            self._skip -= cut
            self.unused += cut
            rows = rows[cut:]
        if not len(rows):
            return []
        self._parts.append(rows)
        self._held += len(rows)
        self._fresh += len(rows)
        if self._held < self.length:
            return []
        return self._cut(np.concatenate(self._parts) if len(self._parts) > 1 else rows)

    def _cut(self, rows: Rows) -> list[Rows]:
        windows = []
        start = 0
        while start + self.length <= len(rows):
            windows.append(rows[start : start + self.length].copy())
            start += self.hop
        seen = start - self.hop + self.length
        left_out = max(0, min(start, len(rows)) - seen)
        self.unused += left_out
        self._skip = max(0, start - len(rows))
        rest = rows[start:]
        self._parts.clear()
        if len(rest):
            self._parts.append(rest)
        self._held = len(rest)
        self._fresh = len(rows) - seen - left_out
        return windows

    def break_off(self) -> int:
        """A hole: start anew behind it. Returns how many rows are lost by that."""
        lost = self._fresh
        self.unused += lost
        self._parts.clear()
        self._held = self._fresh = self._skip = 0
        return lost

    def pad(self) -> Rows | None:
        """What is held, filled up with zeros to one window; None where nothing is held."""
        if not self._held:
            return None
        rows = np.concatenate(self._parts)
        window = np.zeros((self.length, rows.shape[1]), np.float32)
        window[: len(rows)] = rows
        self._parts.clear()
        self._held = self._fresh = 0
        return window
