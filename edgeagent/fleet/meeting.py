"""Waits for a link to come up."""

from __future__ import annotations

import threading
import time

from edgeagent.errors import LinkDown
from edgeagent.sync.port import Passenger
from edgeagent.sync.reasons import Reason
from edgeagent.sync.uplink import Uplink

_LOOK_AGAIN_S = 5.0
_NO = 0.25
"""Of the time that a slow broker gets, so much one that says no: one that restarts is back by then,
and a wrong address never is."""
_TURN_S = 0.25


def meet(link: Uplink, patience_s: float) -> None:
    """Start a link and wait for its broker: so long for one that is slow, and a quarter of it for
    one that says no to each try.

    Raises LinkDown, and then the link is stopped.
    """
    began = time.monotonic()
    failed: float | None = None
    link.start()
    while not link.wait_up(_TURN_S):
        now = time.monotonic()
        if failed is None and link.last_error is not None:
            failed = now
        # A try that is under way is slow: a broker without MQTT 5 has said no to the first one.
        no = failed is not None and link.state == "down" and now >= failed + _NO * patience_s
        if no or now >= began + patience_s:
            why = absent(link)  # Before it says of itself that it is stopping.
            link.stop()
            raise why


def absent(link: Uplink) -> LinkDown:
    """Why there is no broker, and what mends it."""
    reason = link.last_error or Reason("network", f"{link.broker} gives no answer")
    return LinkDown(f"no broker: {reason.sentence}", remedy=reason.advice)


class Meeting(Passenger):
    """Passenger that sets an event when the link comes up. Nothing is owed by it at any time: what
    is lost with a connection is asked for, or due, again by those who wait."""

    def __init__(self, met: threading.Event) -> None:
        self._met = met

    def connected(self) -> None:
        self._met.set()

    def turn(self, now: float) -> float:
        return now + _LOOK_AGAIN_S
