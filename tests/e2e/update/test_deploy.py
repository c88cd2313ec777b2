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
