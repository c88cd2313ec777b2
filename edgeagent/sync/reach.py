"""How many messages of a backlog may be under way, so that live records don't queue behind them.

What is answered later than the quickest answers of this connection has queued somewhere: in the
modem, in the broker. A backlog fills that queue by itself, and a live record would wait behind all
of it. So the number falls when the delay by queueing passes 0.4 s, and rises while it
does not: the idea of LEDBAT (RFC 6817), by round trips in place of one-way delays.
"""

from __future__ import annotations

_QUEUE_S = 0.4
_GROWTH = 2.0
"""By so many messages a round trip."""
_REMEMBERED_S = 300.0
"""For so long (to twice as long) the quickest answer counts: a line may become another one."""


class Reach:
    """`messages` is the limit; times in seconds of any monotonic clock."""

    def __init__(self, most: int) -> None:
        self._most = float(max(1, most))
        self.begin()

    def begin(self) -> None:
        """Another connection: nothing is known of it."""
        self.messages = 1.0
        self._least = self._least_before = float("inf")
        self._since = float("-inf")
        self._shrunk = float("-inf")

    def answered(self, sent: float, now: float) -> None:
        """What was sent at ``sent`` is acknowledged."""
        took = now - sent
        if now - self._since > _REMEMBERED_S:
            # All that was seen may hold queueing of our own: look at the line while it is empty.
            self._least_before, self._least, self._since = self._least, took, now
            self.messages, self._shrunk = 1.0, now
        self._least = min(self._least, took)
        if sent <= self._shrunk:
            return  # It could not know of the last step.
        least = min(self._least, self._least_before)
        if took - least <= _QUEUE_S:
            self.messages = min(self._most, self.messages + _GROWTH / self.messages)
        else:
            # As many as fit into the line and half of what may queue (Little's law).
            fitting = self.messages * (least + _QUEUE_S / 2) / took
            self.messages, self._shrunk = max(1.0, fitting), now
