"""The topic `live/{pipeline}`: every result for people who watch. Never kept, never counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from edgeagent.errors import Busy
from edgeagent.sync.budget import Budget
from edgeagent.sync.port import Passenger
from edgeagent.sync.topics import Topics
from edgeagent.sync.uplink import Uplink

_EVERY_S = 0.1


class Shown(Struct, frozen=True):
    """What was found in one sample."""

    pipeline: str
    model: str
    frame: int
    """Number of the sample."""
    at: str
    predictions: Sequence[Mapping[str, Any]]


Newest = Callable[[int], Sequence[Shown]]
"""Results after the sample of that number, oldest first. Called on the link's thread."""


class Live(Passenger):
    """Passenger of the link. What can't go out at once is left out: the next one is newer."""

    def __init__(
        self, link: Uplink, topics: Topics, pipelines: Mapping[str, Newest], budget: Budget
    ) -> None:
        """``pipelines``: those with ``live = true``."""
        self._link = link
        self._budget = budget
        self._pipelines = {topics.live(name): newest for name, newest in pipelines.items()}
        self._last: dict[str, int] = {}

    def turn(self, now: float) -> float:
        if self._budget.open("state"):
            for topic, newest in self._pipelines.items():
                for its in newest(self._last.get(topic, -1)):
                    self._last[topic] = its.frame
                    self._send(topic, its)
        return now + _EVERY_S

    def _send(self, topic: str, shown: Shown) -> None:
        try:
            self._link.publish(topic, msgspec.json.encode(shown), qos=0)
        except Busy:
            pass  # It is for eyes; what is kept goes out as records.
