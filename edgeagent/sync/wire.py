"""One connection as the link sees it: what it can do and what it reports.

`link` implements it with the MQTT library; everything else of `sync` knows only this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Union

from msgspec import Struct

from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.port import Limits, Message, Will
from edgeagent.sync.reasons import Reason


class Connack(Struct, frozen=True):
    """The broker's answer to CONNECT; ``refusal`` is None where it accepts."""

    refusal: Reason | None
    limits: Limits


class Suback(Struct, frozen=True):
    """Granted QoS or reason code (≥ 0x80), in the order that was asked."""

    mid: int
    codes: tuple[int, ...]


class Puback(Struct, frozen=True):
    mid: int
    code: int


class Delivery(Struct, frozen=True):
    """A PUBLISH from the broker."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    mid: int


class Closed(Struct, frozen=True):
    """The connection is over."""

    reason: Reason


Event = Union[Connack, Suback, Puback, Delivery, Closed]


class Wire(Protocol):
    """One connection, never reused."""

    @property
    def blocked(self) -> bool:
        """Whether bytes of an earlier message still wait for the socket."""

    def send(self, message: Message) -> int:
        """Write a message; returns its packet id (0 for QoS 0). Raises LinkDown."""

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> int:
        """Ask for topics, each at a QoS; returns the packet id. Raises LinkDown."""

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give topics up. Raises LinkDown."""

    def ack(self, mid: int) -> None:
        """Acknowledge a `Delivery`."""

    def turn(self, timeout: float) -> list[Event]:
        """Read and write what is ready, at most ``timeout`` seconds; what has happened."""

    def close(self) -> None:
        """Say goodbye if still connected, and let go of the socket."""


class Dial(Protocol):
    """Connects and sends CONNECT."""

    def __call__(
        self,
        settings: LinkSettings,
        endpoint: Endpoint,
        five: bool,
        will: Callable[[], Will] | None,
        wake_fd: int,
    ) -> Wire | Reason:
        """A wire, or why there is none. ``wake_fd`` (an eventfd) must end `Wire.turn` early."""
