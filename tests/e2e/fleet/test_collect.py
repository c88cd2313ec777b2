"""Collectors die, brokers forget, databases restart: every record arrives in the end, once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.other_brokers import Nats

FULL = os.environ.get("EDGEAGENT_TESTS") == "full"


def wait(condition: Any, timeout: float = 30.0, told: Any = None) -> Any:
    from time import monotonic, sleep

    end = monotonic() + timeout
    while not (found := condition()):
        assert monotonic() < end, told() if told else "not in time"
        sleep(0.02)
    return found


def received(examined: Any, url: str) -> int:
    return sum(stream.received for stream in examined.audit(url).streams)


@pytest.mark.parametrize("kind", ["postgresql", *(["sqlite"] if FULL else [])])
def test_three_processes_one_killed_in_mid_batch(
    broker: Mosquitto, fleet: Any, examined: Any, deciding: Any, tmp_path: Path, kind: str,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    sqlite = kind == "sqlite"
    url = str(tmp_path / "f.db") if sqlite else request.getfixturevalue("postgres").database()
    collectors = [fleet.collector(url, broker.port).collecting() for _ in range(3)]
    assert {"place 0", "place 1", "place 2"} == {
        place for place in ("place 0", "place 1", "place 2") for c in collectors if place in c.log
    }
    devices = [fleet.device(f"d{n}", broker.port) for n in range(3)]
    flow = deciding(devices, evidence=40)
    wait(lambda: received(examined, url) > 300)
    for turn in range(8 if FULL else 1):
        victim = collectors[1 + turn % 2]
        victim.kill()
        if turn:  # The first time nobody comes back, and its session must be emptied by others.
            collectors[1 + turn % 2] = fleet.collector(url, broker.port).collecting()
        now = received(examined, url)
        wait(lambda now=now: received(examined, url) > now + 500)
    flow.end()
    fleet.settle()
    found = examined.complete(url, devices)
    assert all(stream.state == "complete" and stream.current for stream in found.streams)
    wait(lambda: not any(s.evidence.missing for s in examined.audit(url).streams))
    assert sum(s.evidence.here for s in examined.audit(url).streams) > 3
    left = [collector for collector in collectors if collector.process.poll() is None]
    assert all(collector.stop()["records"] > 0 for collector in left)


def test_a_killed_collector_comes_back_to_its_session(
    broker: Mosquitto, fleet: Any, examined: Any, deciding: Any, tmp_path: Path
) -> None:
    url = str(tmp_path / "fleet.db")
    devices = [fleet.device(f"d{n}", broker.port) for n in range(2)]
    flow = deciding(devices)
    for turn in range(12 if FULL else 1):
        collector = fleet.collector(url, broker.port).collecting()
        wait(lambda turn=turn: received(examined, url) > 150 * (turn + 1), told=fleet.logs)
        collector.kill()
    flow.end()
    fleet.collector(url, broker.port)
    fleet.settle()
    examined.complete(url, devices)


def test_a_broker_killed_and_restarted_empty(
    broker: Mosquitto, fleet: Any, examined: Any, deciding: Any, tmp_path: Path
) -> None:
    url = str(tmp_path / "fleet.db")
    collector = fleet.collector(url, broker.port).collecting()
    devices = [fleet.device(f"d{n}", broker.port) for n in range(2)]
    flow = deciding(devices)
    wait(lambda: received(examined, url) > 100)
    # With nobody there the broker takes records, says so, and then forgets them all.
    collector.kill()
    before = [device.decided for device in devices]
    wait(lambda: all(d.decided > b + 60 for d, b in zip(devices, before, strict=True)))
    broker.kill()
    broker.start()
    fleet.collector(url, broker.port)
    flow.end()
    fleet.settle()
    examined.complete(url, devices)


def test_without_confirms_the_audit_names_what_the_broker_lost_and_the_device_gives_it_again(
    broker: Mosquitto, fleet: Any, examined: Any, tmp_path: Path
) -> None:
    url = str(tmp_path / "fleet.db")
    collector = fleet.collector(url, broker.port).collecting()
    # At first the device does not listen to this collector, so the hole stays to be looked at.
    device = fleet.device("d1", broker.port, confirm="broker", collectors=("other",))
    device.decide(50)
    wait(lambda: received(examined, url) == 50)
    collector.kill()
    device.decide(30)
    wait(device.settled)
    broker.kill()
    broker.start()
    wait(lambda: device.link.state == "up")
    fleet.collector(url, broker.port).collecting()
    device.decide(5)
    wait(lambda: received(examined, url) >= 55, told=fleet.logs)
    told = subprocess.run(
        [sys.executable, "-c", "from edgeagent.cli.fleet import app; app()", "audit", "--db", url,
         "--json"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
    )  # fmt: skip
    assert (told.returncode, json.loads(told.stdout)["streams"][0]["missing"]) == (1, [[51, 80]])
    fleet.devices.remove(device)
    device.close()
    listening = fleet.device("d1", broker.port, confirm="broker")
    listening.decided = device.decided
    wait(lambda: examined.audit(url).complete, told=lambda: examined.audit(url))
    examined.complete(url, [listening])


def test_postgresql_restarted_in_the_middle(
    broker: Mosquitto, fleet: Any, postgres: Any, examined: Any, deciding: Any
) -> None:
    url = postgres.database()
    collectors = [fleet.collector(url, broker.port).collecting() for _ in range(2)]
    devices = [fleet.device(f"d{n}", broker.port) for n in range(2)]
    flow = deciding(devices, evidence=50)
    wait(lambda: received(examined, url) > 200)
    for _ in range(4 if FULL else 1):
        postgres.stop()
        before = devices[0].decided
        wait(lambda before=before: devices[0].decided > before + 60)
        postgres.start()
        now = received(examined, url)
        wait(lambda now=now: received(examined, url) > now + 200)
    flow.end()
    fleet.settle()
    examined.complete(url, devices)
    for collector in collectors:
        assert collector.process.poll() is None, collector.log
        # The other one may have collected everything while this one still waits to try again.
        wait(
            lambda log=collector: log.log.count("ERROR") == log.log.count("is back after"),
            told=lambda log=collector: log.log,
        )
        collector.stop()


def test_partitions_instead_of_sharing(
    broker: Mosquitto, fleet: Any, examined: Any, tmp_path: Path
) -> None:
    url = str(tmp_path / "fleet.db")
    parts = [fleet.collector(url, broker.port, "--partition", f"{k}/2") for k in (1, 2)]
    for collector in parts:
        collector.collecting()
    devices = [fleet.device(f"d{n}", broker.port) for n in range(4)]
    for device in devices:
        device.decide(100)
    fleet.settle()
    examined.complete(url, devices)
    shares = [collector.stop()["records"] for collector in parts]
    assert sum(shares) == 400
    assert all(shares)


@pytest.mark.skipif(not FULL, reason="the whole run only (EDGEAGENT_TESTS=full)")
def test_two_that_cannot_share_do_everything_twice_and_store_it_once(
    fleet: Any, examined: Any, tmp_path: Path
) -> None:
    if shutil.which("nats-server") is None:
        pytest.skip("nats-server is not installed (apt-get install nats-server)")
    url = str(tmp_path / "fleet.db")
    with Nats(tmp_path / "broker") as broker:
        collectors = [fleet.collector(url, broker.port) for _ in range(2)]
        for collector in collectors:
            assert "alone" in collector.collecting().log
        devices = [fleet.device(f"d{n}", broker.port) for n in range(2)]
        for device in devices:
            device.decide(100, evidence=20)
        fleet.settle()
        wait(lambda: sum(s.evidence.here for s in examined.audit(url).streams) == 10)
        examined.complete(url, devices)
        shares = [collector.stop() for collector in collectors]
        assert sum(share["records"] for share in shares) == 200
        assert sum(share["duplicates"] for share in shares) >= 200
        while fleet.devices:
            fleet.devices.pop().close()


def test_the_packaged_access_rules_let_a_collector_share(
    fleet: Any, examined: Any, repository: Path, tmp_path: Path
) -> None:
    users = {"collector": "secret", "d1": "other"}
    acl = (repository / "packaging" / "mosquitto" / "acl").read_text()
    password = tmp_path / "password"
    password.write_text("secret\n")
    with Mosquitto(tmp_path / "broker", users=users, acl=acl) as broker:
        url, login = str(tmp_path / "fleet.db"), ("--username", "collector")
        collectors = [
            fleet.collector(url, broker.port, *login, "--password-file", str(password)).collecting()
            for _ in range(2)
        ]
        for collector in collectors:
            assert "that share the subscriptions" in collector.log
            assert "WARNING" not in collector.log
        (tmp_path / "other").write_text("other")
        device = fleet.device("d1", broker.port, user="d1", password=str(tmp_path / "other"))
        device.decide(60, evidence=20)
        fleet.settle()
        wait(lambda: examined.audit(url).streams[0].evidence.here == 3)
        examined.complete(url, [device])
        fleet.devices.remove(device)
        device.close()


AGENT = """
[device]
id = "belt-1"
[mqtt]
host = "127.0.0.1"
port = {port}
[sync]
confirm = "collector"
resend_after = "1 s"
[sources.belt]
kind = "synthetic"
fps = 20
[pipelines.belt]
source = "belt"
model = "parts"
record = {{ every = 1 }}
[[pipelines.belt.rules]]
when = "label == 'cracked' or label == 'missing'"
do = ["event", "snapshot"]
"""


def test_a_real_agent_is_confirmed_end_to_end(
    broker: Mosquitto, fleet: Any, examined: Any, tmp_path: Path
) -> None:
    url = str(tmp_path / "fleet.db")
    with AgentProcess(AGENT.format(port=broker.port), tmp_path / "agent") as agent:
        agent.until(lambda status: status["outbox"]["produced"] >= 30)
        assert agent.client.status()["outbox"]["delivered"] == 0
        collector = fleet.collector(url, broker.port)
        agent.until(lambda status: status["outbox"]["delivered"] >= 30)
        if FULL:
            collector.kill()
            broker.kill()
            broker.start()
            fleet.collector(url, broker.port)
        produced = agent.client.status()["outbox"]["produced"] if FULL else 30
        agent.until(lambda status: status["outbox"]["delivered"] >= produced, 40)
        wait(lambda: examined.audit(url).streams[0].evidence.here, told=lambda: agent.log)
    (stream,) = examined.audit(url).streams
    assert stream.received >= produced
