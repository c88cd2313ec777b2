"""A device and a listener in this process, for tests and benchmarks of the link.

`Device` is wired as the agent wires itself, without pipelines: what it decides is said by the
test. `Listener` shares no code with it: plain paho on MQTT 3.1.1, which every broker speaks.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgeagent import clock
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.blobs import Blobs
from edgeagent.sync.budget import Budget
from edgeagent.sync.commands import Commands, Registry
from edgeagent.sync.confirms import Confirms
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.fetching import Fetching
from edgeagent.sync.judgement import Rules, Verify
from edgeagent.sync.link import Link
from edgeagent.sync.mqtt_commands import MqttCommands
from edgeagent.sync.presence import Identity, Presence
from edgeagent.sync.publisher import Publisher, PublisherSettings
from edgeagent.sync.schema import FINAL
from edgeagent.sync.shelf import Shelf
from edgeagent.sync.topics import Topics
from edgeagent.types import Draft, Evidence

QUICK = dict.fromkeys(RANGES, (0.05, 0.5))
"""Pauses between connections for tests that are not about them."""


class Device:
    """Outbox, link and all that rides on it, at MQTT port ``port`` of this machine.

    ``publishing`` are fields of `PublisherSettings`, ``link`` of `LinkSettings`; ``registry`` has
    commands beside ``ping`` and ``cancel``, and ``allow`` what others may ask.
    """

    def __init__(
        self, folder: Path, name: str, port: int, *, budget: Budget | None = None,
        publishing: dict[str, Any] | None = None, registry: Registry | None = None,
        allow: frozenset[str] = frozenset({"ping"}), groups: Sequence[str] = ("canary",),
        site: str = "", verify: Verify | None = None, **link: Any,
    ) -> None:  # fmt: skip
        self.topics = topics = Topics("edgeagent", name)
        self.box = Outbox.open(
            folder / name, device=name, settings=OutboxSettings(results_s=0.05), boot="b" * 32,
            machine="m",
        )  # fmt: skip
        known: dict[str, Any] = {"keepalive_s": 5.0, "answer_s": 5.0, "ranges": QUICK}
        where = (Endpoint("127.0.0.1", port),)
        self.link = Link(LinkSettings(topics.client_id, where, **{**known, **link}), topics.echo)
        self.jobs = ThreadPoolExecutor(1)
        budget = budget or Budget()
        self.link.metered(budget)
        shelf = Shelf(self.link, self.box, budget.may)
        identity = Identity("0.1", boot="b" * 32, site=site)
        self.presence = Presence(self.link, shelf, self.box, topics, identity)
        how = PublisherSettings(topics.records, name, **{"linger_s": 0.02, **(publishing or {})})
        self.publisher = Publisher(self.link, self.box, how, budget)
        blobs = Blobs(
            self.link, self.box.blobs, topics, busy=lambda: self.publisher.busy, budget=budget
        )
        Confirms(self.link, topics, self.box, ["main"])
        self.fetching = Fetching(self.link, topics, budget)
        self.engine = Commands(
            registry or Registry(), self.box.journal, Rules(allow), self.jobs.submit, verify
        )
        self.presence.capabilities(
            {"commands": self.engine.capabilities(), "groups": list(groups), "profile": "testing"}
        )
        self.engine.resume()
        commands = MqttCommands(self.link, shelf, self.engine, topics, groups)
        riders = (budget, shelf, self.presence, commands, self.publisher, blobs, self.fetching)
        for passenger in riders:
            self.link.board(passenger)
        self.box.on_commit(self.link.wake)

    def start(self) -> Device:
        """Connect, and wait for it."""
        self.link.start()
        assert self.link.wait_up(30), self.link.last_error
        return self

    def decide(self, count: int, *, kind: str = "event", text: str = "", **more: Any) -> list[int]:
        """Append and commit; the seqs."""
        drafts = [
            Draft(kind, "p", data={"phase": "new", "text": text[n:] + text[:n]}, event=f"{n}",
                  **more)
            for n in range(count)
        ]  # fmt: skip
        tickets = [self.box.append(draft) for draft in drafts]
        assert self.box.flush(30)
        return [ticket.wait(5) or 0 for ticket in tickets]

    def picture(self, data: bytes) -> None:
        """An event with evidence."""
        self.decide(1, evidence=(Evidence("image/jpeg", data),))

    def drained(self) -> bool:
        """Whether nothing is pending; the account must hold in any case."""
        self.box.flush(5)
        stats = self.box.stats()
        assert stats.produced == stats.delivered + stats.pending + sum(stats.dropped.values())
        return not stats.pending

    def stop(self) -> None:
        self.link.stop()
        self.jobs.shutdown()
        self.box.close()


class Listener:
    """Plain paho on MQTT 3.1.1, which every broker speaks; subscribes by exact names."""

    def __init__(self, port: int, *topics: str) -> None:
        self._arrived = threading.Condition()
        self.got: list[tuple[str, bytes, bool]] = []
        subscribed = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe([(t, 1) for t in topics])
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = self._take
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(30)

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        with self._arrived:
            self.got.append((message.topic, message.payload, message.retain))
            self._arrived.notify_all()

    def until(self, condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        """Wait for what arrives here, or for what the device comes to know of it."""
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while not (value := condition()):
                assert time.monotonic() < deadline, f"not in time; {len(self.got)} messages came"
                self._arrived.wait(0.05)
        return value

    def on(self, topic: str) -> list[bytes]:
        """Payloads on a topic, in the order of arrival."""
        return [payload for name, payload, _ in list(self.got) if name == topic]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, 1, retain).wait_for_publish(30)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Desk(Listener):
    """Who gives a device orders, and hears all that it publishes."""

    def __init__(self, port: int, device: str, prefix: str = "edgeagent") -> None:
        self._device = f"{prefix}/{device}"
        super().__init__(port, f"{self._device}/#")

    def give(self, type: str, id: str, **arguments: Any) -> str:
        """Publish an order; the topic at which it is answered."""
        topic = f"{self._device}/cmd/{type}/{id}"
        order = {"by": "desk", "at": clock.rfc3339(clock.wall_ns()), **arguments}
        self.publish(topic, json.dumps({"status": "init", **order}).encode(), retain=True)
        return topic

    def ask(self, type: str, id: str, **arguments: Any) -> dict[str, Any]:
        """Publish an order and wait for its last status."""
        topic = self.give(type, id, **arguments)

        def last() -> dict[str, Any] | None:
            said = [json.loads(payload) for payload in self.on(topic) if payload]
            return next((its for its in said if its["status"] in FINAL), None)

        found: dict[str, Any] = self.until(last, 120)
        return found
