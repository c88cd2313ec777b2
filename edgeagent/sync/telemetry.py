"""The metrics topic: health figures at a steady pace, for whoever watches (QoS 0)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from edgeagent.errors import Busy
from edgeagent.sync.budget import Budget
from edgeagent.sync.port import Passenger
from edgeagent.sync.uplink import Uplink


class Telemetry(Passenger):
    """Passenger of the link. ``gather`` runs on its thread and must be brief."""

    def __init__(
        self, link: Uplink, topic: str, gather: Callable[[], dict[str, Any]], every_s: float,
        budget: Budget | None = None,
    ) -> None:  # fmt: skip
        self._link = link
        self._topic = topic
        self._gather = gather
        self._every_s = every_s
        self._budget = budget or Budget()
        self._due = 0.0

    def turn(self, now: float) -> float:
        if now >= self._due:
            self._due = now + self._every_s
            if not self._budget.open("metrics"):
                return self._due
            try:
                self._link.publish(self._topic, msgspec.json.encode(self._gather()), qos=0)
            except Busy:
                pass  # Figures of this minute are worth less than what waits already.
        return max(self._due, now + 0.05)
