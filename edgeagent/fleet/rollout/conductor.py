"""Drives the rollouts of a database: one process at a time, and any number may follow.

The process that has the seat reads what devices report, lets each `Course` take its step, writes
what came of it, and only then publishes; what was written and not published is published by
whoever comes next, because the broker is compared with the book at every connection. Nothing is
judged while there is no broker: silence then means nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec
from msgspec.structs import replace

from edgeagent.errors import Busy, EdgeAgentError, InputError
from edgeagent.fleet.census import Census, Count
from edgeagent.fleet.database import Database
from edgeagent.fleet.desired import Book, Order, Sign, as_before, base_of, compose, highest
from edgeagent.fleet.desired import with_model as wishing
from edgeagent.fleet.meeting import Meeting
from edgeagent.fleet.rollout import watching
from edgeagent.fleet.rollout.course import Course, Turn
from edgeagent.fleet.rollout.ledger import Ledger
from edgeagent.fleet.rollout.plan import Plan
from edgeagent.fleet.rollout.quality import judge
from edgeagent.fleet.rollout.standing import RETURNING, Row, ask, recall
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.roster import known as known_devices
from edgeagent.fleet.sharing import own_topics
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.port import Incoming
from edgeagent.sync.reasons import Reason
from edgeagent.update.desired import Desired, Policy, Wish

log = logging.getLogger(__name__)

SEAT = "rollout"
_TURN_S = 0.25
_LOOK_S = 1.0
"""How often the database is asked for new rollouts and wishes."""
_AGAIN_S = 60.0
"""How often the reports of devices under way are read again: a queue may have overflowed."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_UP_S = 30.0


@dataclass(frozen=True, slots=True)
class ConductSettings:
    """What a driver must know."""

    link: LinkSettings
    """Its ``client_id`` is made here."""
    prefix: str = "edgeagent"
    sign: Sign | None = None
    """None = desired states go out unsigned."""
    only: frozenset[str] = frozenset()
    """Rollouts after whose end it ends; empty = never."""
    until_idle: bool = False
    """End when no rollout is left."""


class Conductor:
    """One process that drives. `run` blocks until `stop` or the end."""

    def __init__(self, settings: ConductSettings, db: Database) -> None:
        """Raises Busy: another process drives the rollouts of this database."""
        self.db = db
        self.ledger = Ledger(db)
        self.roster = Roster(settings.prefix)
        self.count: Count | None = None
        """Of the last census."""
        self._settings = settings
        self._book = Book(db)
        self._own = own_topics(settings.prefix, settings.link)
        self._courses: dict[str, Course] = {}
        self._arrived: deque[Incoming] = deque()
        self._some = threading.Event()
        self._met = threading.Event()
        self._stopping = threading.Event()
        self._outstanding: dict[str, Order] = {}
        self._refused: list[tuple[str, str]] = []
        """Topics that the broker does not take, and why."""
        self._watched = 0.0
        self._look_at = self._again_at = 0.0
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        if not db.sit(SEAT, 0, keep=True):
            raise Busy(
                f"another process drives the rollouts of {db.name}",
                remedy="Follow it with: edgeagent fleet rollout status --watch",
            )

    def stop(self) -> None:
        """Any thread, or a signal's handler."""
        self._stopping.set()
        self._some.set()

    def run(self, seen: Callable[[Conductor], None] = lambda _it: None) -> None:
        """Drive. ``seen`` is called after each turn.

        Raises: StoreError and its kinds that waiting does not cure, Busy (the seat was lost).
        """
        known = replace(
            self._settings.link, client_id=f"{self._own.client_id}-rollout-{os.getpid()}",
            session_expiry_s=0.0, receive_maximum=1000,
        )  # fmt: skip
        link = Link(known, self._own.echo)
        link.board(Meeting(self._met))
        for pattern in self.roster.patterns():
            link.subscribe(pattern, self._take)
        link.start()
        try:
            self._drive(link, seen)
        finally:
            link.stop()

    def _drive(self, link: Link, seen: Callable[[Conductor], None]) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            try:
                if link.state == "up":
                    self._turn(link)
                    seen(self)
                    if self._over():
                        return
                pause = 0.0
            except EdgeAgentError as error:
                if error.retry != "backoff" or isinstance(error, Busy):
                    raise
                if not pause:
                    log.error("%s. %s", error, error.remedy)
                # What is in memory may have run ahead of the database.
                self._courses.clear()
                self._look_at = 0.0
                pause = min(_LONGEST_PAUSE_S, 2 * pause or _FIRST_PAUSE_S)
                self._stopping.wait(pause)
            self._some.wait(_TURN_S)
            self._some.clear()

    def _over(self) -> bool:
        only = self._settings.only
        if only:
            return not only & self._courses.keys() and all(
                self.ledger.get(id).finished for id in only
            )
        return self._settings.until_idle and not self._courses

    def _take(self, message: Incoming) -> bool:
        self._arrived.append(message)
        return True

    # --- one turn ------------------------------------------------------------------------

    def _turn(self, link: Link) -> None:
        if self._met.is_set():
            self._met.clear()
            self._recover()
        now = time.time()
        self._listen(now)
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look(now)
        if now >= self._again_at:
            self._read_again(now)
        for course in list(self._courses.values()):
            self._stand_still(course)
            self._step(course, now)
        self._refused.clear()
        self._publish(link)

    def _listen(self, now: float) -> None:
        while self._arrived:
            message = self._arrived.popleft()
            self.roster.take(message.topic, message.payload, retained=message.retain, now=now)

    def _recover(self) -> None:
        """A new connection: what was said meanwhile was missed, what was retained perhaps lost."""
        self._watched = time.time()
        self.roster.know(known_devices(self.db))
        for rollout in self.ledger.open():
            self.roster.know(row.device for row in self.ledger.rows(rollout.id))
        self._listen(self._watched)
        orders = self._book.last()
        topics = self.roster.topics(list(self.roster.devices))
        groups = [topic for topic in orders if topic.startswith(f"{self._settings.prefix}/group/")]
        found: dict[str, bytes] = {}
        with Census(self._link_settings(), self._own) as census:
            self.count = census.read([*topics, *groups], found.__setitem__)
        for topic, payload in found.items():
            self.roster.take(topic, payload, retained=True, now=self._watched)
        self._outstanding = {
            topic: order
            for topic, order in orders.items()
            if topic.startswith(f"{self._settings.prefix}/")
            and highest(None, found.get(topic), 0) < order.rev
        }
        self._again_at = time.time() + _AGAIN_S

    def _link_settings(self) -> LinkSettings:
        return replace(self._settings.link, client_id=f"{self._own.client_id}-{os.getpid()}")

    def _look(self, now: float) -> None:
        """New rollouts, wishes, and a sign of life of ours."""
        for rollout in self.ledger.open():
            course = self._courses.get(rollout.id)
            if rollout.prefix != self._settings.prefix:
                continue
            if course is None:
                rows, waves = self.ledger.rows(rollout.id), self.ledger.waves(rollout.id)
                self._courses[rollout.id] = Course(rollout, rows, waves, now)
                self.roster.know(row.device for row in rows)
            else:
                course.rollout.wish = rollout.wish
                if rollout.wish == "resume":
                    self._met.set()  # What was refused is published again.
        self.ledger.beat(self._courses, self.name)

    def _read_again(self, now: float) -> None:
        self._again_at = now + _AGAIN_S
        devices = {row.device for c in self._courses.values() for row in c.rows.values()
                   if row.standing in ("asked", "under-way", "committed")}  # fmt: skip
        topics = [
            topic
            for topic in self.roster.topics(sorted(devices))
            if topic.endswith(("/reported", "/status"))
        ]
        if topics:
            with Census(self._link_settings(), self._own) as census:
                census.read(topics, partial(self._take_again, now))

    def _take_again(self, now: float, topic: str, payload: bytes) -> None:
        self.roster.take(topic, payload, retained=True, now=now)

    # --- one rollout ---------------------------------------------------------------------

    def _step(self, course: Course, now: float) -> None:
        plan, roster = course.plan, self.roster
        if course.wants_findings(now):
            compared = watching.compare(self.db, course.rows.values(), course.rollout, now)
            course.judge([f for its in compared for f in judge(its, plan.quality)])
        turn = course.step(
            lambda row: watching.said(roster.devices[row.device], row, plan, self._watched),
            lambda device: roster.devices[device].zone,
            now,
        )
        if turn:
            with self.db.transaction():
                orders = self._orders(course, turn, now)
                self._book.put(orders)
                self.ledger.save(course.rollout, list(turn.rows.values()), turn.waves, turn.notes)
                if turn.obeyed:
                    self.ledger.taken(course.rollout)
            course.rollout.wish = "" if turn.obeyed else course.rollout.wish
            self._outstanding.update((order.topic, order) for order in orders)
            for what, text in turn.notes:
                log.info("%s: %s %s", course.rollout.id, what, text)
        if course.rollout.finished:
            del self._courses[course.rollout.id]

    def _orders(self, course: Course, turn: Turn, now: float) -> list[Order]:
        """Documents for the devices that are asked and called back; their rows say so."""
        prefix = self._settings.prefix
        topics = {row.device: f"{prefix}/{row.device}/desired" for row in (*turn.ask, *turn.recall)}
        kept = self._book.last(topics.values(), lock=True) if topics else {}
        orders = []
        for row in (*turn.ask, *turn.recall):
            row = course.rows[row.device]
            topic, device = topics[row.device], self.roster.devices[row.device]
            floor = highest(
                kept.get(topic), device.desired, device.reported.rev if device.reported else 0
            )
            trusting = self._settings.sign is None
            try:
                base = base_of(kept.get(topic), device.desired, trusting=trusting)
            except InputError as error:
                log.warning("%s: %s; it is replaced", topic, error)
                base = None
            by = f"rollout {course.rollout.id}"
            if row.recalled or row.standing != "waiting":
                order = compose(topic, base, floor, _taken_back(row, course.plan), by)
                changed = recall(row, order.rev)
            else:
                before = base.models.get(course.plan.model) if base is not None else None
                wished = msgspec.json.encode(before).decode() if before is not None else ""
                change = wishing(course.plan.model, course.plan.version, policy(course.plan))
                order = compose(topic, base, floor, change, by)
                changed = ask(row, order.rev, device.model(course.plan.model).version, wished, now)
            orders.append(order)
            course.rows[row.device] = turn.rows[row.device] = changed
        return orders

    def _publish(self, link: Link) -> None:
        for topic, order in list(self._outstanding.items()):
            payload = (
                order.body
                if self._settings.sign is None
                else (self._settings.sign(topic, order.body))
            )
            try:
                done = partial(self._published, order)
                link.publish(topic, payload, retain=True, on_done=done)
            except Busy:
                return
            del self._outstanding[topic]

    def _published(self, order: Order, reason: Reason | None) -> None:
        """On the link's thread. One that got lost is found missing at the next connection."""
        if reason is not None and reason.code >= 0x80:
            self._refused.append((order.topic, f"{reason.sentence}. {reason.advice}"))

    def _stand_still(self, course: Course) -> None:
        """Where the broker refuses what we publish, time must not run out for devices."""
        for topic, why in self._refused:
            if topic.split("/")[-2] in course.rows:
                course.halt(f"the broker does not take {topic}: {why}")
                return


def policy(plan: Plan) -> Policy:
    """How devices are told to go about it. Raises InputError."""
    told = dict(plan.policy)
    if plan.windows and "schedule" not in told:
        told["schedule"] = list(plan.windows)
    try:
        return msgspec.convert(told, Policy)
    except msgspec.ValidationError as error:
        raise InputError(f"the policy of {plan.target} can't be used: {error}") from error


def _taken_back(row: Row, plan: Plan) -> Callable[[Desired], Desired]:
    before = msgspec.json.decode(row.wished, type=Wish) if row.wished else None
    if row.standing in ("committed", "well") or row.step == RETURNING:
        # It runs the new one: only a wish for the old one brings it back.
        back = Policy(soak_s=policy(plan).soak_s, downgrade=True)
        before = Wish(row.was, back) if row.was else before
    return as_before(plan.model, before)
