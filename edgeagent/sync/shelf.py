"""The retained topics that this device owns.

Retained messages are a cache: brokers forget them when killed, and keep them when nobody wants
them any more. So the shelf holds what should be retained, publishes all of it anew at every
connect, and remembers on disk which topics it has ever filled, to clear those that the device
no longer has. A topic has one message under way at a time; what changes meanwhile is coalesced.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from edgeagent.errors import Busy, StoreError
from edgeagent.sync.reasons import Reason
from edgeagent.sync.uplink import Uplink

log = logging.getLogger(__name__)

_KEY = "sync.retained"
_MOST_UNDER_WAY = 16
"""So that a thousand answers to commands don't stand in line before the first record."""
_AGAIN_S = 60.0
"""After this long a refused topic is tried again, connection or not."""


class Memory(Protocol):
    """Small things kept on disk."""

    def remember(self, key: str, value: bytes | None) -> None: ...
    def recall(self, key: str) -> bytes | None: ...


class _Item(Struct):
    payload: bytes
    dirty: bool = True
    under_way: bool = False
    refused: Reason | None = None
    qos: Literal[0, 1] = 1


class Shelf:
    """Passenger of the link. `put`, `clear` and `forget` may be called from any thread."""

    def __init__(
        self, link: Uplink, memory: Memory, may: Callable[[str], bool] = lambda _topic: True
    ) -> None:
        """``may`` tells whether a topic may be published now; what may not waits."""
        self._link = link
        self._memory = memory
        self._may = may
        self._lock = threading.Lock()
        self._items: dict[str, _Item] = {}
        self._owned: set[str] = set(
            msgspec.json.decode(memory.recall(_KEY) or b"[]", type=list[str])
        )
        self._written = frozenset(self._owned)
        self._kept: set[str] = set()
        self._swept = False
        self._connected = False
        self._again_at = 0.0
        """When to try again what was refused; 0 = nothing was."""

    def put(
        self, topic: str, payload: bytes, *, remember: bool = True, qos: Literal[0, 1] = 1
    ) -> None:
        """Have ``payload`` retained on ``topic``. ``remember=False`` for topics that are kept
        in mind elsewhere (commands: by the journal); at QoS 0 for what the next one replaces."""
        with self._lock:
            item = self._items.get(topic)
            if item is None:
                self._items[topic] = _Item(payload, qos=qos)
            elif item.payload != payload:
                item.payload, item.dirty = payload, True
            if remember:
                self._owned.add(topic)
        self._link.wake()

    def renew(self, topic: str) -> None:
        """Somebody else wrote there: publish what is ours again."""
        with self._lock:
            item = self._items.get(topic)
            if item is not None:
                item.dirty = True
        self._link.wake()

    def clear(self, topic: str) -> None:
        """Have nothing retained on ``topic`` any more."""
        self.put(topic, b"", remember=False)

    def forget(self, topic: str) -> None:
        """Somebody else cleared it: never publish it again."""
        with self._lock:
            self._items.pop(topic, None)
            self._owned.discard(topic)

    def keep(self, topics: Iterable[str]) -> None:
        """Topics that are still ours although nothing was put on them yet. Before the start."""
        self._kept.update(topics)

    def payload(self, topic: str) -> bytes | None:
        """What should be retained there."""
        item = self._items.get(topic)
        return item.payload if item is not None else None

    @property
    def refused(self) -> dict[str, Reason]:
        """Topics that the broker does not take from us, and why."""
        with self._lock:
            return {topic: item.refused for topic, item in self._items.items() if item.refused}

    # --- the link's calls

    def connected(self) -> None:
        self._connected = True
        with self._lock:
            if not self._swept:
                self._swept = True
                for topic in self._owned - self._items.keys() - self._kept:
                    self._items[topic] = _Item(b"")
            for item in self._items.values():
                item.dirty, item.refused = True, None

    def disconnected(self, _reason: Reason) -> None:
        self._connected = False

    def turn(self, now: float) -> float:
        if not self._connected:
            return now + 5.0
        self._write_down()
        for topic, payload, qos in self._due(now):
            try:
                self._link.publish(
                    topic, payload, qos, True, on_done=partial(self._done, topic, payload)
                )
            except Busy:
                self._failed(topic)
        return min(now + 5.0, self._again_at) if self._again_at else now + 5.0

    def farewell(self) -> None:
        """What the others put on it now leaves with the next turn."""

    def _due(self, now: float) -> list[tuple[str, bytes, Literal[0, 1]]]:
        with self._lock:
            if self._again_at and now >= self._again_at:
                self._again_at = 0.0
                for item in self._items.values():
                    item.dirty = item.dirty or item.refused is not None
            room = _MOST_UNDER_WAY - sum(item.under_way for item in self._items.values())
            ready = [(t, i) for t, i in self._items.items() if i.dirty and not i.under_way]
            due = [(topic, item) for topic, item in ready if self._may(topic)][:room]
            for _, item in due:
                item.dirty, item.under_way = False, True
            return [(topic, item.payload, item.qos) for topic, item in due]

    def _write_down(self) -> None:
        """Keep in mind which topics are ours, before they are filled: else a crash would leave
        them retained for ever."""
        with self._lock:
            owned = frozenset(self._owned)
        if owned == self._written:
            return
        self._written = owned
        try:
            self._memory.remember(_KEY, msgspec.json.encode(sorted(owned)))
        except StoreError as error:
            # A full disk must not keep the device from saying that its disk is full.
            log.warning("retained topics can't be remembered: %s", error)

    def _done(self, topic: str, payload: bytes, reason: Reason | None) -> None:
        if reason is not None:
            self._failed(topic, reason)
            return
        with self._lock:
            item = self._items.get(topic)
            if item is None:
                return
            item.under_way, item.refused = False, None
            if not payload and not item.payload:
                del self._items[topic]
                self._owned.discard(topic)
        self._link.wake()

    def _failed(self, topic: str, reason: Reason | None = None) -> None:
        with self._lock:
            item = self._items.get(topic)
            if item is None:
                return
            item.under_way = False
            item.refused = reason if reason is not None and reason.code >= 0x80 else None
            item.dirty = item.dirty or reason is None
            # What the broker refuses may be allowed or have room later.
            self._again_at = self._again_at or time.monotonic() + _AGAIN_S
