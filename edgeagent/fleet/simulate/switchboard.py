"""Hundreds of connections on one thread, each that of one device."""

from __future__ import annotations

import logging
import os
import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from edgeagent.fleet.simulate import packets
from edgeagent.sync.endpoint import Endpoint

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
_ANSWER_S = 20.0
_AT_ONCE = 50
"""Connections that are being made at a time: a listen queue is short."""


class Subscriber(Protocol):
    """A device, as its connection sees it. All calls come on the switchboard's thread."""

    client_id: str

    def will(self) -> tuple[str, bytes]: ...
    def topics(self) -> list[str]: ...

    def up(self) -> None:
        """Connected and subscribed."""

    def down(self) -> None: ...

    def came(self, topic: str, payload: bytes, *, retained: bool) -> None: ...


class Line:
    """One device's connection. `publish` may be called from any thread."""

    def __init__(self, board: Switchboard, device: Subscriber, turn: int) -> None:
        self.device = device
        self.tried = turn
        """Times that it was dialled: which of several brokers is next."""
        self.muted = False
        """It is not to connect any more."""
        self._board = board
        self._socket: socket.socket | None = None
        self._in, self._out = bytearray(), bytearray()
        self._waiting: deque[tuple[str, bytes, int, bool, Callable[[], None] | None]] = deque()
        self._acks: dict[int, Callable[[], None]] = {}
        self._id = 0
        self._phase = "down"
        self.due = 0.0
        """When something must be done if nothing comes (monotonic)."""

    @property
    def is_up(self) -> bool:
        return self._phase == "up"

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False,
        acked: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """Send it if the connection is up; else it is forgotten, as `Subscriber.up` says all
        anew. ``acked`` is called on the switchboard's thread."""
        self._waiting.append((topic, payload, qos, retain, acked))
        self._board.wake(self)

    # --- the switchboard's calls

    def dial(self, endpoint: Endpoint, login: tuple[str, str], now: float) -> None:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.connect_ex((endpoint.host, endpoint.port))
        self._socket, self._phase, self.due = made, "dialling", now + _ANSWER_S
        self._in.clear()
        will = self.device.will()
        self._out = bytearray(packets.connect(self.device.client_id, will, KEEPALIVE_S, login))
        self._board.watch(made, self, write=True)

    def ready(self, events: int, now: float) -> None:
        try:
            if events & selectors.EVENT_READ:
                assert self._socket is not None
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionResetError("closed by the broker")
                self._in += data
                for packet in packets.take(self._in):
                    self._took(packet, now)
            self.flush()
        except BlockingIOError:
            pass
        except (OSError, ValueError) as error:
            self.drop(str(error), now)

    def _took(self, packet: packets.Packet, now: float) -> None:
        self.due = now + KEEPALIVE_S / 2
        if packet.kind == packets.CONNACK:
            if packet.id:
                raise ConnectionRefusedError(f"refused with code {packet.id}")
            self._phase = "subscribing"
            self._out += packets.subscribe(self._next(), self.device.topics())
        elif packet.kind == packets.SUBACK:
            if packet.refused:  # A cluster does that while it elects a leader.
                raise ConnectionRefusedError("a topic was refused")
            self._phase = "up"
            self._waiting.clear()
            self._acks.clear()
            self._board.arrived(self)
            self.device.up()
        elif packet.kind == packets.PUBLISH:
            if packet.id:
                self._out += packets.puback(packet.id)
            self.device.came(packet.topic, packet.payload, retained=packet.retained)
        elif packet.kind == packets.PUBACK and packet.id in self._acks:
            self._acks.pop(packet.id)()

    def flush(self) -> None:
        while self._waiting and self._phase == "up":
            topic, payload, qos, retain, acked = self._waiting.popleft()
            id = self._next() if qos else 0
            if acked is not None:
                self._acks[id] = acked
            self._out += packets.publish(topic, payload, id, retain=retain)
        if self._socket is None:
            return
        try:
            while self._out:
                sent = self._socket.send(self._out[:262144])
                del self._out[:sent]
        except BlockingIOError:
            pass
        self._board.watch(self._socket, self, write=bool(self._out))

    def turn(self, now: float) -> None:
        """Nothing came for a while."""
        if self._phase == "up":
            self.due = now + KEEPALIVE_S / 2
            self._out += packets.PING
            self.flush()
        else:
            self.drop("no answer", now)

    def drop(self, why: str, now: float) -> None:
        """Let go without a goodbye: the broker publishes the will."""
        if self._socket is not None:
            self._board.forget(self._socket)
            self._socket.close()
            self._socket = None
        if self._phase == "up":
            log.info("%s: %s", self.device.client_id, why)
            self.device.down()
        self._board.left(self)
        self.tried += 1
        self._phase, self.due = "down", now + random.uniform(0.5, 3.0)

    def _next(self) -> int:
        self._id = self._id % 65535 + 1
        return self._id


class Switchboard:
    """Carries lines until told to stop."""

    def __init__(self, *endpoints: Endpoint) -> None:
        """Several are nodes of one cluster: lines are dealt out among them, and one whose node does
        not answer goes to the next."""
        self._endpoints = endpoints
        endpoint = endpoints[0]
        self._login = (endpoint.username, endpoint.password() or "")
        self._selector = selectors.DefaultSelector()
        self._lines: list[Line] = []
        self._woken: deque[Line] = deque()
        self._dialling: set[Line] = set()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        self._look_at = 0.0
        self.stopping = False

    def add(self, device: Subscriber) -> Line:
        self._lines.append(Line(self, device, len(self._lines)))
        return self._lines[-1]

    @property
    def up(self) -> int:
        return sum(line.is_up for line in self._lines)

    def run(self, turn: Callable[[float], None]) -> None:
        """``turn`` is called about ten times a second."""
        while not self.stopping:
            now = time.monotonic()
            for key, events in self._selector.select(0.1):
                if key.data is None:
                    os.eventfd_read(self._wake_fd)
                else:
                    key.data.ready(events, now)
            while self._woken:
                self._flush(self._woken.popleft(), now)
            if now >= self._look_at:
                self._look_at = now + 0.1
                self._look(now)
                turn(now)
        for line in self._lines:
            line.drop("stopped", time.monotonic())
        self._selector.close()
        os.close(self._wake_fd)

    def _look(self, now: float) -> None:
        for line in self._lines:
            if now < line.due or line.muted:
                continue
            if line._phase != "down":
                line.turn(now)
            elif len(self._dialling) < _AT_ONCE:
                self._dialling.add(line)
                line.dial(self._endpoints[line.tried % len(self._endpoints)], self._login, now)

    def _flush(self, line: Line, now: float) -> None:
        try:
            line.flush()
        except OSError as error:
            line.drop(str(error), now)

    # --- for lines

    def wake(self, line: Line) -> None:
        """Any thread."""
        self._woken.append(line)
        if not self.stopping:
            os.eventfd_write(self._wake_fd, 1)

    def watch(self, sock: socket.socket, line: Line, *, write: bool) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        known = self._selector.get_map().get(sock.fileno())
        if known is None:
            self._selector.register(sock, events, line)
        elif known.events != events:
            self._selector.modify(sock, events, line)

    def forget(self, sock: socket.socket) -> None:
        if sock.fileno() in self._selector.get_map():
            self._selector.unregister(sock)

    def arrived(self, line: Line) -> None:
        self._dialling.discard(line)

    left = arrived
