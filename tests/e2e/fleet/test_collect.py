"""Collectors die, brokers forget, databases restart: every record arrives in the end, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Amqtt, Mosquitto

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


def test_three_processes_one_killed_in_mid_batch(
    broker: Mosquitto, fleet: Any, url: str, examined: Any, deciding: Any
) -> None:
    collectors = [fleet.collector(url, broker.port).collecting() for _ in range(3)]
    assert {"place 0", "place 1", "place 2"} == {
        place for place in ("place 0", "place 1", "place 2") for c in collectors if place in c.log
    }
    devices = [fleet.device(f"d{n}", broker.port) for n in range(3)]
    flow = deciding(devices, evidence=40)
    wait(lambda: received(examined, url) > 300)
    collectors[1].kill()
    wait(lambda: received(examined, url) > 800)
    flow.end()
    fleet.settle()
    found = examined.complete(url, devices)
    assert all(stream.state == "complete" and stream.current for stream in found.streams)
    wait(lambda: not any(s.evidence.missing for s in examined.audit(url).streams))
    assert sum(s.evidence.here for s in examined.audit(url).streams) > 3
    shares = [collectors[0].stop(), collectors[2].stop()]
    assert all(share["records"] > 0 for share in shares)


def test_a_killed_collector_comes_back_to_its_session(
    broker: Mosquitto, fleet: Any, examined: Any, deciding: Any, tmp_path: Path
) -> None:
    url = str(tmp_path / "fleet.db")
    devices = [fleet.device(f"d{n}", broker.port) for n in range(2)]
    flow = deciding(devices)
    for turn in range(12 if FULL else 4):
        collector = fleet.collector(url, broker.port).collecting()
        wait(
            lambda turn=turn: received(examined, url) > 150 * (turn + 1), told=lambda: collector.log
        )
        collector.kill()
    flow.end()
    fleet.collector(url, broker.port)
    fleet.settle()
    examined.complete(url, devices)


def test_a_broker_killed_and_restarted_empty(
    broker: Mosquitto, fleet: Any, url: str, examined: Any, deciding: Any
) -> None:
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
    device = fleet.device("d1", broker.port, confirm="broker")
    device.decide(50)
    wait(lambda: received(examined, url) == 50)
    collector.kill()
    device.decide(30)
    wait(device.settled)
    broker.kill()
    broker.start()
    # Another collector has only what comes from now on: it sees the hole at once.
    wait(lambda: device.link.state == "up")
    again = fleet.collector(url, broker.port, "--partition", "1/1").collecting()
    device.decide(5)
    wait(lambda: received(examined, url) >= 55, told=lambda: again.log)
    told = subprocess.run(
        [sys.executable, "-c", "from edgeagent.cli.fleet import app; app()", "audit", "--db", url,
         "--json"], capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    stream = json.loads(told.stdout)["streams"][0]
    if stream["missing"]:
        assert (told.returncode, stream["missing"]) == (1, [[51, 80]])
    wait(lambda: examined.audit(url).complete, told=lambda: examined.audit(url))
    examined.complete(url, [device])


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
        assert collector.log.count("ERROR") == collector.log.count("is back after")
        collector.stop()


def test_where_sharing_is_not_proven_partitions_do_it(
    fleet: Any, examined: Any, tmp_path: Path
) -> None:
    """A broker of MQTT 3.1.1 in Python; whether it shares is found out, not believed."""
    pytest.importorskip("amqtt")
    url = str(tmp_path / "fleet.db")
    with Amqtt(tmp_path / "broker") as broker:
        collectors = [
            fleet.collector(url, broker.port, "--partition", f"{k}/2").collecting() for k in (1, 2)
        ]
        devices = [fleet.device(f"d{n}", broker.port) for n in range(4)]
        for device in devices:
            device.decide(100)
        fleet.settle()
        examined.complete(url, devices)
        shares = [collector.stop()["records"] for collector in collectors]
        assert sum(shares) == 400
        assert all(shares)
        for device in devices:
            device.close()
        fleet.devices.clear()


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
        collector.kill()
        broker.kill()
        broker.start()
        fleet.collector(url, broker.port)
        produced = agent.client.status()["outbox"]["produced"]
        agent.until(lambda status: status["outbox"]["delivered"] >= produced, 40)
    (stream,) = [s for s in examined.audit(url).streams if s.device == "belt-1"]
    assert stream.received >= produced
