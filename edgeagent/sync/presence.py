"""Who this device is and how it does: status with its will, capabilities, state, reported.

The status topic is also watched: what others say there in our name tells of a second device
with our id, of a database that was restored from a copy, and of one that was lost.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Literal, Protocol

import msgspec
from msgspec import Struct, field

from edgeagent import clock
from edgeagent.errors import StoreError
from edgeagent.sync.port import Incoming, Will
from edgeagent.sync.reasons import Reason
from edgeagent.sync.schema import Status
from edgeagent.sync.shelf import Shelf
from edgeagent.sync.topics import Topics
from edgeagent.sync.uplink import Uplink

log = logging.getLogger(__name__)

DeviceState = Literal["online", "degraded", "safe-mode"]
Shown = Literal["online", "degraded", "safe-mode", "offline"]

_MOST_WILL = 65_535
"""Bytes (MQTT 5, section 3.1.3.3); a status may be longer."""


class Epochs(Protocol):
    """What presence needs of the outbox."""

    @property
    def epoch(self) -> str: ...
    @property
    def last_seq(self) -> int: ...
    def new_epoch(self, reason: str) -> str: ...
    def lost_epoch(self, epoch: str) -> None: ...


class Identity(Struct, frozen=True):
    """What a device says of itself in its status."""

    version: str
    boot: str = field(default_factory=clock.boot_id)
    name: str = ""
    site: str = ""
    tags: dict[str, str] = field(default_factory=dict)


class Complaining(Protocol):
    """Something that may keep records from going out although the link is up."""

    @property
    def complaint(self) -> Reason | None: ...


class Presence:
    """Passenger of the link. `say`, `state`, `reported` and `capabilities` from any thread."""

    def __init__(
        self, link: Uplink, shelf: Shelf, outbox: Epochs, topics: Topics, identity: Identity
    ) -> None:
        self._link = link
        self._shelf = shelf
        self._outbox = outbox
        self._topics = topics
        self._identity = identity
        self._lock = threading.Lock()
        self._state: DeviceState = "online"
        self._reasons: tuple[str, ...] = ()
        self._since = clock.rfc3339(clock.wall_ns())
        self._shown: tuple[str, list[str]] | None = None
        self._ours: set[tuple[str, str]] = set()
        """(boot, epoch) of every status that this process has published."""
        self._connected = False
        self._complaining: list[Complaining] = []
        # Said at each connection, but after what nobody owns any more is cleared.
        shelf.keep((topics.status,))
        link.will = self.will
        link.subscribe(topics.status, self._heard)

    def watch(self, other: Complaining) -> None:
        """Show what else goes wrong with the link as a reason. Before the start."""
        self._complaining.append(other)

    def say(self, state: DeviceState, reasons: tuple[str, ...] = ()) -> None:
        """How the agent does, but for its link, which is known here."""
        with self._lock:
            self._state, self._reasons = state, reasons
        self._link.wake()

    def capabilities(self, document: dict[str, Any]) -> None:
        """Commands with schemas, runtimes, sources, models, limits …"""
        self._shelf.put(self._topics.capabilities, msgspec.json.encode(document))

    def reported(self, document: dict[str, Any]) -> None:
        """What the device is, and how far it got with the desired state."""
        self._shelf.put(self._topics.reported, msgspec.json.encode(document))

    def state(self, pipeline: str, document: dict[str, Any]) -> None:
        """The present state of a pipeline, for automations."""
        self._shelf.put(self._topics.state(pipeline), msgspec.json.encode(document))

    def will(self) -> Will:
        """What the broker says when we are gone without a goodbye."""
        since = clock.rfc3339(clock.wall_ns())
        whole = self._status("offline", ["connection lost"], since)
        if len(whole) > _MOST_WILL:
            whole = self._status("offline", ["connection lost"], since, tags={})
        return Will(self._topics.status, whole)

    # --- the link's calls

    def connected(self) -> None:
        self._connected = True
        self._shown = None

    def disconnected(self, _reason: Reason) -> None:
        self._connected = False

    def turn(self, now: float) -> float:
        if self._connected:
            self._show(*self._present())
        return now + 5.0

    def farewell(self) -> None:
        self._show("offline", ["stopped"])
        self._connected = False

    def _present(self) -> tuple[Shown, list[str]]:
        with self._lock:
            state, reasons = self._state, list(self._reasons)
        found = [*self._link.complaints, *(c.complaint for c in self._complaining)]
        reasons += [f"{c.sentence}. {c.advice}".removesuffix(" ") for c in found if c is not None]
        reasons += [
            f"the broker does not take {topic}: {reason.sentence}"
            for topic, reason in self._shelf.refused.items()
        ]
        return ("degraded" if state == "online" and reasons else state), reasons

    def _show(self, state: Shown, reasons: list[str]) -> None:
        if self._shown == (state, reasons):
            return
        if self._shown is not None and self._shown[0] != state:
            self._since = clock.rfc3339(clock.wall_ns())
        self._shown = (state, reasons)
        self._ours.add((self._identity.boot, self._outbox.epoch))
        self._shelf.put(self._topics.status, self._status(state, reasons, self._since))

    def _status(
        self, state: Shown, reasons: list[str], since: str, *, tags: dict[str, str] | None = None
    ) -> bytes:
        who = self._identity
        return msgspec.json.encode(
            Status(
                state=state, reasons=reasons, since=since, boot=who.boot, version=who.version,
                contract=1, epoch=self._outbox.epoch, seq=self._outbox.last_seq,
                name=who.name, site=who.site, tags=who.tags if tags is None else tags,
            )
        )  # fmt: skip

    # --- what others say in our name

    def _heard(self, message: Incoming) -> bool:
        try:
            said = msgspec.json.decode(message.payload, type=Status)
        except msgspec.MsgspecError:
            return True
        try:
            self._judge(said)
        except StoreError as error:
            log.error("the epoch can't be changed: %s", error)
        return True

    def _judge(self, said: Status) -> None:
        if (said.boot, said.epoch) in self._ours:
            return
        if self._ours:
            # We had the last word on this topic, and now somebody else has spoken: another
            # device. (The will of our own former life was published before we were let in.)
            self._link.taken_over()
        elif said.epoch == self._outbox.epoch:
            if said.seq > self._outbox.last_seq:
                self._outbox.new_epoch("restored: the broker has seen later records")
        elif said.epoch:
            self._outbox.lost_epoch(said.epoch)
