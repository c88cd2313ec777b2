"""The fetch topics (contract §7): requests out, answers to whoever works the transfer.

What is asked and how it is put together is `update.fetch`'s business, which reaches the link
through this alone.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.errors import Busy
from edgeagent.sync.budget import Budget
from edgeagent.sync.port import Incoming
from edgeagent.sync.reasons import Reason
from edgeagent.sync.topics import Topics
from edgeagent.sync.uplink import Uplink

Take = Callable[[str, bytes], None]
_AROUND = 160
"""Bytes that topic and packet take of what the broker allows."""


class Fetching:
    """Passenger of the link. Everything else may be called from any thread."""

    def __init__(self, link: Uplink, topics: Topics, budget: Budget) -> None:
        self._link = link
        self._topics = topics
        self._budget = budget
        self._takers: dict[str, Take] = {}
        self.stray = 0
        """Answers that nobody waited for."""
        link.subscribe(topics.fetched, self._heard)

    # --- for transfers

    @property
    def up(self) -> bool:
        return self._link.state == "up"

    @property
    def largest(self) -> int:
        return max(1024, self._link.limits.maximum_packet - _AROUND - len(self._topics.fetch))

    def left(self) -> int:
        return self._budget.left("updates")

    def held(self) -> str:
        return self._budget.held("updates")

    def ask(self, request: bytes) -> bool:
        """Publish a request; False = not now."""
        if not self.up:
            return False
        try:
            self._link.publish(self._topics.fetch, request, qos=0)
        except Busy:
            return False
        return True

    def listen(self, rid: str, take: Take) -> Callable[[], None]:
        """Have the answers to a transfer, until what is returned is called."""
        self._takers = {**self._takers, rid: take}

        def end() -> None:
            self._takers = {key: its for key, its in self._takers.items() if key != rid}

        return end

    # --- the link's calls

    def connected(self) -> None:
        for take in self._takers.values():
            take("", b"")

    def disconnected(self, _reason: Reason) -> None:
        """Transfers wait; they are told when there is a new connection."""

    def turn(self, now: float) -> float:
        return now + 60.0

    def farewell(self) -> None:
        """Nothing to say."""

    def _heard(self, message: Incoming) -> bool:
        address = self._topics.parse(message.topic)
        take = self._takers.get(address.id) if address is not None else None
        if address is None or take is None:
            self.stray += 1
        else:
            take(address.type, message.payload)
        return True
