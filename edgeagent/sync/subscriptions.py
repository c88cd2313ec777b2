"""Which topics are subscribed, and who takes what arrives on them."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from edgeagent.sync.port import AROUND, Counters, Handler, Incoming, Meter
from edgeagent.sync.topics import matches

log = logging.getLogger(__name__)


class Subscriptions:
    """Filter → handler. Only the link's thread may call `deliver`."""

    def __init__(self, counters: Counters) -> None:
        self._handlers: dict[str, Handler] = {}
        self._fleeting: frozenset[str] = frozenset()
        self._counters = counters
        self.meter: Meter | None = None

    def add(self, pattern: str, handler: Handler, *, fleeting: bool = False) -> None:
        """``fleeting``: what is published while we are away is not worth keeping (QoS 0)."""
        # A new dict, because other threads may be reading the old one.
        self._handlers = {**self._handlers, pattern: handler}
        self._fleeting = self._fleeting | {pattern} if fleeting else self._fleeting - {pattern}

    def qos(self, pattern: str) -> int:
        """At which a filter is asked for."""
        return 0 if pattern in self._fleeting else 1

    def remove(self, pattern: str) -> None:
        self._handlers = {k: v for k, v in self._handlers.items() if k != pattern}

    @property
    def filters(self) -> tuple[str, ...]:
        return tuple(self._handlers)

    def covers(self, topic: str) -> bool:
        return any(matches(pattern, topic) for pattern in self._handlers)

    def deliver(self, message: Incoming) -> None:
        """Hand a message to its handlers and acknowledge it once all have dealt with it.

        A message that nobody wants (a subscription that an earlier configuration left in the
        broker's session) is acknowledged, or it would come again for ever. So is one whose
        handler fails: that is a bug, and a redelivery would meet the same bug.
        """
        self._counters.messages_received += 1
        self._counters.bytes_received += len(message.payload)
        if self.meter is not None:
            self.meter.received(message.topic, len(message.topic) + len(message.payload) + AROUND)
        dealt_with = [self._take(message, handler) for handler in self._interested(message.topic)]
        if all(dealt_with):
            message.ack()

    def _interested(self, topic: str) -> Iterable[Handler]:
        return [handler for pattern, handler in self._handlers.items() if matches(pattern, topic)]

    def _take(self, message: Incoming, handler: Handler) -> bool:
        try:
            return handler(message)
        except Exception:
            # The edge between the network and us: whatever arrives, the link goes on.
            self._counters.handler_errors += 1
            log.exception("a message on %s could not be handled", message.topic)
            return True
