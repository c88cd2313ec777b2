"""One connection at work: what the wire reports, told to those whom it concerns."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from edgeagent.sync.handshake import Handshake
from edgeagent.sync.outgoing import Outgoing
from edgeagent.sync.port import Incoming
from edgeagent.sync.reasons import Reason
from edgeagent.sync.subscriptions import Subscriptions
from edgeagent.sync.wire import Closed, Connack, Delivery, Event, Puback, Suback, Wire


class Connection:
    """From the first to the last byte. Belongs to the link's thread."""

    def __init__(
        self,
        wire: Wire,
        handshake: Handshake,
        outgoing: Outgoing,
        subscriptions: Subscriptions,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        """``post`` has something done on the link's thread, soon."""
        self.wire = wire
        self.handshake = handshake
        self.up_since: float | None = None
        self._outgoing = outgoing
        self._subscriptions = subscriptions
        self._post = post

    def turn(self, due: float) -> Reason | None:
        """Wait until something happens or ``due`` (monotonic); the reason why it is over."""
        now = time.monotonic()
        for event in self.wire.turn(max(0.0, min(due, self.handshake.due, now + 1.0) - now)):
            end = self._react(event)
            if end is not None:
                return end
        now = time.monotonic()
        self.handshake.ask_again(now, self.wire)
        return self.handshake.overdue(now)

    def flush(self) -> bool:
        """Write what may be written now. True if all has been sent and acknowledged."""
        self._outgoing.flush(self.wire)
        return self._outgoing.idle

    def _react(self, event: Event) -> Reason | None:
        now = time.monotonic()
        if isinstance(event, Puback):
            self._outgoing.acknowledged(event.mid, event.code)
        elif isinstance(event, Delivery):
            self._deliver(event)
        elif isinstance(event, Connack):
            if event.refusal is not None:
                return event.refusal
            self.handshake.accepted(event, self.wire, now)
        elif isinstance(event, Suback):
            self.handshake.granted(event, now)
        elif isinstance(event, Closed):
            return event.reason
        return None

    def _deliver(self, event: Delivery) -> None:
        self.handshake.heard(event.topic, event.payload)
        # The ack holds this connection's wire: on a later one the packet id is another's.
        ack = partial(self._post, partial(self.wire.ack, event.mid)) if event.qos else _nothing
        self._subscriptions.deliver(
            Incoming(event.topic, event.payload, event.qos, event.retain, event.duplicate, ack)
        )


def _nothing() -> None:
    """QoS 0 knows no acknowledgement."""
