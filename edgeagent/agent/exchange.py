"""Topics of other devices: between sources that want them and the link, which comes later."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeagent.capture.sensor.mqtt import Take
    from edgeagent.sync.port import Handler, Incoming
    from edgeagent.sync.uplink import Uplink

_GRACE_S = 5.0
"""A link that is being made again so quickly is no loss for who listens."""


class Exchange:
    """The `capture.sensor.mqtt.Broker` of an agent. Sources start before the link does: what they
    subscribe until `bind` is asked for then."""

    def __init__(self) -> None:
        self._takers: dict[str, tuple[Take, ...]] = {}
        self._link: Uplink | None = None
        self._lock = threading.Lock()
        self._up_at = 0.0

    def bind(self, link: Uplink) -> None:
        """From now on by this link."""
        with self._lock:
            self._link, self._up_at = link, time.monotonic()
            patterns = tuple(self._takers)
        for pattern in patterns:
            link.subscribe(pattern, self._handler(pattern), fleeting=True)

    def subscribe(self, pattern: str, take: Take) -> None:
        """Receive what is published on a filter, and what is retained there."""
        with self._lock:
            first = pattern not in self._takers
            self._takers[pattern] = (*self._takers.get(pattern, ()), take)
            link = self._link
        if link is not None and first:
            link.subscribe(pattern, self._handler(pattern), fleeting=True)

    def unsubscribe(self, pattern: str, take: Take) -> None:
        """No longer; nothing happens where it never was."""
        with self._lock:
            takers = tuple(its for its in self._takers.get(pattern, ()) if its != take)
            last = bool(self._takers.pop(pattern, ())) and not takers
            if takers:
                self._takers[pattern] = takers
            link = self._link
        if link is not None and last:
            link.unsubscribe(pattern)

    @property
    def down(self) -> str:
        """Why nothing can come now; empty = it can, or the link has only just been lost."""
        link, now = self._link, time.monotonic()
        if link is None or link.state == "up":
            self._up_at = now
            return ""
        if now - self._up_at < _GRACE_S:
            return ""
        error = link.last_error
        return error.sentence if error is not None else "the link is down"

    def _handler(self, pattern: str) -> Handler:
        def handle(message: Incoming) -> bool:
            for take in self._takers.get(pattern, ()):
                take(message.topic, message.payload)
            return True

        return handle
