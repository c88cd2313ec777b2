"""Reads what is retained, in shards, and counts what came.

A broker keeps a limited queue for each client and lets go of what does not fit, without a word:
mosquitto with its defaults delivers 1,020 of 5,000 retained messages. So topics are asked for by
their exact names, a few hundred at a time, and a marker that we send to ourselves tells that a
shard has come. What a wildcard brings is good for finding names that nobody knew; where it
brought less than the exact names did, the broker is known to cut, and that is said.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from msgspec.structs import replace

from edgeagent.errors import LinkDown
from edgeagent.fleet.meeting import absent, meet
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.port import Incoming, Passenger
from edgeagent.sync.topics import Topics

SHARD = 200
"""Topics at a time: a fifth of the smallest usual queue, for what comes meanwhile."""
_QUIET_S = 0.15
"""After the marker, for brokers that look retained messages up aside."""
_STILL_S = 2.0
"""Without a marker, nothing for so long means that all has come."""
_PATIENCE_S = 30.0
_TRIES = 5
_NODE_S = 5.0
"""One of several brokers is waited for so long."""
Found = TypeVar("Found")


@dataclass(slots=True)
class Count:
    """What a census came to."""

    asked: int = 0
    """Topics."""
    came: int = 0
    shards: int = 0
    again: int = 0
    """Shards that were read twice because the connection broke."""
    hidden: list[str] = field(default_factory=list)
    """Topics that exist and that the wildcard did not bring: the broker cuts."""
    refused: list[str] = field(default_factory=list)
    """Why topics could not be asked for at all."""
    away: list[str] = field(default_factory=list)
    """Brokers that do not answer, where several are named."""
    divided: list[str] = field(default_factory=list)
    """Topics that are not the same at all of them."""

    def add(self, other: Count) -> None:
        """Another one's figures, too."""
        self.asked, self.came = self.asked + other.asked, self.came + other.came
        self.shards, self.again = self.shards + other.shards, self.again + other.again
        self.hidden = sorted({*self.hidden, *other.hidden})
        self.refused = sorted({*self.refused, *other.refused})


class Census:
    """One connection of its own, for as long as the block lasts. Raises LinkDown."""

    def __init__(
        self, settings: LinkSettings, own: Topics, patience_s: float = _PATIENCE_S
    ) -> None:
        """``own``: topics at which we may talk to ourselves. ``patience_s``: how long a broker
        that is away is waited for."""
        self._patience_s = patience_s
        known = replace(
            settings, client_id=f"{settings.client_id}-census", session_expiry_s=0.0,
            receive_maximum=65535,  # Of MQTT 5: mosquitto queues nothing then.
        )  # fmt: skip
        self._link = Link(known, own.echo)
        self.refused: set[str] = set()
        """Sentences of what the broker did not let us ask for."""
        self._marker = own.command("census", secrets.token_hex(8))
        self._arrived = threading.Condition()
        self._got: dict[str, bytes] = {}
        self._marked = b""
        self._broken = False
        self._link.board(_Breaks(self._lost))

    def __enter__(self) -> Census:
        self._link.subscribe(self._marker, self._mark)
        meet(self._link, self._patience_s)
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def read(self, topics: Iterable[str], take: Callable[[str, bytes], None]) -> Count:
        """Hand over every retained message of ``topics`` (exact names), shard by shard."""
        count = Count()
        for shard in _shards(topics):
            for _ in range(_TRIES):
                found = self._shard(shard)
                if found is not None:
                    break
                count.again += 1
                if not self._link.wait_up(self._patience_s):
                    raise absent(self._link)
            else:
                raise self._unread()
            count.asked += len(shard)
            count.came += len(found)
            count.shards += 1
            for topic, payload in found.items():
                take(topic, payload)
        return count

    def wildcard(self, pattern: str) -> dict[str, bytes]:
        """What a pattern brings: perhaps not all."""
        for _ in range(_TRIES):
            found = self._shard([pattern], sure=False)
            if found is not None:
                return found
            if not self._link.wait_up(self._patience_s):
                break
        raise absent(self._link)

    def _shard(self, patterns: Sequence[str], *, sure: bool = True) -> dict[str, bytes] | None:
        """None = the connection broke meanwhile. Not ``sure``: where the queue overflows our own
        marker does not fit into it either, and quiet must do."""
        nonce = secrets.token_hex(8).encode()
        with self._arrived:
            self._got, self._broken = {}, False
        for pattern in patterns:
            self._link.subscribe(pattern, self._take)
        # An errand as well, so that it is written behind the subscriptions.
        self._link.call(lambda: self._link.publish(self._marker, nonce))
        with self._arrived:
            patience = self._patience_s if sure else _STILL_S
            marked = self._marked == nonce  # It may have come before we looked.
            while not marked and not self._broken and self._arrived.wait(patience):
                marked = self._marked == nonce
            while not self._broken and self._arrived.wait(_QUIET_S):
                pass  # Something came: wait for quiet again.
            found, broken = self._got, self._broken or (sure and not marked)
            self._got = {}
        asked = tuple(f" {pattern}" for pattern in patterns)
        said = [its.sentence for its in self._link.complaints]
        self.refused.update(sentence for sentence in said if sentence.endswith(asked))
        for pattern in patterns:
            self._link.unsubscribe(pattern)
        return None if broken else found

    def _unread(self) -> LinkDown:
        """Why nothing can be read though there is a broker."""
        if self._link.state == "up" and (complaints := self._link.complaints):
            # E.g. of a cluster that elects a leader: it refuses our marker's topic meanwhile.
            why = complaints[0]
            return LinkDown(f"what is retained can't be read: {why.sentence}", remedy=why.advice)
        return LinkDown("the connection breaks whenever retained messages are asked for")

    def _take(self, message: Incoming) -> bool:
        with self._arrived:
            self._got[message.topic] = message.payload
            self._arrived.notify()
        return True

    def _mark(self, message: Incoming) -> bool:
        with self._arrived:
            self._marked = message.payload
            self._arrived.notify()
        return True

    def _lost(self) -> None:
        with self._arrived:
            self._broken = True
            self._arrived.notify()


def read_everywhere(
    settings: LinkSettings, own: Topics, patience_s: float, topics: Iterable[str],
    take: Callable[[str, bytes], None],
) -> None:  # fmt: skip
    """As `Census.read`, at each of the brokers that are named: nodes of a cluster need not share
    what is retained. Raises LinkDown: none of them answers."""
    wanted = list(topics)

    def read(node: LinkSettings, wait_s: float) -> Count:
        with Census(node, own, wait_s) as census:
            return census.read(wanted, take)

    at_each(settings, patience_s, read)


def at_each(
    settings: LinkSettings, patience_s: float, read: Callable[[LinkSettings, float], Found]
) -> tuple[list[Found], list[str]]:
    """What ``read`` finds at each of the brokers that are named, and those that do not answer
    (host:port). It is given one broker and how long that is waited for.

    Raises LinkDown: none of them answers.
    """
    found: list[Found] = []
    away: list[str] = []
    down: LinkDown | None = None
    wait_s = min(patience_s, _NODE_S) if len(settings.endpoints) > 1 else patience_s
    for endpoint in settings.endpoints:
        try:
            found.append(read(replace(settings, endpoints=(endpoint,)), wait_s))
        except LinkDown as error:
            away.append(endpoint.name)
            down = error
    if down is not None and not found:
        raise down
    return found, away


class _Breaks(Passenger):
    """Passenger that tells of a loss."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost

    def disconnected(self, _reason: object) -> None:
        self._lost()

    def turn(self, now: float) -> float:
        return now + 5.0


def _shards(topics: Iterable[str]) -> Iterator[list[str]]:
    left = iter(topics)
    while shard := list(islice(left, SHARD)):
        yield shard
