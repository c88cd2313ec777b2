"""The main job, whole: a scene through a model into the outbox and out to a stranger."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jsonschema
import pytest

from edgeagent.store.verify import verify
from edgeagent.sync.schema import schemas
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.proxy import Proxy

BELT = """
[device]
id = "belt-1"
[mqtt]
host = "127.0.0.1"
port = {port}
[sources.belt]
kind = "synthetic"
fps = 20
[pipelines.belt]
source = "belt"
model = "parts"
record = {{ every = 1 }}
"""
COUNTED = """
[device]
id = "belt-1"
[mqtt]
host = "127.0.0.1"
port = {port}
[sources.belt]
kind = "synthetic"
pace = "max"
count = 150
[pipelines.belt]
source = "belt"
model = "parts"
record = {{ every = 1 }}
"""


def test_the_example_delivers_what_its_schema_says(
    broker: Mosquitto, subscriber, repository: Path, tmp_path: Path
) -> None:
    example = repository / "examples" / "belt.toml"
    flags = ("--set", f"mqtt.port={broker.port}", "--set", "mqtt.host=127.0.0.1")
    with AgentProcess(example, tmp_path / "agent", *flags) as agent:
        subscriber.until(lambda s: len(s.records()) >= 20)
        assert agent.until(lambda status: status["state"] == "online")
    schema = schemas()["batch"]
    for batch in subscriber.batches:
        jsonschema.validate(batch, schema)
        seqs = [record["seq"] for record in batch["records"]]
        assert seqs == sorted(seqs)
        assert (batch["first"], batch["last"]) == (seqs[0], seqs[-1])
    assert not any(subscriber.holes().values())
    labels = {
        record["data"]["label"]
        for record in subscriber.records().values()
        if record["kind"] == "event"
    }
    assert labels & {"cracked", "missing"}
    assert all(record["model"] == "parts@1.0.0/int8" for record in subscriber.records().values())


def test_everything_of_a_finite_source_arrives_exactly(
    broker: Mosquitto, subscriber, tmp_path: Path
) -> None:
    agent = AgentProcess(COUNTED.format(port=broker.port), tmp_path, "--until-done").start()
    assert agent.wait() == 0, agent.log
    results = [r for r in subscriber.records().values() if r["kind"] == "result"]
    assert sorted(record["frame"] for record in results) == list(range(1, 151))
    report = verify(tmp_path / "data")
    assert report.ok, report
    assert not any(subscriber.holes().values())


def test_killed_without_a_link_nothing_committed_is_lost(
    broker: Mosquitto, subscriber, tmp_path: Path
) -> None:
    uplink = Proxy(broker.port)
    uplink.mode = "refuse"
    agent = AgentProcess(BELT.format(port=uplink.port), tmp_path).start()
    agent.until(lambda status: status["outbox"]["produced"] >= 60)
    committed = agent.client.status()["outbox"]["produced"]
    agent.kill()
    uplink.mode = "pass"
    with uplink, agent:
        agent.until(lambda status: status["outbox"]["produced"] >= committed + 60)
        agent.until(lambda status: status["outbox"]["delivered"] >= committed + 30)
        epoch = agent.client.status()["outbox"]["epoch"]
    subscriber.until(lambda s: len(s.records()) >= committed + 30)
    assert {epoch} == {batch["epoch"] for batch in subscriber.batches}
    assert set(range(1, committed + 1)) <= {seq for _, seq in subscriber.records()}
    assert not any(subscriber.holes().values())
    assert verify(tmp_path / "data").ok
    # An event that was open when the process died has an end all the same.
    events = [r["data"] for r in subscriber.records().values() if r["kind"] == "event"]
    begun = {data["id"] for data in events if data["phase"] == "new"}
    ended = {data["id"] for data in events if data["phase"] == "end"}
    restarted = [d for d in events if d["phase"] == "end" and d.get("reason") == "restarted"]
    assert ended <= begun
    assert all(data["id"] in begun for data in restarted)


def test_a_lost_link_is_told_and_caught_up_with(
    broker: Mosquitto, subscriber, tmp_path: Path
) -> None:
    uplink = Proxy(broker.port)
    with uplink, AgentProcess(BELT.format(port=uplink.port), tmp_path) as agent:
        subscriber.until(lambda s: len(s.records()) >= 10)
        uplink.mode = "refuse"
        uplink.cut()
        agent.until(lambda status: status["link"]["state"] != "up")
        state = agent.client.status()
        assert state["state"] == "degraded"
        assert state["reasons"]
        pending = state["outbox"]["produced"]
        uplink.mode = "pass"
        agent.until(lambda status: status["outbox"]["delivered"] >= pending)
        agent.until(lambda status: status["state"] == "online")
    subscriber.until(lambda s: not any(s.holes().values()) and len(s.records()) >= pending)


def test_stops_in_time_with_everything_flushed(
    broker: Mosquitto, subscriber, tmp_path: Path
) -> None:
    agent = AgentProcess(BELT.format(port=broker.port), tmp_path).start()
    agent.until(lambda status: status["outbox"]["produced"] >= 20)
    took_s = agent.stop()
    assert agent.process is not None
    assert agent.process.returncode == 0
    assert took_s < 3.0
    subscriber.until(lambda s: (s.last("/status") or {}).get("reasons") == ["stopped"])
    report = verify(tmp_path / "data")
    assert report.ok
    assert report.produced == report.delivered + report.pending + sum(report.dropped.values())


def test_presence_is_retained_and_the_will_speaks_after_a_kill(
    broker: Mosquitto, subscriber, tmp_path: Path
) -> None:
    agent = AgentProcess(BELT.format(port=broker.port), tmp_path).start()
    agent.until(lambda status: status["link"]["state"] == "up")
    subscriber.until(lambda s: (s.last("/status") or {}).get("state") == "online")
    capabilities = subscriber.until(lambda s: s.last("/capabilities"))
    assert {"ping", "doctor", "config-get", "outbox"} <= set(capabilities["commands"])
    proven = subscriber.until(lambda s: s.last("/capabilities")["delegates"]["proven"])
    assert "operators on" in proven["parts@1.0.0/int8"]
    capabilities = subscriber.last("/capabilities")
    assert capabilities["delegates"]["usable"][:1] in (["xnnpack"], [])
    (parts,) = capabilities["models"]["parts"]
    assert (parts["version"], parts["task"], parts["runs"]) == ("1.0.0", "detect", ["int8"])
    assert {its["runtime"] for its in parts["variants"]} == {"litert", "onnx"}
    assert set(capabilities["models"]) >= {"bearing", "digits", "parts"}
    assert capabilities["codecs"]["records"] == ["json", "zlib"]
    assert capabilities["limits"]["outbox"] and capabilities["runtimes"] and capabilities["arch"]
    reported = subscriber.until(lambda s: s.last("/reported"))
    assert reported["models"]["parts"]["state"] == "committed"
    state = subscriber.until(lambda s: (s.last("/state/belt") or {}).get("alarm") and s)
    assert sum(state.last("/state/belt")["counts"].values()) >= 1
    agent.kill()
    subscriber.until(lambda s: (s.last("/status") or {}).get("reasons") == ["connection lost"])


@pytest.mark.parametrize("kind", ["ping", "doctor", "config-get"])
def test_a_command_has_the_same_answer_by_broker_and_by_socket(
    broker: Mosquitto, subscriber, tmp_path: Path, kind: str
) -> None:
    with AgentProcess(BELT.format(port=broker.port), tmp_path) as agent:
        agent.until(lambda status: status["link"]["state"] == "up")
        local = agent.client.command(kind)
        topic = f"edgeagent/belt-1/cmd/{kind}/c-1"
        order = json.dumps({"status": "init", "by": "test"})
        subscriber.client.publish(topic, order, qos=1, retain=True)
        subscriber.until(lambda s: (s.last(topic) or {}).get("status") == "successful")
        remote = subscriber.last(topic)
    assert local["status"] == "successful"
    assert set(remote["result"]) == set(local["result"])
    assert remote["by"] == "test"


def test_evidence_follows_its_record(broker: Mosquitto, subscriber, tmp_path: Path) -> None:
    text = BELT.format(port=broker.port).replace("record =", "snapshot = true\nrecord =")
    with AgentProcess(text, tmp_path):
        told = subscriber.until(
            lambda s: next((r["blobs"] for r in s.records().values() if r.get("blobs")), None)
        )
        topic = f"/blob/{told[0]['sha256']}/"

        def whole(seen: object) -> bytes:
            parts = {
                int(name.rsplit("/", 1)[1]): payload
                for name, payload, _ in subscriber.messages
                if topic in name
            }
            data = b"".join(parts[index] for index in sorted(parts))
            return data if len(data) >= told[0]["bytes"] else b""

        picture = subscriber.until(whole)
    assert hashlib.sha256(picture).hexdigest() == told[0]["sha256"]
