"""A collector: takes what devices send off the broker, into the database, and confirms it.

A message is acknowledged to the broker once its transaction is committed, and confirmed to its
device after that; so a collector can be killed at any instant. Several may run at once: they
share the subscriptions where the broker is proven to do that, else each takes a partition of
the devices. The link has a thread of its own; everything else happens in the caller's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from edgeagent.errors import Busy, EdgeAgentError, InputError
from edgeagent.fleet.archive import Archive, Group, Part, Refused, Written
from edgeagent.fleet.batches import Arrival
from edgeagent.fleet.confirms import Confirms, Due
from edgeagent.fleet.database import Database, open_database
from edgeagent.fleet.intake import Intake, Partition, Taken
from edgeagent.fleet.meeting import Meeting
from edgeagent.fleet.pooled import Standing
from edgeagent.fleet.retention import Retention
from edgeagent.fleet.seats import Seats
from edgeagent.fleet.sharing import SharedLink, own_topics, proven
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.reasons import Reason
from edgeagent.sync.topics import Topics

log = logging.getLogger(__name__)

_TURN_S = 0.25
"""How often confirms are looked for while nothing comes."""
_ORPHANS_S = 5.0
"""How often places of dead processes are looked for."""
_QUIET_S = 3.0
"""A session from which nothing comes for so long is empty."""
_WINDOW = 1000
"""Messages that may be under way to us, where the broker allows it."""
_SAY_S = 60.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """What a collector must know. Durations in seconds."""

    database: str
    link: LinkSettings
    """Its ``client_id`` is made here."""
    prefix: str = "edgeagent"
    """A database holds the devices of one prefix."""
    name: str = "main"
    """As devices name it in ``sync.collectors``."""
    partition: Partition | None = None
    """None = share the subscriptions where the broker does that."""
    keep_s: float = 0.0
    """Records and evidence are deleted after this; 0 = never."""
    group_messages: int = 100
    linger_s: float = 0.02
    """How long a message waits for others to be committed with it."""
    to_label: Path | None = None
    """Folder of samples that devices sent to be labelled (`pooled`)."""
    idle_s: float = 0.0
    """End when nothing has come for so long; 0 = never."""


@dataclass(slots=True)
class Figures:
    """Since the start."""

    records: int = 0
    duplicates: int = 0
    messages: int = 0
    evidence: int = 0
    refused: int = 0
    confirms: int = 0
    commits: int = 0


@dataclass(slots=True)
class _Trouble:
    """Tells of a loss once, and of the recovery once."""

    pause_s: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def met(self, error: EdgeAgentError) -> float:
        """How long to wait before the next try."""
        if not self.pause_s:
            self.since = time.monotonic()
            log.error("%s. %s", error, error.remedy)
        self.pause_s = min(_LONGEST_PAUSE_S, 2 * self.pause_s or _FIRST_PAUSE_S)
        return self.pause_s

    def over(self) -> None:
        if self.pause_s:
            log.warning("the database is back after %.1f s", time.monotonic() - self.since)
            self.pause_s = 0.0


class Collector:
    """One process of a collector. `run` blocks until `stop`."""

    def __init__(self, settings: CollectSettings, db: Database | None = None) -> None:
        """Raises what `open_database` does, and Busy where 64 run already."""
        self.settings = settings
        self.figures = Figures()
        self.db = db or open_database(settings.database)
        self._partition = settings.partition or Partition()
        self._seats = Seats(self.db, f"{settings.name}{self._partition.suffix}")
        self._archive = Archive(self.db)
        self._confirms = Confirms(self._archive, settings.name)
        self._retention = Retention(self.db, settings.keep_s)
        folder = settings.to_label
        self._standing = Standing(self.db, folder) if folder is not None else None
        self._intake = Intake(settings.prefix, self._partition)
        self._own = own_topics(settings.prefix, settings.link)
        self._stopping = threading.Event()
        self._trouble = _Trouble()
        self._sharing = False
        self._said = 0
        self._say_at = time.monotonic() + _SAY_S
        self._adopted: Adoptions | None = None
        self._met = threading.Event()
        """The link has come up since confirms were looked for last."""

    def stop(self) -> None:
        """Any thread, or a signal's handler."""
        self._stopping.set()

    def run(self, started: Callable[[str], None] = lambda _how: None) -> Figures:
        """Collect until stopped (or idle). ``started`` is told in words how.

        Raises: StoreError and its kinds that waiting does not cure, Busy (the place of this
        process was taken while the database was away).
        """
        self._sharing = self._shares(started)
        link = self._link(self._seats.own)
        link.board(Meeting(self._met))
        self._intake.wire(link)
        link.start()
        if self._sharing:
            self._adopted = Adoptions(self._seats, self._adopt)
        try:
            self._collect(link)
            self._patiently(partial(self._take_leave, link))
            if self._standing is not None:
                self._patiently(self._standing.write)
        finally:
            if self._adopted is not None:
                self._adopted.drop()
            link.stop()
            self.db.close()
        return self.figures

    def _shares(self, started: Callable[[str], None]) -> bool:
        if self.settings.partition is not None:
            started(f"partition {self._partition.number}/{self._partition.count}")
            return False
        brief = replace(self.settings.link, client_id=self._client_id(self._seats.own))
        proof = self._own.command("proof", f"{self.settings.name[:32]}-{self._seats.own}")
        sharing = proven(brief, self._own.confirm, proof, self._stopping.is_set)
        if sharing:
            started(f"place {self._seats.own} among those that share the subscriptions")
        elif not self._stopping.is_set():
            started("alone: this broker does not share subscriptions (see --partition)")
        return sharing

    def _client_id(self, seat: int) -> str:
        own = f"collector-{self.settings.name[:32]}{self._partition.suffix}-{seat}"
        return Topics(self.settings.prefix, own).client_id

    def _link(self, seat: int, *, leaving: bool = False) -> SharedLink:
        known = replace(
            self.settings.link, client_id=self._client_id(seat), receive_maximum=_WINDOW
        )
        return SharedLink(
            known, self._own.confirm, group=f"edgeagent-{self.settings.name}",
            split=self._intake.split, sharing=self._sharing, leaving=leaving,
        )  # fmt: skip

    def _adopt(self, seat: int) -> SharedLink:
        """A link that empties the session of a process that is gone."""
        log.info("emptying the session of place %d, whose process is gone", seat)
        link = self._link(seat, leaving=True)
        self._intake.wire(link)
        link.start()
        return link

    def _collect(self, link: SharedLink) -> None:
        last_heard, confirm_at = time.monotonic(), 0.0
        while not self._stopping.is_set():
            taken = self._intake.take(
                _TURN_S, linger_s=self.settings.linger_s, most=self.settings.group_messages
            )
            now = time.monotonic()
            if taken.messages:
                last_heard = now
                # Stopped while the database is away: the broker has them still.
                self._patiently(partial(self._write, taken))
            elif self.settings.idle_s and now - last_heard >= self.settings.idle_s:
                self._stopping.set()
            if link.state == "up" and (now >= confirm_at or self._stopping.is_set()):
                confirm_at = now + _TURN_S
                self._patiently(partial(self._confirm, link))
            if self._seats.own == 0:
                self._patiently(self._retention.turn)
                if self._standing is not None:
                    self._patiently(partial(self._standing.turn, self.figures.evidence))
            self._say(now)
            if self._adopted is not None:
                self._patiently(self._adopted.turn)

    def _say(self, now: float) -> None:
        """What came of it, now and then."""
        if now >= self._say_at:
            self._say_at = now + _SAY_S
            figures = self.figures
            if figures.records != self._said:
                self._said = figures.records
                log.info("%d records, %d duplicates", figures.records, figures.duplicates)

    def _take_leave(self, link: SharedLink) -> None:
        """Others go on: nothing must be queued for this place any more."""
        if not self._sharing or link.state != "up" or self._seats.alone():
            return
        for pattern in self._intake.split:
            link.unsubscribe(pattern)
        while (taken := self._intake.take(_TURN_S, linger_s=0.0, most=1000)).messages:
            self._write(taken)
        self._seats.leave(self._seats.own)

    # --- with the database ---------------------------------------------------------------

    def _patiently(self, work: Callable[[], object]) -> bool:
        """Do it, however long the database is away. False = told to stop meanwhile."""
        while True:
            try:
                work()
                self._trouble.over()
                return True
            except Busy:
                raise
            except EdgeAgentError as error:
                if error.retry != "backoff":
                    raise
                if self._adopted is not None:
                    self._adopted.drop()  # Places are held by the connection that is gone.
                if self._stopping.wait(self._trouble.met(error)):
                    return False

    def _write(self, taken: Taken) -> None:
        if taken.group:
            try:
                self._count(self._archive.write(taken.group), taken.group)
            except InputError:
                self._write_singly(taken.group)
        taken.ack()
        self.figures.messages += len(taken.messages)

    def _write_singly(self, group: Group) -> None:
        """The database does not take something in it: find out what, keep the rest."""
        parts: list[Part] = [*group.arrivals, *group.pieces, *group.heard, *group.refused]
        for part in parts:
            alone = Group()
            alone.add(part)
            try:
                self._count(self._archive.write(alone), alone)
            except InputError as error:
                log.error("%s", error)
                if isinstance(part, Arrival):
                    body = "\n".join(row.body for row in part.rows).encode()
                    told = Refused(f"{part.device} {part.epoch}", str(error), body)
                    self._archive.write(Group(refused=[told]))
                    self.figures.refused += 1

    def _count(self, written: Written, group: Group) -> None:
        figures = self.figures
        figures.commits += 1
        figures.records += written.records
        figures.duplicates += written.duplicates
        figures.evidence += written.evidence
        figures.refused += len(group.refused) + sum(len(a.refused) for a in group.arrivals)

    def _confirm(self, link: SharedLink) -> None:
        if self._met.is_set():
            self._confirms.connected()
            self._met.clear()
        for due in self._confirms.due():
            topic = Topics(self.settings.prefix, due.device).confirm(self.settings.name)
            try:
                link.publish(topic, due.payload, retain=True, on_done=partial(self._confirmed, due))
            except Busy:
                return  # The network is slow: what is not told now is due again.

    def _confirmed(self, due: Due, reason: Reason | None) -> None:
        if reason is None:
            self._confirms.accepted(due)
            self.figures.confirms += 1


class Adoptions:
    """Sessions of processes that are gone, being emptied."""

    def __init__(self, seats: Seats, adopt: Callable[[int], SharedLink]) -> None:
        self._seats = seats
        self._adopt = adopt
        self._links: dict[int, tuple[SharedLink, int, float]] = {}
        """Place → link, messages received, since when no more."""
        self._due = time.monotonic() + _ORPHANS_S

    def turn(self) -> None:
        """Look for orphans, and see who is empty. Raises what `Database` does."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _ORPHANS_S
            for seat in self._seats.orphans():
                if seat not in self._links:
                    self._links[seat] = (self._adopt(seat), -1, now)
        for seat, (link, received, since) in list(self._links.items()):
            count = link.counters.messages_received
            if count != received or link.state != "up":
                self._links[seat] = (link, count, now)
            elif now - since > _QUIET_S:
                link.stop()
                del self._links[seat]
                self._seats.leave(seat)

    def drop(self) -> None:
        """Leave them as they are, for whoever comes."""
        while self._links:
            self._links.popitem()[1][0].stop()
