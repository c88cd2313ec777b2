"""The fleet as it is now, kept up to date by what devices publish.

Subscriptions bring news; what is retained is read once by `look`, and compared with a count by
exact names now and then, because a broker may drop what does not fit into our queue.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from edgeagent.errors import LinkDown
from edgeagent.fleet.census import SHARD, Census
from edgeagent.fleet.meeting import Meeting, meet
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.sharing import own_topics
from edgeagent.fleet.sight.facts import facts
from edgeagent.fleet.sight.look import SELF_TOLD, look, told
from edgeagent.fleet.sight.where import Where, parse
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.port import Incoming

_UP_S = 30.0
_GONE_S = 3.0
"""A broker that goes away while it is read is not waited for longer: that is news itself."""
_LINGER_S = 0.1
_AGAIN_S = 60.0
"""So long it takes to read all statuses again by name, a shard at a time."""


@dataclass(slots=True)
class Change:
    """What is new of one device."""

    device: str
    facts: dict[str, Any]
    before: dict[str, Any] | None
    """None = it was not seen before."""


@dataclass(slots=True)
class View:
    """The fleet at one moment."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Device → its facts, of those that are meant."""
    known: int = 0
    """Devices altogether."""
    linked: bool = True
    missed: int = 0
    """Changes that only reading by name has shown: the broker dropped them."""
    note: str = ""

    def counts(self) -> dict[str, int]:
        """State → how many."""
        found: dict[str, int] = {}
        for its in self.rows.values():
            found[its["state"]] = found.get(its["state"], 0) + 1
        return dict(sorted(found.items()))


class Watch:
    """Use it as a context; `turn` as often as news are wanted. Raises LinkDown at the beginning;
    a broker that goes away later is waited for (``view.linked``)."""

    def __init__(
        self, link: LinkSettings, prefix: str, where: str = "", known: Iterable[str] = (), *,
        patient: bool = False,
    ) -> None:  # fmt: skip
        """``patient``: a broker that is away at the beginning is waited for as well.

        Raises UsageError: ``where`` can't be read.
        """
        self._patient = patient
        self.view = View()
        self.roster = Roster(prefix)
        self._where: Where = parse(where)
        self._settings, self._prefix = link, prefix
        self._known = list(known)
        self._own = own_topics(prefix, link)
        self._arrived: deque[Incoming] = deque()
        self._some, self._met = threading.Event(), threading.Event()
        self._ended = threading.Event()
        self._all: dict[str, dict[str, Any]] = {}
        self._again_at = 0.0
        self._next = 0
        self._census: Census | None = None
        self._open = ExitStack()
        self._link = Link(
            replace(
                link, client_id=f"{self._own.client_id}-watch-{os.getpid()}",
                session_expiry_s=0.0, receive_maximum=65535,
            ),
            self._own.echo,
        )  # fmt: skip

    def __enter__(self) -> Watch:
        self._link.board(Meeting(self._met))
        for name in SELF_TOLD:
            self._link.subscribe(f"{self._prefix}/+/{name}", self._take)
        if self._patient:
            self._link.start()
        else:
            meet(self._link, _UP_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._open.close()
        self._link.stop()

    def turn(self, patience_s: float) -> list[Change]:
        """What changed since the last call; waits for the first news so long."""
        if (
            not self._arrived and not self._met.is_set()
            and self._some.wait(patience_s) and not self._met.is_set()
        ):  # fmt: skip
            # Whoever is woken by each message of a wave keeps the link's thread from reading it.
            self._ended.wait(_LINGER_S)
        self._some.clear()
        self.view.linked = self._link.state == "up"
        changed = self._listen()
        try:
            if self._met.is_set():
                self._met.clear()
                changed |= self._read()
            elif self.view.linked and time.monotonic() >= self._again_at:
                changed |= self._read_again()
        except LinkDown:
            self._met.set()  # Read when it is back.
            self.view.linked = False
        return self._changes(changed)

    def _take(self, message: Incoming) -> bool:
        self._arrived.append(message)
        self._some.set()
        return True

    def _listen(self) -> set[str]:
        changed, now = set(), time.time()
        while self._arrived:
            message = self._arrived.popleft()
            changed.add(
                self.roster.take(message.topic, message.payload, retained=message.retain, now=now)
            )
        return changed - {""}

    def _read(self) -> set[str]:
        """A new connection: what was said meanwhile was missed."""
        roster, count = look(
            self._settings, self._prefix, [*self._known, *self.roster.devices], SELF_TOLD,
            patience_s=_GONE_S,
        )  # fmt: skip
        self.view.note = told(count)
        for id, device in roster.devices.items():
            if device.state or id not in self.roster.devices:
                self.roster.devices[id] = device
        self._again_at = time.monotonic() + _AGAIN_S
        # What came while it was read is newer.
        return set(roster.devices) | self._listen()

    def _read_again(self) -> set[str]:
        """The next shard. All at once would take seconds, in which nothing else is seen."""
        if self._census is None:
            brief = replace(self._settings, client_id=f"{self._own.client_id}-again-{os.getpid()}")
            self._census = self._open.enter_context(Census(brief, self._own, _GONE_S))
        ids = sorted(self.roster.devices)
        self._next = self._next if self._next < len(ids) else 0
        shard = ids[self._next : self._next + SHARD]
        self._next += SHARD
        self._again_at = time.monotonic() + _AGAIN_S / (1 + len(ids) // SHARD)
        before = {id: self.roster.devices[id].state for id in shard}
        self._census.read((f"{self._prefix}/{id}/status" for id in shard), self._note_again)
        # What came meanwhile by the subscription is no loss.
        heard = self._listen()
        missed = {
            id for id in shard if self.roster.devices[id].state != before[id] and id not in heard
        }
        self.view.missed += len(missed)
        return missed | heard

    def _note_again(self, topic: str, payload: bytes) -> None:
        self.roster.take(topic, payload, retained=True, now=time.time())

    def _changes(self, ids: Iterable[str]) -> list[Change]:
        found = []
        for id in sorted(ids):
            device, before = self.roster.devices[id], self._all.get(id)
            now = facts(device)
            there = bool(device.state or device.reported)
            if now == before or not (there or before):
                continue  # A name that nothing stands behind.
            self._all[id] = now
            meant = there and self._where(now)
            if meant:
                self.view.rows[id] = now
            else:
                self._leave(id, there)
            if meant or (before is not None and self._where(before)):
                found.append(Change(id, now, before))
        self.view.known = len(self._all)
        return found

    def _leave(self, id: str, there: bool) -> None:
        """It is not meant any more, or was retired: somebody cleared its topics."""
        self.view.rows.pop(id, None)
        if not there:
            del self._all[id]


def summary(view: View) -> str:
    """One line."""
    states = ", ".join(f"{count} {state}" for state, count in view.counts().items())
    line = f"{len(view.rows)} devices" + (
        f" of {view.known}" if view.known != len(view.rows) else ""
    )
    line += f": {states}" if states else ""
    if not view.linked:
        line += " · no broker: this is how it was"
    if view.missed:
        line += f" · {view.missed} changes were dropped by the broker and read again"
    return line
