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
        """Rows up to the last hole that are part of no window."""
        self._parts: deque[Rows] = deque()
        self._held = 0
        self._skip = 0
        """Rows to leave out before the next window begins."""
        self._pushed = 0
        self._shown = 0
        self._joined = False
        """Whether the next window joins one before it."""

    def push(self, rows: Rows) -> list[Rows]:
        """Add float32 (n, channels); the windows that are complete now, oldest first."""
        self._pushed += len(rows)
        cut = min(self._skip, len(rows))
        self._skip -= cut
        rows = rows[cut:]
        if not len(rows):
            return []
        self._parts.append(rows)
        self._held += len(rows)
        if self._held < self.length:
            return []
        return self._cut(np.concatenate(self._parts) if len(self._parts) > 1 else rows)

    @property
    def lacking(self) -> int:
        """Rows until the next window is complete."""
        return self.length - self._held + self._skip

    @property
    def behind(self) -> int:
        """Rows that came after the last one of the newest window, since the last hole."""
        return self._held + self.hop - self.length - self._skip

    def _cut(self, rows: Rows) -> list[Rows]:
        windows = []
        start = 0
        while start + self.length <= len(rows):
            windows.append(rows[start : start + self.length].copy())
            self._shown += min(self.length, self.hop) if self._joined else self.length
            self._joined = True
            start += self.hop
        self._skip = max(0, start - len(rows))
        rest = rows[start:]
        self._parts.clear()
        if len(rest):
            self._parts.append(rest)
        self._held = len(rest)
        return windows

    def break_off(self) -> None:
        """A hole: start anew behind it."""
        self.unused = self._pushed - self._shown
        self._parts.clear()
        self._held = self._skip = 0
        self._joined = False

    def pad(self) -> Rows | None:
        """What is held, filled up with zeros to one window; None where nothing is held. For
        recordings that are shorter than a window."""
        if not self._held:
            return None
        rows = np.concatenate(self._parts)
        window = np.zeros((self.length, rows.shape[1]), np.float32)
        window[: len(rows)] = rows
        self._shown += len(rows)
        self._parts.clear()
        self._held = 0
        return window
