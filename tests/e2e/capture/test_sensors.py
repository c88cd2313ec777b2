"""Sensors through the whole agent: topics of other devices, and a camera beside a sensor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from edgeagent.store.export import jsonl
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

sys.path.insert(0, str(Path(__file__).parent))
from tiny_onnx import package

WINDOW = """
[[input]]
name = "vib"
kind = "window"
channels = {channels}
rate_hz = {rate}
length = {length}
"""
IMAGE = """
[[input]]
name = "image"
kind = "image"
colour = "gray"
size = [8, 8]
fit = "stretch"
"""


class Device:
    """Another device at the broker."""

    def __init__(self, port: int) -> None:
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def say(self, topic: str, payload: str) -> None:
        self.client.publish(topic, payload, qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Repeat:
    """Calls something again and again until it is closed."""

    def __init__(self, every_s: float, call: Any) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(every_s, call))
        self._thread.start()

    def _run(self, every_s: float, call: Any) -> None:
        while not self._ended.wait(every_s):
            call()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def device(broker: Mosquitto) -> Iterator[Device]:
    its = Device(broker.port)
    yield its
    its.close()


def test_topics_of_other_devices(
    broker: Mosquitto, device: Device, subscriber: Any, tmp_path: Path
) -> None:
    shape = {"vib": [1, 5, 2]}
    inputs = WINDOW.format(channels='["t", "rpm"]', rate=10, length=5)
    package(tmp_path / "models", "means", inputs, shape)
    text = f"""
[device]
id = "d1"
[mqtt]
host = "127.0.0.1"
port = {broker.port}
[models]
path = ["{tmp_path}/models"]
[sources.hall]
kind = "mqtt"
topic = "zigbee/boiler"
gap = "1 s"
[sources.hall.channels]
t = {{ read = "temperature", offset = -273.0, unit = "°C" }}
rpm = {{ topic = "plc/+/rpm" }}
[pipelines.hall]
source = "hall"
model = "means"
record = {{ every = 1 }}
"""
    with AgentProcess(text, tmp_path) as agent:
        agent.until(lambda status: status["link"]["state"] == "up")

        def say() -> None:
            device.say("zigbee/boiler", json.dumps({"temperature": 300.0, "battery": 90}))
            device.say("plc/3/rpm", "1480")

        repeat = Repeat(0.05, say)
        try:
            subscriber.until(lambda its: _outputs(its.records().values()))
            outputs = _outputs(subscriber.records().values())[-1]
            # Of both channels together: (27 + 1480) / 2.
            assert outputs == pytest.approx([753.5], abs=0.1)
            broker.stop()
            told = agent.until(lambda status: status["sources"]["hall"]["state"] == "down"
                                and status["sources"]["hall"], 30)  # fmt: skip
            assert "topic" in told["reason"]
        finally:
            repeat.close()
        broker.start()
        agent.until(lambda status: status["link"]["state"] == "up", 30)
        again = Device(broker.port)
        repeat = Repeat(0.05, lambda: (again.say("zigbee/boiler", '{"temperature": 1}'),
                                       again.say("plc/3/rpm", "2")))  # fmt: skip
        try:
            agent.until(lambda status: status["sources"]["hall"]["reopened"] >= 1, 30)
        finally:
            repeat.close()
            again.close()


def _outputs(records: Any) -> list[list[float]]:
    return [
        record["data"]["predictions"][0]["outputs"]["means"][0]
        for record in records
        if record["kind"] == "result"
    ]


JOINT = """
[models]
path = ["{models}"]
[sources.belt]
kind = "synthetic"
scene = "belt"
fps = 10
[sources.imu]
kind = "jsonl"
path = "{fifo}"
rate_hz = 100
[pipelines.machine]
sources = {{ image = "belt", vib = "imu" }}
within = "300 ms"
model = "both"
channels = {{ v = "acceleration" }}
record = {{ every = 1 }}
"""


def machine(condition: Any) -> Any:
    """The pipeline's status, once it is so."""

    def it(status: dict[str, Any]) -> Any:
        its = status["pipelines"]["machine"]
        return its if condition(its) else None

    return it


def test_a_camera_and_a_sensor_in_one_model(tmp_path: Path) -> None:
    """Pictures lead; while the sensor is silent they are skipped, counted and explained."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    inputs = IMAGE + WINDOW.format(channels='["v"]', rate=100, length=10)
    package(tmp_path / "models", "both", inputs, {"image": [1, 8, 8, 1], "vib": [1, 10, 1]})
    handle = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    rows = "".join(json.dumps({"acceleration": 2.5}) + "\n" for _ in range(10)).encode()
    with AgentProcess(JOINT.format(models=tmp_path / "models", fifo=fifo), tmp_path) as agent:
        told = agent.until(machine(lambda its: its["state"] == "degraded"), 40)
        assert "vib: nothing within 0.3 s of image" in told["reason"] and told["skipped"] >= 5
        repeat = Repeat(0.1, lambda: os.write(handle, rows))
        try:
            told = agent.until(
                machine(lambda its: its["records"] >= 10 and its["state"] == "ok"), 40
            )
        finally:
            repeat.close()
        agent.until(machine(lambda its: its["skipped"] > told["skipped"] + 3), 40)
    os.close(handle)
    records = [json.loads(line) for line in jsonl(tmp_path / "data")]
    outputs = _outputs(records)
    assert all(vib == pytest.approx(2.5) for _, vib in outputs)
    assert all(image > 10 for image, _ in outputs), "the picture's mean, 0..255"
    results = [record for record in records if record["kind"] == "result"]
    assert {record["source"] for record in results} == {"belt"}
    partners = [record["data"]["with"]["vib"] for record in results]
    assert {its["source"] for its in partners} == {"imu"}
    assert all(abs(its["apart_ms"]) <= 300 for its in partners)


def test_sources_that_do_not_fit_the_inputs_are_told(tmp_path: Path) -> None:
    inputs = IMAGE + WINDOW.format(channels='["v"]', rate=100, length=10)
    package(tmp_path / "models", "both", inputs, {"image": [1, 8, 8, 1], "vib": [1, 10, 1]})
    text = JOINT.format(models=tmp_path / "models", fifo="x").replace("vib =", "vibe =")
    agent = AgentProcess(text, tmp_path, "--strict").start()
    assert agent.wait(30) == 78
    assert 'an input of both, found "vibe"; did you mean "vib"?' in agent.log


def test_a_source_of_the_running_agent_is_asked_for(tmp_path: Path) -> None:
    """`devices try` of what the agent has open: told by the agent, its picture redacted by it."""
    text = """
[sources.belt]
kind = "synthetic"
fps = 20
[pipelines.belt]
source = "belt"
model = "parts"
redact = { labels = ["whole", "cracked", "missing"], method = "fill", hold = "200 ms" }
"""
    picture = tmp_path / "picture.jpg"
    with AgentProcess(text, tmp_path) as agent:
        agent.until(lambda status: status["pipelines"]["belt"]["steps"] >= 20, 40)
        done = subprocess.run(
            [sys.executable, "-m", "edgeagent.cli", "devices", "try", "belt", "-s", "1", "--json",
             "--config", str(agent.config), "--data-dir", str(agent.data), "--save", str(picture)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["by"] == "agent" and told["state"] == "ok"
        assert told["rate_hz"] == pytest.approx(20, rel=0.2)
        assert picture.read_bytes()[:2] == b"\xff\xd8"


def edgeagent(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeagent.cli", *map(str, words)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_topics_are_tried_by_a_link_of_their_own(
    broker: Mosquitto, device: Device, tmp_path: Path
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(f"""
[device]
id = "d1"
[mqtt]
host = "127.0.0.1"
port = {broker.port}
[sources.hall]
kind = "mqtt"
topic = "hall/t"
gap = "2 s"
[sources.hall.channels]
t = {{ unit = "°C" }}
""")
    repeat = Repeat(0.05, lambda: device.say("hall/t", "21.5"))
    try:
        where = ("--config", file, "--data-dir", tmp_path / "data")
        done = edgeagent("devices", "try", "hall", "-s", 1, "--json", *where)
    finally:
        repeat.close()
    assert done.returncode == 0, done.stderr
    channel = json.loads(done.stdout)["channels"]["t"]
    assert (channel["value"], channel["unit"]) == (21.5, "°C")
