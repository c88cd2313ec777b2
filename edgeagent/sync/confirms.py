"""End-to-end confirmation: what collectors say that they have."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from edgeagent.errors import StoreError
from edgeagent.sync.port import Incoming
from edgeagent.sync.schema import Confirm
from edgeagent.sync.topics import Topics
from edgeagent.sync.uplink import Uplink

log = logging.getLogger(__name__)


class Confirmed(Protocol):
    """What confirms need of the outbox."""

    @property
    def epoch(self) -> str: ...
    @property
    def last_seq(self) -> int: ...
    def new_epoch(self, reason: str) -> str: ...
    def confirmed(
        self, epoch: str, upto: int, missing: Iterable[tuple[int, int]], by: str
    ) -> bool: ...


class Confirms:
    """Listens to ``confirm/{collector}`` of every collector that is named."""

    def __init__(
        self, link: Uplink, topics: Topics, outbox: Confirmed, collectors: Sequence[str]
    ) -> None:
        self._outbox = outbox
        self._topics = topics
        self.ignored = 0
        """Confirms that could not be read or are of another epoch."""
        for collector in collectors:
            link.subscribe(topics.confirm(collector), self._heard)

    def _heard(self, message: Incoming) -> bool:
        address = self._topics.parse(message.topic)
        try:
            confirm = msgspec.json.decode(message.payload, type=Confirm)
        except msgspec.MsgspecError as error:
            if message.payload:
                log.warning("a confirm on %s can't be read: %s", message.topic, error)
                self.ignored += 1
            return True
        if address is None or confirm.epoch != self._outbox.epoch:
            self.ignored += 1
        elif confirm.upto > self._outbox.last_seq:
            self._restored()
        else:
            missing = [(first, last) for first, last in confirm.missing if first <= last]
            self._outbox.confirmed(confirm.epoch, confirm.upto, missing, address.id)
        return True

    def _restored(self) -> None:
        try:
            self._outbox.new_epoch("restored: a collector has later records")
        except StoreError as error:
            log.error("the epoch can't be changed: %s", error)
