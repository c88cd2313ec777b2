"""What waits to be sent and what is under way, within the limits that the broker announced.

The MQTT library would queue without bound, ignore Receive Maximum and Maximum Packet Size and
call a refused message published. So it is given one message at a time, never more than the
broker allows, and nothing at all while there is no connection.
"""

from __future__ import annotations

from collections import deque

from edgeagent.errors import Busy, LinkDown
from edgeagent.sync import reasons
from edgeagent.sync.port import Counters, Limits, Message, Meter
from edgeagent.sync.reasons import Reason
from edgeagent.sync.wire import Wire

WAITING_MAX = 1000


class Outgoing:
    """The queue to the broker. `offer` may be called by any thread, the rest by the link's."""

    def __init__(self, counters: Counters) -> None:
        self.limits = Limits()
        self.meter: Meter | None = None
        self._counters = counters
        self._waiting: deque[Message] = deque()
        self._under_way: dict[int, Message] = {}

    def offer(self, message: Message) -> None:
        """Put it in line. Raises Busy if too many wait already."""
        if len(self._waiting) >= WAITING_MAX:
            raise Busy(
                f"{WAITING_MAX} messages wait to be sent to the broker already",
                remedy="The network is too slow for what is published; publish less often.",
            )
        if self.meter is not None:
            self.meter.sent(message.topic, message.packet_bytes)
        self._waiting.append(message)

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._under_way

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def flush(self, wire: Wire) -> None:
        """Write what may be written now."""
        while self._waiting and not wire.blocked:
            if self._waiting[0].qos and len(self._under_way) >= self.limits.receive_maximum:
                return
            message = self._waiting.popleft()
            reason = self._refusal(message)
            if reason is None:
                self._send(wire, message)
            else:
                self._counters.messages_refused += 1
                message.done(reason)

    def acknowledged(self, mid: int, code: int) -> None:
        """A PUBACK has come; ``code`` is its MQTT 5 reason code."""
        message = self._under_way.pop(mid, None)
        if message is None:
            return
        if code < 0x80:
            self._sent(message)
        else:
            self._counters.messages_refused += 1
        message.done(reasons.of_code(code) if code >= 0x80 else None)

    def abandon(self, reason: Reason) -> None:
        """The connection is gone: everybody is told, nothing is kept."""
        abandoned = [*self._under_way.values(), *self._waiting]
        self._under_way.clear()
        self._waiting.clear()
        for message in abandoned:
            message.done(reason)

    def _send(self, wire: Wire, message: Message) -> None:
        message.retain = message.retain and self.limits.retain
        try:
            mid = wire.send(message)
        except LinkDown:
            message.done(reasons.LOST)
            return
        if message.qos:
            self._under_way[mid] = message
        else:
            self._sent(message)
            message.done(None)

    def _sent(self, message: Message) -> None:
        size = len(message.payload)
        self._counters.messages_sent += 1
        self._counters.bytes_sent += size

    def _refusal(self, message: Message) -> Reason | None:
        if message.packet_bytes > self.limits.maximum_packet:
            return reasons.of_code(0x95)
        if message.qos and not self.limits.qos_1:
            return reasons.of_code(0x9B)
        return None
