"""Desired state at a real broker: who may say what, and who was away when it was said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit import DEVICE, Fleet, agent, config, version_of_parts, wish

from edgeagent.fleet.keys import PrivateKey
from edgeagent.testing.broker import Mosquitto
from edgeagent.update import signatures

DESIRED = f"edgeagent/{DEVICE}/desired"


@pytest.fixture
def fleet(tmp_path: Path, broker: Mosquitto) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "operator", broker.port)
    for version in ("1.1.0", "1.2.0"):
        made.publish(version_of_parts(tmp_path / "new", version))
    made.serve()
    yield made
    made.stop()


@pytest.mark.usefixtures("in_full")
def test_six_changes_were_missed(
    tmp_path: Path, broker: Mosquitto, fleet: Fleet, subscriber: Any
) -> None:
    """The broker kept a session and hands over all six: only the last is carried out."""
    text = config(broker.port, fleet.made.home.first_root)
    with agent(tmp_path / "device", text) as device:
        device.until(lambda status: status["link"]["state"] == "up")
    for rev in range(1, 6):
        version = "1.1.0" if rev % 2 else "1.2.0"
        old = json.loads(
            wish(rev, version, config={"pipelines": {"parts": {"threshold": rev / 10}}})
        )
        payload = json.dumps({**old, "at": f"2026-08-{rev + 10}T00:00:00Z"}).encode()
        subscriber.client.publish(DESIRED, payload, 1, retain=True).wait_for_publish(5)
    last = wish(6, "1.2.0", config={"device": {"name": "six"}})
    subscriber.client.publish(DESIRED, last, 1, retain=True).wait_for_publish(5)
    with agent(tmp_path / "device", text, EDGEAGENT_CLOCK="unsynced") as device:
        device.until(lambda s: s["desired"]["models"]["parts"]["state"] == "committed", 60)
        device.until(lambda s: s["desired"]["config"]["state"] == "applied")
        status = device.client.status()
        assert status["name"] == "six"
        assert status["pipelines"]["parts"]["model"].startswith("parts@1.2.0")
        value = device.client.result("config-get", key="pipelines.parts.threshold")["value"]
        assert value is None, "nothing of the five before"
        subscriber.until(lambda said: said.last("/reported")["rev"] == 6)
        subscriber.until(
            lambda said: [r for r in said.records().values() if "version" in r.get("data", {})]
        )
    told = [r["data"] for r in subscriber.records().values() if r["kind"] == "deployment"]
    assert [its["rev"] for its in told if "model" in its] == [6], "and nothing twice"
    assert device.log.count("is wanted in place of") == 1


@pytest.mark.usefixtures("in_full")
def test_only_a_signature_moves_a_device_to_another_broker(
    tmp_path: Path, broker: Mosquitto, fleet: Fleet, subscriber: Any
) -> None:
    from edgeagent.testing.broker import free_port

    root = fleet.made.home.first_root
    operators = root.parent / "operators"
    operators.mkdir()
    key = PrivateKey.new()
    (operators / "ann.pub").write_text(key.public_pem)

    def signed(rev: int, port: int) -> bytes:
        patch = {"mqtt": {"port": port}, "commands": {"allow": ["ping", "doctor"]}}
        document = {**json.loads(wish(rev, config=patch)), "device": DEVICE}
        return key.envelope(json.dumps(document).encode(), signatures.DESIRED)

    def told(rev: int) -> Any:
        def known(said: Any) -> Any:
            its = (said.last("/reported") or {}).get("config", {})
            return its if its.get("rev") == rev and its["state"] != "trial" else None

        return subscriber.until(known, 60)

    text = config(broker.port, root)
    with Mosquitto(tmp_path / "second") as second, agent(tmp_path / "device", text) as device:
        device.until(
            lambda s: s["pipelines"]["parts"]["state"] == "ok" and s["link"]["state"] == "up"
        )
        plain = wish(1, config={"mqtt": {"port": second.port}})
        subscriber.client.publish(DESIRED, plain, 1, retain=True)
        assert (told(1)["state"], told(1)["reason"]) == ("rejected", "protected")
        assert "mqtt.port" in told(1)["detail"]
        # Signed, but nobody is there: it comes back by itself.
        subscriber.client.publish(DESIRED, signed(2, free_port()), 1, retain=True)
        assert (told(2)["state"], told(2)["reason"]) == ("rolled-back", "unconfirmed")
        assert "can't be reached" in told(2)["detail"]
        subscriber.client.publish(DESIRED, signed(3, second.port), 1, retain=True)
        device.until(
            lambda s: s["desired"]["config"] and s["link"]["broker"].endswith(str(second.port)), 40
        )
        device.until(lambda s: s["desired"]["config"]["state"] == "applied", 40)
        allowed = device.client.result("config-get", key="commands.allow")["value"]
        assert allowed == ["ping", "doctor"]
