"""One device, wherever what it tells of itself is retained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import NotFound
from edgeagent.fleet.sight.portrait import portrait
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener


@pytest.fixture
def two(tmp_path: Path, mosquitto_installed: None) -> Iterator[tuple[Mosquitto, Mosquitto]]:
    """Brokers that know nothing of one another, as nodes of RabbitMQ do of what is retained."""
    with Mosquitto(tmp_path / "one") as one, Mosquitto(tmp_path / "two") as other:
        assert isinstance(one, Mosquitto) and isinstance(other, Mosquitto)
        yield one, other


def desk(*brokers: Mosquitto) -> LinkSettings:
    return LinkSettings("desk", tuple(Endpoint("127.0.0.1", its.port) for its in brokers))


def retained(broker: Mosquitto, documents: dict[str, Any]) -> None:
    listener = Listener(broker.port, "edgeagent/d1/#")
    for name, document in documents.items():
        listener.publish(f"edgeagent/d1/{name}", json.dumps(document).encode(), retain=True)
    listener.close()


def status(state: str, seq: int) -> dict[str, Any]:
    return {"state": state, "seq": seq, "since": "2026-01-01T00:00:00Z"}


def test_it_is_found_at_whichever_broker_it_is(two: tuple[Mosquitto, Mosquitto]) -> None:
    one, other = two
    retained(one, {"status": status("offline", 7), "state/belt": {"alarm": True}})
    retained(other, {
        "status": status("online", 9), "state/belt": {"alarm": False},
        "cmd/ping/p1": {"status": "init", "by": "ann"},
    })  # fmt: skip
    for brokers in (two, two[::-1]):
        found = portrait(desk(*brokers), "edgeagent", "d1")
        assert (found["state"], found["pipelines"]) == ("online", {"belt": {"alarm": False}})
        assert [its["id"] for its in found["orders"]] == ["p1"] and not found["note"]
    one.kill()
    found = portrait(desk(*two), "edgeagent", "d1")
    assert found["state"] == "online" and f"127.0.0.1:{one.port}" in found["note"]
    with pytest.raises(NotFound, match="nothing is known of a device d2"):
        portrait(desk(*two), "edgeagent", "d2")


def test_what_is_published_in_another_form_tells_nothing(two: tuple[Mosquitto, Mosquitto]) -> None:
    one, other = two
    listener = Listener(other.port, "edgeagent/d1/#")
    listener.publish("edgeagent/d1/status", b'{"state":"\xff"}', retain=True)
    listener.close()
    strange = {"pipelines": None, "commands": 7, "groups": ["a b", "hall"]}
    retained(one, {"status": status("online", 1), "capabilities": strange})
    found = portrait(desk(one, other), "edgeagent", "d1")
    assert (found["state"], found["offers"], found["pipelines"]) == ("online", {}, {})
