"""Brokers, links and a scripted broker that answers what it is told to."""

from __future__ import annotations

import json
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
from edgeagent.testing.scripted import Script, ScriptedBroker

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


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedBroker]]:
    brokers: list[ScriptedBroker] = []

    def make(**script: Any) -> ScriptedBroker:
        brokers.append(ScriptedBroker(Script(**script)))
        return brokers[-1]

    yield make
    for one in brokers:
        one.close()


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
