"""Brokers, links and a scripted broker that answers what it is told to."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgeagent.errors import NotFound
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.blobs import Blobs
from edgeagent.sync.budget import Budget
from edgeagent.sync.commands import Commands, Registry
from edgeagent.sync.confirms import Confirms
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.judgement import Rules
from edgeagent.sync.link import Link
from edgeagent.sync.mqtt_commands import MqttCommands
from edgeagent.sync.presence import Identity, Presence
from edgeagent.sync.publisher import Publisher, PublisherSettings
from edgeagent.sync.shelf import Shelf
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto, find_mosquitto

QUICK = dict.fromkeys(RANGES, (0.02, 0.2))
"""Pauses between connections for tests that are not about them."""


def eventually(condition: Callable[[], Any], timeout: float = 5.0) -> Any:
    """Wait for something that another thread or process brings about."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.005)
    return found


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually


@pytest.fixture(scope="session")
def mosquitto_installed() -> None:
    try:
        find_mosquitto()
    except NotFound as error:
        pytest.skip(str(error))


@pytest.fixture
def broker(tmp_path: Path, mosquitto_installed: None) -> Iterator[Mosquitto]:
    running = Mosquitto(tmp_path / "broker")
    running.start()
    yield running
    running.kill()


@pytest.fixture
def topics(request: pytest.FixtureRequest) -> Topics:
    return Topics("edgeagent", "d1")


@pytest.fixture
def make_link(topics: Topics) -> Iterator[Callable[..., Link]]:
    """A link to a port, started unless told otherwise, and stopped at the end."""
    links: list[Link] = []

    def make(
        port: int, *, start: bool = True, endpoint: Endpoint | None = None, **extra: Any
    ) -> Link:
        settings: dict[str, Any] = {"keepalive_s": 5.0, "answer_s": 2.0, "ranges": QUICK}
        where = endpoint or Endpoint("127.0.0.1", port)
        settings |= {"client_id": topics.client_id, "endpoints": (where,), **extra}
        link = Link(LinkSettings(**settings), topics.echo)
        links.append(link)
        if start:
            link.start()
        return link

    yield make
    for link in links:
        link.stop()


# --- a broker that answers as it is told ---------------------------------------------------


@dataclass
class Published:
    topic: str
    payload: bytes
    flags: int
    mid: int

    @property
    def duplicate(self) -> bool:
        return bool(self.flags & 8)


@dataclass
class Script:
    """What a `ScriptedBroker` answers. Codes are MQTT 5's, or 3.1.1's for its clients."""

    connack: Callable[[int], int] = lambda version: 0
    """Version → CONNACK code; −1 = say nothing, −2 = hang up."""
    properties: bytes = b""
    """Of the CONNACK, encoded, without the length."""
    suback: Callable[[str], int] = lambda pattern: 1
    puback: Callable[[Published], int] = lambda message: 0
    """Code; −1 = don't acknowledge, −2 = hang up."""
    echo: bool = True
    """Send a message on …/cmd/echo/… back."""


class ScriptedBroker:
    """Enough of MQTT 3.1.1 and 5 to misbehave on purpose. One thread per connection."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connects: list[int] = []
        """Protocol version of each CONNECT."""
        self.published: list[Published] = []
        self.pubacks: list[int] = []
        """Ids of messages of ours that the client acknowledged."""
        self.largest_under_way = 0
        self._under_way: set[int] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def records(self) -> list[Published]:
        return [m for m in self.published if m.topic.endswith("/records")]

    def send(self, packet: bytes) -> None:
        """Raw bytes to the newest client."""
        self._sockets[-1].sendall(packet)

    def send_publish(
        self, topic: str, payload: bytes, *, mid: int, version: int = 5, dup: bool = False
    ) -> None:
        body = _text(topic) + struct.pack("!H", mid) + (b"\x00" if version == 5 else b"") + payload
        self.send(_packet(0x32 | (8 if dup else 0), body))

    def disconnect(self, code: int) -> None:
        """A DISCONNECT of MQTT 5, then hang up."""
        self.send(_packet(0xE0, bytes([code, 0])))
        self.hang_up()

    def hang_up(self) -> None:
        self._sockets[-1].shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        stream = sock.makefile("rb")
        version = 0
        try:
            while packet := _read_packet(stream):
                kind, flags, body = packet
                if kind == 1:
                    version = body[6]
                    self.connects.append(version)
                    self._under_way.clear()
                    if not self._connack(sock, version):
                        return
                elif not self._packet(sock, kind, flags, body, version):
                    return
        except (OSError, ValueError):
            return
        finally:
            sock.close()

    def _connack(self, sock: socket.socket, version: int) -> bool:
        code = self.script.connack(version)
        if code == -2:
            return False
        if code >= 0:
            tail = _varint(len(self.script.properties)) + self.script.properties
            sock.sendall(_packet(0x20, bytes([0, code]) + (tail if version == 5 else b"")))
        return True

    def _packet(
        self, sock: socket.socket, kind: int, flags: int, body: bytes, version: int
    ) -> bool:
        if kind == 3:
            return self._publish(sock, flags, body, version)
        if kind == 4:
            self.pubacks.append(struct.unpack_from("!H", body)[0])
        elif kind == 8:
            codes = bytes(self.script.suback(pattern) for pattern in _filters(body, version))
            sock.sendall(_packet(0x90, body[:2] + (b"\x00" if version == 5 else b"") + codes))
        elif kind == 12:
            sock.sendall(b"\xd0\x00")
        return kind != 14

    def _publish(self, sock: socket.socket, flags: int, body: bytes, version: int) -> bool:
        size = struct.unpack_from("!H", body)[0]
        topic, at = body[2 : 2 + size].decode(), 2 + size
        mid = 0
        if flags & 6:
            mid, at = struct.unpack_from("!H", body, at)[0], at + 2
        if version == 5:
            length, at = _read_varint(body, at)
            at += length
        message = Published(topic, body[at:], flags, mid)
        self.published.append(message)
        self._under_way.add(mid)
        self.largest_under_way = max(self.largest_under_way, len(self._under_way))
        if "/cmd/echo/" in topic and self.script.echo:
            sock.sendall(
                _packet(0x30, _text(topic) + (b"\x00" if version == 5 else b"") + message.payload)
            )
        code = self.script.puback(message) if flags & 6 else -1
        if code == -2:
            return False
        if code >= 0:
            self._acknowledge(sock, mid, code)
        return True

    def acknowledge(self, mid: int, code: int = 0) -> None:
        self._acknowledge(self._sockets[-1], mid, code)

    def _acknowledge(self, sock: socket.socket, mid: int, code: int) -> None:
        self._under_way.discard(mid)
        sock.sendall(_packet(0x40, struct.pack("!H", mid) + (bytes([code, 0]) if code else b"")))


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedBroker]]:
    brokers: list[ScriptedBroker] = []

    def make(**script: Any) -> ScriptedBroker:
        brokers.append(ScriptedBroker(Script(**script)))
        return brokers[-1]

    yield make
    for one in brokers:
        one.close()


def _packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + _varint(len(body)) + body


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text)) + text.encode()


def _varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        digit = data[at]
        at += 1
        number |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            return number, at


def _read_packet(stream: Any) -> tuple[int, int, bytes] | None:
    head = stream.read(1)
    if not head:
        return None
    length = shift = 0
    while True:
        digit = stream.read(1)[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            break
    return head[0] >> 4, head[0] & 15, stream.read(length)


def _filters(body: bytes, version: int) -> list[str]:
    at, found = 2, []
    if version == 5:
        length, at = _read_varint(body, at)
        at += length
    while at < len(body):
        size = struct.unpack_from("!H", body, at)[0]
        found.append(body[at + 2 : at + 2 + size].decode())
        at += 3 + size
    return found


@dataclass
class Heard:
    """A passenger that keeps what it is told."""

    calls: list[str] = field(default_factory=list)

    def connected(self) -> None:
        self.calls.append("connected")

    def disconnected(self, reason: Any) -> None:
        self.calls.append(f"disconnected: {reason.kind}")

    def turn(self, now: float) -> float:
        return now + 5.0

    def farewell(self) -> None:
        self.calls.append("farewell")


@pytest.fixture
def heard() -> Heard:
    return Heard()


# --- the store -----------------------------------------------------------------------------


@pytest.fixture
def open_outbox(tmp_path: Path) -> Iterator[Callable[..., Outbox]]:
    """A real outbox in the test's folder (or a named one below it); opened again if closed."""
    opened: list[Outbox] = []

    def make(name: str = "outbox", boot: str = "b" * 32, **settings: Any) -> Outbox:
        # Settled in the account without the usual second: nothing here is about wear.
        settings = {"results_s": 0.02, **settings}
        outbox = Outbox.open(
            tmp_path / name,
            device="d1",
            settings=OutboxSettings(**settings),
            boot=boot,
            machine="m",
        )
        opened.append(outbox)
        return outbox

    yield make
    for outbox in opened:
        outbox.close()


@pytest.fixture
def outbox(open_outbox: Callable[..., Outbox]) -> Outbox:
    return open_outbox()


# --- everything together -------------------------------------------------------------------


class Station:
    """Link, shelf, presence, publisher, confirms and commands over one outbox, as the agent
    wires them."""

    def __init__(
        self,
        port: int,
        topics: Topics,
        outbox: Outbox,
        registry: Registry | None = None,
        *,
        groups: tuple[str, ...] = (),
        allow: tuple[str, ...] = ("ping", "cancel", "work"),
        identity: Identity | None = None,
        publishing: dict[str, Any] | None = None,
        budget: Budget | None = None,
        **settings: Any,
    ) -> None:
        known: dict[str, Any] = {"keepalive_s": 5.0, "answer_s": 2.0, "ranges": QUICK}
        known |= {"client_id": topics.client_id, "endpoints": (Endpoint("127.0.0.1", port),)}
        self.topics = topics
        self.outbox = outbox
        self.jobs = ThreadPoolExecutor(1)
        self.link = Link(LinkSettings(**known | settings), topics.echo)
        self.budget = budget or Budget()
        self.link.metered(self.budget)
        self.shelf = Shelf(self.link, outbox, self.budget.may)
        self.presence = Presence(
            self.link, self.shelf, outbox, topics, identity or Identity("0.1", boot="b" * 32)
        )
        self.publisher = Publisher(
            self.link, outbox,
            PublisherSettings(topics.records, topics.device, **publishing or {}), self.budget,
        )  # fmt: skip
        self.blobs = Blobs(
            self.link, outbox.blobs, topics, busy=lambda: self.publisher.busy, budget=self.budget
        )
        self.presence.watch(self.publisher)
        self.confirms = Confirms(self.link, topics, outbox, ["main"])
        self.engine = Commands(
            registry or Registry(), outbox.journal, Rules(frozenset(allow)), self.jobs.submit
        )
        self.commands = MqttCommands(self.link, self.shelf, self.engine, topics, groups)
        for passenger in (
            self.budget, self.shelf, self.presence, self.commands, self.publisher, self.blobs,
        ):  # fmt: skip
            self.link.board(passenger)
        outbox.on_commit(self.link.wake)

    def start(self) -> Station:
        self.link.start()
        assert self.link.wait_up(10), self.link.last_error
        return self

    def stop(self) -> None:
        self.link.stop()
        self.jobs.shutdown()


@pytest.fixture
def make_station(topics: Topics, outbox: Outbox) -> Iterator[Callable[..., Station]]:
    made: list[Station] = []

    def make(port: int, *, start: bool = True, own: Outbox | None = None, **extra: Any) -> Station:
        made.append(Station(port, extra.pop("topics", topics), own or outbox, **extra))
        return made[-1].start() if start else made[-1]

    yield make
    for station in made:
        station.stop()


class Reader:
    """An independent client, written with the MQTT library alone: keeps what arrives."""

    def __init__(self, port: int, pattern: str, user: tuple[str, str] | None = None) -> None:
        self.got: list[paho.MQTTMessage] = []
        ready = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        if user is not None:
            self.client.username_pw_set(*user)
        self.client.on_message = lambda c, u, m: self.got.append(m)
        self.client.on_connect = lambda c, *a: c.subscribe(pattern, 1)
        self.client.on_subscribe = lambda *a: ready.set()
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(5)

    def on(self, topic: str) -> list[paho.MQTTMessage]:
        return [m for m in list(self.got) if m.topic == topic]

    def json(self, topic: str) -> list[Any]:
        return [json.loads(m.payload) if m.payload else None for m in self.on(topic)]

    def retained(self) -> dict[str, Any]:
        """The last word on each topic but records."""
        found = [m for m in list(self.got) if not m.topic.endswith("/records")]
        return {m.topic: json.loads(m.payload) if m.payload else None for m in found}

    def publish(self, topic: str, document: Any, *, retain: bool = False) -> None:
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.client.publish(topic, payload, 1, retain).wait_for_publish(5)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def make_reader() -> Iterator[Callable[..., Reader]]:
    made: list[Reader] = []

    def make(port: int, pattern: str = "#", user: tuple[str, str] | None = None) -> Reader:
        made.append(Reader(port, pattern, user))
        return made[-1]

    yield make
    for reader in made:
        reader.close()
