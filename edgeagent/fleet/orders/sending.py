"""Sends an order, follows what becomes of it, and clears what is done.

The broker holds an order until its device comes. The requester says it again at each connection
and now and then, until the device has answered: a broker may have forgotten. Answers come by a
subscription; those that are missing are asked for by their exact names as well, because a broker
lets go of what does not fit into our queue, and RabbitMQ gives nothing retained to wildcards.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterator
from functools import partial

from msgspec.structs import replace

from edgeagent.errors import Busy, LinkDown, NotPermitted
from edgeagent.fleet.census import read_everywhere
from edgeagent.fleet.meeting import Meeting, meet
from edgeagent.fleet.orders.order import Order, Seal
from edgeagent.fleet.orders.tally import Tally
from edgeagent.fleet.orders.targets import Targets
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.sharing import own_topics
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.port import Incoming
from edgeagent.sync.reasons import Reason

log = logging.getLogger(__name__)

_UP_S = 30.0
_TAKEN_S = 60.0
_GONE_S = 3.0
_TURN_S = 0.2
_FIRST_AGAIN_S = 5.0
_LONGEST_AGAIN_S = 60.0
"""Between two looks for answers that did not come; what is unanswered is said again then."""


class Posting:
    """Retained messages that are to be taken by the broker, as many at a time as it likes."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._waiting: dict[str, bytes] = {}
        self._under_way = 0
        self.refused: dict[str, Reason] = {}

    def put(self, topic: str, payload: bytes) -> None:
        with self._lock:
            self._waiting[topic] = payload

    @property
    def empty(self) -> bool:
        with self._lock:
            return not self._waiting and not self._under_way

    def turn(self) -> None:
        """Hand over what may be handed over now."""
        while self._link.state == "up":
            with self._lock:
                if not self._waiting:
                    return
                topic, payload = self._waiting.popitem()
                self._under_way += 1
            try:
                self._link.publish(
                    topic, payload, retain=True, on_done=partial(self._done, topic, payload)
                )
            except Busy:
                self._done(topic, payload, None, again=True)
                return

    def _done(
        self, topic: str, payload: bytes, reason: Reason | None, *, again: bool = False
    ) -> None:
        with self._lock:
            self._under_way -= 1
            if reason is not None and reason.code >= 0x80:
                self.refused[topic] = reason
            elif again or reason is not None:
                self._waiting.setdefault(topic, payload)


class Sending:
    """One order and its answers; use it as a context. Raises LinkDown."""

    def __init__(
        self, link: LinkSettings, prefix: str, order: Order, targets: Targets,
        seal: Seal | None = None,
    ) -> None:  # fmt: skip
        self.order, self.targets = order, targets
        self.tally = Tally(targets.ids, [its.id for its in targets.devices if its.online])
        self._settings, self._prefix, self._seal = link, prefix, seal
        self._own = own_topics(prefix, link)
        self._roster = Roster(prefix)
        self._arrived: deque[Incoming] = deque()
        self._some, self._met = threading.Event(), threading.Event()
        known = replace(
            link, client_id=f"{self._own.client_id}-order-{os.getpid()}", session_expiry_s=0.0,
            receive_maximum=65535,
        )  # fmt: skip
        self._link = Link(known, self._own.echo)
        self._posting = Posting(self._link)
        self._pause_s = _FIRST_AGAIN_S
        self._again_at = time.monotonic() + _FIRST_AGAIN_S

    def __enter__(self) -> Sending:
        self._link.board(Meeting(self._met))
        for pattern in self._patterns():
            self._link.subscribe(pattern, self._take)
        meet(self._link, _UP_S)
        self._met.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def publish(self) -> None:
        """Until the broker has taken it. Raises LinkDown, NotPermitted."""
        self._say()
        self._until_taken()

    def follow(
        self, timeout_s: float, seen: Callable[[Tally], None] = lambda _tally: None, *,
        asking: bool = True,
    ) -> Tally:  # fmt: skip
        """Until every device has ended, or time is up. With ``asking`` what nobody answers is
        said again."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self._met.is_set():  # A new connection: what was said meanwhile was missed.
                self._met.clear()
                self._again_at = 0.0
            self._listen()
            seen(self.tally)
            now = time.monotonic()
            if not self.tally.open or now >= deadline:
                return self.tally
            if now >= self._again_at and self._link.state == "up":
                self._again(asking=asking)
            self._posting.turn()
            self._some.wait(min(_TURN_S, max(0.0, deadline - now)))
            self._some.clear()

    def look(self) -> set[str]:
        """Take what is answered by now; topics at which the broker has nothing (any more)."""
        gone = self._ask()
        self._listen()
        return gone & self._topics().keys()

    def clear(self) -> None:
        """Take the answers away once all have ended: a device never publishes them again. Until
        then they stay, for whoever looks later. Raises LinkDown, NotPermitted."""
        if not self.tally.open:
            self.withdraw()

    def withdraw(self) -> None:
        """Take everything away, however far it is; what waits in a device's own session at the
        broker still comes to it, until it expires. Raises LinkDown, NotPermitted."""
        for device in self.tally.answers:
            self._posting.put(self.order.own_topic(self._prefix, device), b"")
        if self.targets.group:
            self._posting.put(self.order.group_topic(self._prefix, self.targets.group), b"")
        self._until_taken()

    # --- within

    def _patterns(self) -> Iterator[str]:
        if len(self.targets.ids) == 1:
            yield self.order.own_topic(self._prefix, self.targets.ids[0])
            yield f"{self._prefix}/{self.targets.ids[0]}/status"
            return
        yield f"{self._prefix}/+/cmd/{self.order.type}/{self.order.id}"
        yield f"{self._prefix}/+/status"

    def _take(self, message: Incoming) -> bool:
        self._arrived.append(message)
        self._some.set()
        return True

    def _listen(self) -> None:
        while self._arrived:
            message = self._arrived.popleft()
            device, _, rest = message.topic[len(self._prefix) + 1 :].partition("/")
            if rest == "status":
                self._roster.take(message.topic, message.payload, retained=False, now=time.time())
                self.tally.seen(device, online=self._roster.devices[device].online)
            elif device in self.tally.answers or self.targets.group:
                self.tally.take(device, message.payload)

    def _say(self, only: Container[str] | None = None) -> None:
        """To all that have not answered; ``only`` on these topics."""
        for topic, to in self._topics().items():
            if only is None or topic in only:
                self._posting.put(topic, self.order.payload(self._seal, **to))

    def _topics(self) -> dict[str, dict[str, str]]:
        """Where the order is to lie now, and for whom."""
        if self.targets.group:
            topic = self.order.group_topic(self._prefix, self.targets.group)
            return {topic: {"group": self.targets.group}}
        return {
            self.order.own_topic(self._prefix, device): {"device": device}
            for device in self.tally.silent
        }

    def _again(self, *, asking: bool) -> None:
        self._pause_s = min(_LONGEST_AGAIN_S, 2 * self._pause_s)
        lost: set[str] = set()
        try:
            lost = self._ask()
        except LinkDown as error:
            log.info("the broker can't be asked now: %s", error)  # It is asked when it is back.
        if asking:
            # What the broker forgot, and what devices that are there have not heard: they may have
            # come back to a broker that gives nothing retained to wildcards. To say the rest again
            # would fill the sessions of devices that are away.
            self._say(lost | self._unheard())
        self._again_at = time.monotonic() + self._pause_s

    def _unheard(self) -> set[str]:
        """Topics of the order to which devices that are connected have said nothing."""
        silent = set(self.tally.silent_there)
        if not silent:
            return set()
        return {
            topic for topic, to in self._topics().items()
            if "group" in to or to["device"] in silent
        }  # fmt: skip

    def _ask(self) -> set[str]:
        """Take what is answered; topics of the order that the broker has forgotten."""
        brief = replace(self._settings, client_id=f"{self._own.client_id}-asks-{os.getpid()}")
        answers = {self.order.own_topic(self._prefix, its): its for its in self.tally.open}
        asked = self._topics()
        there: set[str] = set()

        def take(topic: str, payload: bytes) -> None:
            there.add(topic)
            if topic in answers:
                self.tally.take(answers[topic], payload)

        read_everywhere(brief, self._own, _GONE_S, answers | asked, take)
        return asked.keys() - there

    def _until_taken(self) -> None:
        deadline = time.monotonic() + _TAKEN_S
        while not self._posting.empty:
            self._posting.turn()
            if time.monotonic() > deadline:
                raise LinkDown(
                    f"the broker did not take it: {self._link.last_error or 'no answer'}"
                )
            self._some.wait(0.01)
            self._some.clear()
        if self._posting.refused:
            topic, reason = next(iter(self._posting.refused.items()))
            raise NotPermitted(f"{topic} was not taken: {reason.sentence}", remedy=reason.advice)
