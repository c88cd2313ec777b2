"""A sender's clock → ours. Lines arrive in bursts and late; their sender knows when it measured.

The offset between both clocks is taken from the line that travelled fastest within the last
minute (the minimum filter of NTP, RFC 5905 §10, for one direction), so jitter of the way does not
reach the rows. Where the sender's time goes back, it has restarted: a new offset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

_SPAN_S = 60.0
_APART_S = 1e-6


class Timeline:
    """Times of one sender, which need not be right, as times of time.monotonic()."""

    def __init__(self) -> None:
        self.restarts = 0
        """Times that the sender's clock went back."""
        self._last = float("-inf")
        self._given = float("-inf")
        self._fastest: deque[tuple[float, float]] = deque()
        """(when it arrived, offset), the offsets ascending: the first one is the smallest."""

    def __call__(self, sent: Iterable[float], arrived: float) -> list[float]:
        """When lines of the times ``sent``, which arrived together, were measured: ascending, and
        not after they arrived."""
        found: list[float] = []
        for together in self._between_restarts(sent):
            for its in together:
                self._note(arrived, arrived - its)
            offset = self._fastest[0][1]
            for its in together:
                # A hair apart, where a fast line would stand before the one ahead of it.
                self._given = max(min(arrived, its + offset), self._given + _APART_S)
                found.append(self._given)
        return found

    def _between_restarts(self, sent: Iterable[float]) -> Iterator[list[float]]:
        together: list[float] = []
        for its in sent:
            if its <= self._last:
                if together:
                    yield together
                    together = []
                self._fastest.clear()
                self.restarts += 1
            self._last = its
            together.append(its)
        if together:
            yield together

    def _note(self, arrived: float, offset: float) -> None:
        while self._fastest and self._fastest[-1][1] >= offset:
            self._fastest.pop()
        self._fastest.append((arrived, offset))
        while self._fastest[0][0] < arrived - _SPAN_S:
            self._fastest.popleft()
