"""A real broker, an agent as a process, and a subscriber that shares no code with it."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from edgeagent.testing.broker import Mosquitto


class Subscriber:
    """Plain paho, json and zlib: what anybody would write against the published contract."""

    def __init__(self, port: int, pattern: str = "edgeagent/#") -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self.batches: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        self._subscribed = threading.Event()
        self._pattern = pattern
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_connect = lambda client, *_: client.subscribe(self._pattern, qos=1)
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._subscribed.wait(10)

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        with self._arrived:
            self.messages.append((message.topic, message.payload, message.retain))
            if message.topic.endswith("/records"):
                payload = message.payload
                text = zlib.decompress(payload) if payload[:1] == b"\x78" else payload
                self.batches.append(json.loads(text))
            self._arrived.notify_all()

    def until(self, condition: Any, timeout_s: float = 30.0) -> Any:
        """Wait until ``condition(self)`` is true; its value."""
        with self._arrived:
            self._arrived.wait_for(lambda: condition(self), timeout_s)
            value = condition(self)
        assert value, f"not in time; topics: {sorted({m[0] for m in self.messages})}"
        return value

    def last(self, topic: str) -> Any:
        """The last JSON on a topic that ends so, None without any."""
        found = [payload for name, payload, _ in self.messages if name.endswith(topic) and payload]
        return json.loads(found[-1]) if found else None

    def records(self) -> dict[tuple[str, int], dict[str, Any]]:
        """(epoch, seq) → record, duplicates dropped as the contract says."""
        return {
            (batch["epoch"], record["seq"]): record
            for batch in self.batches
            for record in batch["records"]
        }

    def holes(self) -> dict[str, set[int]]:
        """Epoch → seqs between 1 and the largest seen that neither came nor a gap covers."""
        holes: dict[str, set[int]] = {}
        for epoch in {batch["epoch"] for batch in self.batches}:
            mine = {seq: r for (its, seq), r in self.records().items() if its == epoch}
            covered: set[int] = set()
            for record in mine.values():
                if record["kind"] == "gap" and record.get("to") is not None:
                    covered |= set(range(record["from"], record["to"] + 1))
            holes[epoch] = set(range(1, max(mine) + 1)) - set(mine) - covered
        return holes

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def subscriber(broker: Mosquitto) -> Iterator[Subscriber]:
    """A client that hears everything."""
    made = Subscriber(broker.port)
    yield made
    made.close()
