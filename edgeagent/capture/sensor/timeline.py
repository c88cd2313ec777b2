"""A sender's clock → ours. Lines arrive in bursts and late; their sender knows when it measured.

The offset between both clocks is taken from the line that travelled fastest within the last
minute (the minimum filter of NTP, RFC 5905 §10, for one direction), so jitter of the way does not
reach the rows. Where the sender's time goes back, or leaps, it has restarted: a new offset.
"""

from __future__ import annotations

from collections import deque

_SPAN_S = 60.0
_LEAP_S = 5.0
"""More than this beside what is expected is no jitter."""


class Timeline:
    """Times of one sender, which need not be right, as times of time.monotonic()."""

    def __init__(self) -> None:
        self.restarts = 0
        """Times that the sender's clock went back or leapt."""
        self._last: float | None = None
        self._given = float("-inf")
        self._fastest: deque[tuple[float, float]] = deque()
        """(when it arrived, offset), the offsets ascending: the first one is the smallest."""

    def __call__(self, sent: float, arrived: float) -> float:
        """When a line of the time ``sent`` was measured, never before the line before it and
        never after it ``arrived``."""
        offset = arrived - sent
        if self._last is not None and self._fastest:
            late = offset - self._fastest[0][1]
            if sent <= self._last or abs(late) > _LEAP_S:
                self._fastest.clear()
                self.restarts += 1
        self._last = sent
        while self._fastest and self._fastest[-1][1] >= offset:
            self._fastest.pop()
        self._fastest.append((arrived, offset))
        while self._fastest[0][0] < arrived - _SPAN_S:
            self._fastest.popleft()
        when = min(arrived, sent + self._fastest[0][1])
        # A hair apart, so that a fast line does not stand at the time of the one before it.
        self._given = max(when, self._given + 1e-6)
        return self._given
