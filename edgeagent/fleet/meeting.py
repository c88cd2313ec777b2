"""Waits for a link to come up."""

from __future__ import annotations

import threading

from edgeagent.sync.reasons import Reason

_LOOK_AGAIN_S = 5.0


class Meeting:
    """Passenger that sets an event when the link comes up. Nothing is owed by it at any time: what
    is lost with a connection is asked for, or due, again by those who wait."""

    def __init__(self, met: threading.Event) -> None:
        self._met = met

    def connected(self) -> None:
        self._met.set()

    def disconnected(self, _reason: Reason) -> None:
        """See the class."""

    def turn(self, now: float) -> float:
        return now + _LOOK_AGAIN_S

    def farewell(self) -> None:
        """See the class."""
