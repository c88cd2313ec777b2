"""What those who use the link hand over and get back. Free of any MQTT library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct

from edgeagent.sync.reasons import Reason

State = Literal["down", "connecting", "up"]
Done = Callable[[Reason | None], None]
"""Told once how a message ended: None = accepted (PUBACK with success; written, for QoS 0)."""

AROUND = 40
"""Bytes around topic and payload, rounded up: MQTT's own and those of a TCP/IPv4 header."""


class Message(Struct):
    """One message to publish."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    retain: bool = False
    on_done: Done | None = None
    content_type: str = ""
    """MQTT 5 content type; left out on 3.1.1."""
    encoding: str = ""
    """MQTT 5 user property ``encoding``; left out on 3.1.1."""

    @property
    def packet_bytes(self) -> int:
        """Size of the PUBLISH packet, rounded up: what a broker's limit is about."""
        properties = len(self.content_type) + len(self.encoding)
        return len(self.topic.encode()) + len(self.payload) + properties + AROUND

    def done(self, reason: Reason | None) -> None:
        """Tell whoever waits, once."""
        told, self.on_done = self.on_done, None
        if told is not None:
            told(reason)


class Incoming(Struct, frozen=True):
    """One message received. `ack` tells the broker that it needs no second delivery."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    """It was stored by the broker before we subscribed."""
    duplicate: bool
    """It was sent before; whether we saw it then is not known."""
    ack: Callable[[], None]
    """Any thread, at any time; nothing happens when its connection is over."""


Handler = Callable[[Incoming], bool]
"""Takes a message on the link's thread. True = it is dealt with, acknowledge it; False = the
handler will call `Incoming.ack` itself, later. It must be brief."""


class Will(Struct, frozen=True):
    """What the broker publishes for us when the connection breaks."""

    topic: str
    payload: bytes


class Limits(Struct):
    """What the broker allows on the present connection (CONNACK of MQTT 5)."""

    receive_maximum: int = 65535
    maximum_packet: int = 268_435_455
    qos_1: bool = True
    retain: bool = True
    protocol: str = ""
    """``5`` or ``3.1.1``; empty while not connected."""
    session_present: bool = False
    """The broker had kept our session, and with it what was sent to us meanwhile."""


class Passenger(Protocol):
    """What rides on the link's thread: needs no lock, must not block. Who inherits it says only
    what it has to say."""

    def connected(self) -> None:
        """The link is up, its topics proven or found wanting."""
        return

    def disconnected(self, _reason: Reason, /) -> None:
        """The link is down; what was under way has been told before."""
        return

    def turn(self, now: float) -> float:
        """Do what is due; called while the link is up, after anything happened and at the time
        that it returned.

        ``now`` and the time returned are of time.monotonic().
        """

    def farewell(self) -> None:
        """The link is about to be closed on purpose: the last messages."""
        return


class Meter(Protocol):
    """Told of each message, but for batches of records, which their publisher meters."""

    def sent(self, topic: str, count: int, /) -> None:
        """``count`` bytes are about to be written."""

    def received(self, topic: str, count: int, /) -> None:
        """``count`` bytes have come."""


class Counters(Struct):
    """Since the start of the process."""

    connects: int = 0
    losses: int = 0
    messages_sent: int = 0
    bytes_sent: int = 0
    messages_refused: int = 0
    messages_received: int = 0
    bytes_received: int = 0
    handler_errors: int = 0
