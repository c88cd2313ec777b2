"""Shared subscriptions, where a broker is proven to deliver them.

Some brokers grant ``$share/…`` and then deliver nothing. So a message is sent through one to
ourselves, over a connection of its own, before anything is asked of it in earnest.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.port import Incoming, Message, Will
from edgeagent.sync.reasons import Reason
from edgeagent.sync.topics import Topics, is_id
from edgeagent.sync.wire import Dial, Event, Wire

_ANSWER_S = 3.0
_LOOK_AGAIN_S = 0.2


class SharedLink(Link):
    """A link that subscribes the filters in ``split`` as a member of ``group``.

    With ``sharing`` false it subscribes them plainly. Either way what an earlier process left
    in the broker's session in the other form is given up. With ``leaving`` it gives them up in
    both forms, and only gets what waits in its session.
    """

    def __init__(
        self, settings: LinkSettings, echo: Callable[[str], str], *,
        group: str, split: Sequence[str], sharing: bool, leaving: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(settings, echo)
        self._dial = _SharedDial(self._dial, _Forms(group, frozenset(split), sharing, leaving))


@dataclass(frozen=True, slots=True)
class _Forms:
    """How filters are written on the wire."""

    group: str
    split: frozenset[str]
    sharing: bool
    leaving: bool

    def said(self, filters: Sequence[str], sharing: bool) -> list[str]:
        return [
            f"$share/{self.group}/{pattern}" if sharing and pattern in self.split else pattern
            for pattern in filters
        ]


class _SharedDial:
    def __init__(self, dial: Dial, forms: _Forms) -> None:
        self._dial = dial
        self._forms = forms

    def __call__(
        self, settings: LinkSettings, endpoint: Endpoint, five: bool,
        will: Callable[[], Will] | None, wake_fd: int,
    ) -> Wire | Reason:  # fmt: skip
        wire = self._dial(settings, endpoint, five, will, wake_fd)
        return wire if isinstance(wire, Reason) else _SharedWire(wire, self._forms)


class _SharedWire:
    """A wire that says ``$share/group/filter`` for some filters."""

    def __init__(self, wire: Wire, forms: _Forms) -> None:
        self._wire = wire
        self._forms = forms

    @property
    def blocked(self) -> bool:
        return self._wire.blocked

    def send(self, message: Message) -> int:
        return self._wire.send(message)

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> int:
        forms = self._forms
        split = [pattern for pattern, _ in filters if pattern in forms.split]
        if split:
            self._wire.unsubscribe(forms.said(split, not forms.sharing))
        if split and forms.leaving:
            self._wire.unsubscribe(forms.said(split, forms.sharing))
            filters = [its for its in filters if its[0] not in forms.split]
        said = forms.said([pattern for pattern, _ in filters], forms.sharing)
        return self._wire.subscribe(
            [(pattern, qos) for pattern, (_, qos) in zip(said, filters, strict=True)]
        )

    def unsubscribe(self, filters: Sequence[str]) -> None:
        self._wire.unsubscribe(self._forms.said(filters, self._forms.sharing))

    def ack(self, mid: int) -> None:
        self._wire.ack(mid)

    def turn(self, timeout: float) -> list[Event]:
        return self._wire.turn(timeout)

    def close(self) -> None:
        self._wire.close()


def own_topics(prefix: str, settings: LinkSettings) -> Topics:
    """Where a tool of the operator proves its link: the topics of a device that is named as
    its user at the broker, which the usual access rules let it write and read."""
    user = settings.endpoints[0].username if settings.endpoints else ""
    return Topics(prefix, user if is_id(user) else "collector")


def proven(
    settings: LinkSettings, echo: Callable[[str], str], topic: str, stopping: Callable[[], bool]
) -> bool:
    """Whether the broker delivers through a shared subscription. Blocks until there is a
    broker, or ``stopping``.

    ``echo`` gives topics by which the connection is proven. ``topic`` is one that we may publish
    to and subscribe; no plain subscription may cover it, or it would prove nothing.
    """
    nonce, heard = secrets.token_hex(8), threading.Event()
    brief = replace(settings, client_id=f"{settings.client_id}-proof", session_expiry_s=0.0)
    link = SharedLink(brief, echo, group=f"proof-{nonce}", split=(topic,), sharing=True)

    def take(message: Incoming) -> bool:
        if message.payload == nonce.encode():
            heard.set()
        return True

    link.subscribe(topic, take)
    link.start()
    try:
        while not link.wait_up(_LOOK_AGAIN_S):
            if stopping():
                return False
        link.publish(topic, nonce.encode())
        return heard.wait(_ANSWER_S)
    finally:
        link.unsubscribe(topic)
        link.stop()
