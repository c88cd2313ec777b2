"""The thread that keeps up the connection to a broker.

Decisions that are not plain to see:

* **A fresh client for each connection.** The MQTT library re-sends by itself what was under
  way when a connection broke, and so does the outbox: with one client for ever, a record would
  travel twice and a message given up long ago could still arrive. So a client is thrown away
  with its connection; whoever published is told "lost" and decides. The broker keeps *our*
  session (subscriptions, commands sent meanwhile), because the client id stays the same.
* **Up means proven.** After CONNACK the topics are subscribed and a nonce is sent through the
  command topic (`handshake`). Brokers grant subscriptions that their access rules then
  starve, and MQTT 3.1.1 has no word for it.
* **One thread.** Publisher, presence and commands ride on it as passengers: no locks, and no
  hand-over of the interpreter between a thread that encodes and one that sends.
* **Received messages are acknowledged by their handlers**, not before they are safe. An ack
  never crosses into a later connection, where its packet id means another message.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from edgeagent.errors import LinkDown, UsageError
from edgeagent.sync import reasons
from edgeagent.sync.connection import Connection
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.handshake import ECHO_LOST, Handshake
from edgeagent.sync.outgoing import Outgoing
from edgeagent.sync.port import (
    Counters,
    Done,
    Handler,
    Limits,
    Message,
    Meter,
    Passenger,
    State,
    Will,
)  # fmt: skip
from edgeagent.sync.reasons import Reason
from edgeagent.sync.redial import Attempt, Redial
from edgeagent.sync.subscriptions import Subscriptions
from edgeagent.sync.wire import Dial

log = logging.getLogger(__name__)

_FAREWELL_S = 1.5
"""How long the last messages may take at a clean stop."""


class Uplink:
    """The connection to a broker, kept up by a thread of its own.

    Wire it (`subscribe`, `board`, ``will``), then `start`. Everything but the wiring may be
    called from any thread.
    """

    def __init__(self, settings: LinkSettings, echo: Callable[[str], str], dial: Dial) -> None:
        """``echo`` gives the topic that proves the connection, for a nonce; ``dial`` connects."""
        self.counters = Counters()
        self.will: Callable[[], Will] | None = None
        self._settings = settings
        self._dial = dial
        self._echo = echo
        self._outgoing = Outgoing(self.counters)
        self._subscriptions = Subscriptions(self.counters)
        self._passengers: list[Passenger] = []
        self._redial = Redial(settings)
        self._connection: Connection | None = None
        self._errands: deque[Callable[[], None]] = deque()
        self._stopping = threading.Event()
        self._once_more = False
        self._severed = False
        self._ageing: Reason | None = None
        """A certificate of ours that ends soon."""
        self._changed = threading.Condition()
        self._state: State = "down"
        self._last_error: Reason | None = None
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def __del__(self) -> None:
        os.close(self._wake_fd)

    # --- wiring

    def subscribe(self, pattern: str, handler: Handler, *, fleeting: bool = False) -> None:
        """Receive what is published on a filter at every connection; at QoS 1, or ``fleeting``
        where the broker need not keep it while we are away."""
        self._subscriptions.add(pattern, handler, fleeting=fleeting)
        self.call(lambda: self._subscribe_now(pattern))

    def unsubscribe(self, pattern: str) -> None:
        """No longer receive it (also what an earlier process subscribed in our session)."""
        self._subscriptions.remove(pattern)
        self.call(lambda: self._unsubscribe_now(pattern))

    def metered(self, meter: Meter) -> None:
        """Have what goes over the link counted. Before `start`."""
        self._outgoing.meter = self._subscriptions.meter = meter

    def board(self, passenger: Passenger) -> None:
        """Let something ride on the link's thread. Before `start`."""
        self._passengers.append(passenger)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 3.0) -> None:
        """Say goodbye and end the thread. May be called twice."""
        self._stopping.set()
        self.wake()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    # --- for everybody

    @property
    def state(self) -> State:
        return self._state

    @property
    def proven(self) -> bool:
        """It is up, and its topics bring back what is sent on them."""
        connection = self._connection
        return self._state == "up" and connection is not None and connection.handshake.proven

    @property
    def broker(self) -> str:
        """host:port of the broker that is connected, or tried now or next."""
        return self._redial.endpoint.name

    @property
    def last_error(self) -> Reason | None:
        """Why it is down, or why it was down last."""
        return self._last_error

    @property
    def limits(self) -> Limits:
        """What the broker allows; of the last connection while there is none."""
        return self._outgoing.limits

    @property
    def complaints(self) -> list[Reason]:
        """Why the link is down, or not as good as it should be; empty = all is well."""
        connection = self._connection
        if self._state != "up" or connection is None:
            return [self._last_error or reasons.DOWN]
        found = connection.handshake.complaints
        found += [reasons.TAKEN] if self._redial.rival else []
        return [*found, self._ageing] if self._ageing is not None else found

    def wait_up(self, timeout: float) -> bool:
        """Block until the link is up; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._state == "up", timeout)

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: Literal[0, 1] = 1,
        retain: bool = False,
        on_done: Done | None = None,
        *,
        content_type: str = "",
        encoding: str = "",
    ) -> None:
        """Send a message if the link is up.

        ``on_done`` is called exactly once, on the link's thread, with None or the reason why
        it was not accepted; nothing is kept for a later connection.

        Raises:
            Busy: too many messages wait already.
            UsageError: not a topic that can be published to.
        """
        if not topic or "#" in topic or "+" in topic or len(topic) > 1024:
            raise UsageError(f"{topic!r} is not a topic that can be published to")
        message = Message(topic, payload, qos, retain, on_done, content_type, encoding)
        if self._state == "up":
            self._outgoing.offer(message)
            if threading.get_ident() != self._thread.ident:
                os.eventfd_write(self._wake_fd, 1)
        else:
            self.call(lambda: message.done(reasons.DOWN))

    def sever(self, severed: bool) -> None:
        """Cut the connection and make none, until that is taken back: for drills."""
        self._severed = severed
        self.wake()

    def test(self, timeout_s: float) -> Reason | None:
        """Send our own echo once more, on the connection that holds; None = it came back.

        Any thread but the link's. Nothing else is sent, and nothing is retained.
        """
        answered = threading.Event()
        found: list[Reason | None] = [ECHO_LOST]

        def tell(reason: Reason | None) -> None:
            found[0] = reason
            answered.set()

        def ask() -> None:
            connection = self._connection
            if self._state != "up" or connection is None:
                tell(self._last_error or reasons.DOWN)
            else:
                connection.handshake.again(time.monotonic(), tell)

        self.call(ask)
        answered.wait(timeout_s)
        return found[0]

    def call(self, errand: Callable[[], None]) -> None:
        """Have something done on the link's thread, soon."""
        self._errands.append(errand)
        self.wake()

    def wake(self) -> None:
        """Let the passengers have their turn (once more) now."""
        if threading.get_ident() == self._thread.ident:
            self._once_more = True
        else:
            os.eventfd_write(self._wake_fd, 1)

    def taken_over(self) -> None:
        """Another device uses our id (seen by its messages): wait long after the next loss."""
        if not self._redial.rival:
            log.error("%s. %s", reasons.TAKEN.sentence, reasons.TAKEN.advice)
        self._redial.rival = True

    # --- the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._become("connecting")
            attempt = self._connect()
            self._lost(attempt.reason)
            if not self._stopping.is_set():
                self._rest(self._redial.pause(attempt, time.monotonic()))
        self._outgoing.abandon(reasons.STOPPED)
        self._run_errands()

    def _connect(self) -> Attempt:
        """One connection, from its first to its last byte."""
        if self._severed:
            return Attempt(reasons.SEVERED, reached=False, answered=False, up_s=None)
        endpoint, five = self._redial.next(time.monotonic())
        wire = self._dial(self._settings, endpoint, five, self.will, self._wake_fd)
        if isinstance(wire, Reason):
            return Attempt(wire, reached=False, answered=False, up_s=None)
        handshake = Handshake(
            self._subscriptions, self._outgoing, self._echo,
            answer_s=self._settings.answer_s, now=time.monotonic(),
        )  # fmt: skip
        connection = self._connection = Connection(
            wire, handshake, self._outgoing, self._subscriptions, self.call
        )
        try:
            reason = self._ride(connection, endpoint)
        except LinkDown:
            reason = reasons.LOST
        except Exception as error:
            # A passenger's bug: the thread goes on with a new connection, after a pause.
            log.exception("the link's thread met an error")
            reason = Reason("payload", f"internal error: {error!r}", "Please report it.")
        finally:
            self._connection = None
            wire.close()
        since = connection.up_since
        up_s = None if since is None else time.monotonic() - since
        return Attempt(reason, True, handshake.phase != "connack", up_s)

    def _ride(self, connection: Connection, endpoint: Endpoint) -> Reason:
        due, files_due, stamp = 0.0, 0.0, endpoint.stamp()
        while True:
            end = connection.turn(min(due, files_due))
            if end is not None:
                return end
            self._run_errands()
            now = time.monotonic()
            if connection.handshake.phase == "up":
                if connection.up_since is None:
                    connection.up_since = now
                    self._arrived(connection, endpoint)
                self._once_more = False
                due = min((p.turn(now) for p in self._passengers), default=now + 1.0)
                due = now if self._once_more else due
            else:
                due = now + 1.0
            if self._severed:
                return reasons.SEVERED
            if self._stopping.is_set():
                return self._leave(connection)
            if now >= files_due:
                files_due = now + self._settings.files_every_s
                self._ageing = reasons.of_certificate(endpoint.ending())
                if endpoint.stamp() != stamp:
                    return reasons.RENEWED
            connection.flush()
            if connection.up_since is None and connection.handshake.phase == "up":
                due = now

    def _arrived(self, connection: Connection, endpoint: Endpoint) -> None:
        self.counters.connects += 1
        log.info("connected to %s (MQTT %s)", endpoint.name, self.limits.protocol)
        for complaint in connection.handshake.complaints:
            log.warning(
                "%s. %s",
                complaint.sentence,
                complaint.advice,
                extra={"code": f"link-{complaint.kind}"},
            )
        self._become("up")
        for passenger in self._passengers:
            passenger.connected()

    def _leave(self, connection: Connection) -> Reason:
        """The last messages, and a short while for their acknowledgements."""
        if self._state != "up":
            return reasons.STOPPED
        for passenger in self._passengers:
            passenger.farewell()
        deadline = time.monotonic() + _FAREWELL_S
        while (now := time.monotonic()) < deadline:
            for passenger in self._passengers:
                passenger.turn(now)
            if connection.flush():
                break
            end = connection.turn(now + 0.1)
            if end is not None:
                return end
        return reasons.STOPPED

    def _lost(self, reason: Reason) -> None:
        was_up = self._state == "up"
        news = self._last_error is None or self._last_error.kind != reason.kind
        if reason is not reasons.STOPPED and (was_up or news):
            log.warning(
                "no link: %s. %s", reason.sentence, reason.advice,
                extra={"code": f"link-{reason.kind}"},
            )  # fmt: skip
        self._last_error = reason
        self._become("down")
        self._outgoing.abandon(reason)
        if was_up:
            self.counters.losses += 1
            for passenger in self._passengers:
                passenger.disconnected(reason)

    def _rest(self, pause: float) -> None:
        poller = select.poll()
        poller.register(self._wake_fd, select.POLLIN)
        until = time.monotonic() + pause
        while not self._stopping.is_set():
            self._outgoing.abandon(reasons.DOWN)
            self._run_errands()
            left = until - time.monotonic()
            if left <= 0:
                return
            if poller.poll(left * 1000 + 1):
                drain(self._wake_fd)

    def _become(self, state: State) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def _run_errands(self) -> None:
        while self._errands:
            self._errands.popleft()()

    def _subscribe_now(self, pattern: str) -> None:
        # Before CONNACK there is no need: the handshake asks for all that is wanted then.
        if self._connection is not None and self._connection.handshake.phase != "connack":
            self._connection.handshake.subscribe((pattern,), self._connection.wire)

    def _unsubscribe_now(self, pattern: str) -> None:
        if self._connection is not None and self._connection.handshake.phase != "connack":
            self._connection.handshake.unsubscribe(pattern, self._connection.wire)


def drain(fd: int) -> None:
    """Forget the wake-ups of an eventfd."""
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        pass
