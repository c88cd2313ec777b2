"""A model changes over MQTT: a real broker, a real signed repository, a real agent and proof."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit import DEVICE, Fleet, agent, config, version_of_parts, wish

from edgeagent.testing.broker import Mosquitto

DESIRED = f"edgeagent/{DEVICE}/desired"


@pytest.fixture
def fleet(tmp_path: Path, broker: Mosquitto) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "operator", broker.port)
    made.publish(
        version_of_parts(tmp_path / "new", "1.1.0", **{"threshold = 0.5": "threshold = 0.55"})
    )
    made.serve()
    yield made
    made.stop()


def model(said: Any) -> dict[str, Any]:
    """What `reported` says of parts."""
    found = said.last(f"{DEVICE}/reported")
    return (found or {}).get("models", {}).get("parts", {})


def test_a_new_version_is_fetched_proven_and_kept(
    tmp_path: Path, broker: Mosquitto, fleet: Fleet, subscriber: Any
) -> None:
    text = config(broker.port, fleet.made.home.first_root)
    with agent(tmp_path / "device", text) as device:
        device.until(lambda status: status["pipelines"]["parts"]["state"] == "ok")
        before = device.until(lambda status: status["pipelines"]["parts"]["steps"] > 20 and status)
        subscriber.client.publish(DESIRED, wish(1, "1.1.0"), 1, retain=True).wait_for_publish(5)
        subscriber.until(lambda said: model(said).get("state") == "committed"
                         and model(said).get("wanted") == "1.1.0", 30)  # fmt: skip
        after = device.until(
            lambda status: (
                status["pipelines"]["parts"]["model"].startswith("parts@1.1.0") and status
            )
        )
        told = subscriber.until(
            lambda said: [r for r in said.records().values() if r["kind"] == "deployment"]
        )
    assert model(subscriber)["version"] == "1.1.0"
    assert [record["data"]["state"] for record in told] == ["committed"]
    assert told[0]["data"]["from"] == "1.0.0"
    assert set(told[0]["data"]["times_s"]) >= {"fetching", "proving", "activating", "probation"}
    assert after["pipelines"]["parts"]["failed"] == before["pipelines"]["parts"]["failed"] == 0
    results = [r for r in subscriber.records().values() if r["kind"] == "result"]
    ran = [record["model"].partition("/")[0] for record in results]
    assert ran == sorted(ran), "old, then new"
    assert {"parts@1.0.0", "parts@1.1.0"} == set(ran)


@pytest.mark.usefixtures("in_full")
def test_a_model_back_and_held(
    tmp_path: Path, broker: Mosquitto, fleet: Fleet, subscriber: Any
) -> None:
    """A device that comes late finds what is wished; people at it have the last word."""
    subscriber.client.publish(DESIRED, wish(3, "1.1.0"), 1, retain=True).wait_for_publish(5)
    text = config(broker.port, fleet.made.home.first_root)
    with agent(tmp_path / "device", text) as device:
        device.until(lambda s: s["desired"]["models"]["parts"]["state"] == "committed", 60)
        answer = device.client.result("model-rollback", model="parts")
        assert (answer["from"], answer["version"]) == ("1.1.0", "1.0.0")
        device.until(lambda s: s["pipelines"]["parts"]["model"].startswith("parts@1.0.0"))
        said = subscriber.until(lambda said: model(said).get("failed") and model(said))
        assert said["failed"] == ["1.1.0"], "the fleet does not bring it back by itself"
        device.client.result("model-hold", model="parts", because="the customer is here")
        subscriber.client.publish(DESIRED, wish(4, "1.1.0", soak_s=3), 1, retain=True)
        held = subscriber.until(lambda said: said.last("/reported").get("held"))
        assert held[0]["model"] == "parts"
        subscriber.until(lambda said: said.last("/reported")["rev"] == 4)
        assert device.client.status()["desired"]["models"]["parts"]["state"] == "committed"
        device.client.result("model-unhold", model="parts")
        ended = subscriber.until(
            lambda said: model(said).get("state") == "rejected" and model(said)
        )
        assert ended["reason"] == "failed before"
    # The same device, re-flashed: it reaches the present state and runs nothing of the past.
    with agent(tmp_path / "again", text, EDGEAGENT_CLOCK="unsynced") as device:
        device.until(lambda s: s["desired"]["models"]["parts"]["state"] == "committed", 60)
        assert device.client.status()["desired"]["models"]["parts"]["rev"] == 4
        assert device.client.status()["pipelines"]["parts"]["model"].startswith("parts@1.1.0")


def test_a_configuration_is_tried(
    tmp_path: Path, broker: Mosquitto, fleet: Fleet, subscriber: Any
) -> None:
    text = config(broker.port, fleet.made.home.first_root)

    def send(rev: int, patch: dict[str, Any]) -> None:
        subscriber.client.publish(DESIRED, wish(rev, config=patch), 1, retain=True)

    def told(rev: int) -> Any:
        def known(said: Any) -> Any:
            its = (said.last("/reported") or {}).get("config", {})
            return its if its.get("rev") == rev and its["state"] != "trial" else None

        return subscriber.until(known, 40)

    with agent(tmp_path / "device", text) as device:
        device.until(
            lambda s: s["pipelines"]["parts"]["state"] == "ok" and s["link"]["state"] == "up"
        )
        pid = device.pid
        send(1, {"pipelines": {"parts": {"threshold": 0.7}}})
        assert told(1)["state"] == "applied"
        value = device.client.result("config-get", key="pipelines.parts.threshold")["value"]
        assert value == 0.7
        assert device.pid == pid
        assert device.process is not None
        assert device.process.poll() is None, "the same process, begun anew"
        # Sections that only an operator may change, and what only the device's files set.
        for rev, patch in enumerate(
            (
                {"commands": {"allow": ["ping", "capture"]}},
                {"mqtt": {"host": "localhost"}},
                {"privacy": {"pictures": "asked"}},
            ),
            2,
        ):
            send(rev, patch)
            assert (told(rev)["state"], told(rev)["reason"]) == ("rejected", "protected"), patch
        send(5, {"mqtt": {"prefix": "elsewhere"}})
        assert told(5)["state"] == "rejected"
        send(6, {"pipelines": {"parts": {"threshold": "high"}}})
        assert told(6)["reason"] == "invalid"
        # One that keeps its pipeline from running.
        send(7, {"pipelines": {"parts": {"model": "nothing"}}})
        ended = told(7)
        assert (ended["state"], ended["reason"]) == ("rolled-back", "unconfirmed")
        assert "parts" in ended["detail"]
        device.until(lambda s: s["pipelines"]["parts"]["state"] == "ok")
        value = device.client.result("config-get", key="pipelines.parts.threshold")["value"]
        assert value == 0.7, "the last good one"
