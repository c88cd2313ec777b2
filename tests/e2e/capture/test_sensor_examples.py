"""The examples with sensors and sound, each on what it is about: files like the kernel's, a pseudo
terminal, a Modbus server, a broker, a FIFO, an ALSA device."""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import struct
import sys
import threading
import time
import tty
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from edgeagent.prove.init import propose, write_package
from edgeagent.store.export import jsonl
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

sys.path.insert(0, str(Path(__file__).parent))
from tiny_onnx import package

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
MOTOR = """
[[input]]
name = "vib"
kind = "window"
channels = ["x", "case"]
rate_hz = 100
length = 20
"""
MACHINE = """
[[input]]
name = "image"
kind = "image"
colour = "gray"
size = [8, 8]
fit = "stretch"
[[input]]
name = "vib"
kind = "window"
channels = ["v"]
rate_hz = 100
length = 20
"""


@pytest.fixture
def motor(tmp_path: Path) -> Path:
    """A model that gives the mean of x and case."""
    package(tmp_path / "data" / "models", "motor", MOTOR, {"vib": [1, 20, 2]})
    return tmp_path


def outputs(folder: Path) -> list[Any]:
    records = [json.loads(line) for line in jsonl(folder / "data")]
    return [its["data"]["predictions"][0]["outputs"]["means"][0]
            for its in records if its["kind"] == "result"]  # fmt: skip


def run(name: str, folder: Path, *settings: str, feed: Callable[[], None] | None = None) -> Any:
    """An example until it has made a few records; the outputs of its model."""
    flags = [word for setting in ("outbox.durability.results='50 ms'", *settings)
             for word in ("--set", setting)]  # fmt: skip
    agent = AgentProcess(EXAMPLES / f"{name}.toml", folder, "--strict", *flags)
    ended = threading.Event()

    def feeding() -> None:
        while feed is not None and not ended.wait(0.1):
            feed()

    thread = threading.Thread(target=feeding)
    with agent:
        thread.start()
        try:
            agent.until(
                lambda status: all(its["records"] >= 3 for its in status["pipelines"].values()), 40
            )
        finally:
            ended.set()
            thread.join()
    return outputs(folder)


def test_sensors(motor: Path) -> None:
    for number, files in enumerate((
        {"name": "adxl345", "in_accel_x_raw": 300, "in_accel_scale": 0.01},
        {"name": "bmp280", "in_temp_input": 24500},
    )):  # fmt: skip
        folder = motor / f"sys/bus/iio/devices/iio:device{number}"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(f"{text}\n")
    found = run("sensors", motor, f'sources.motor.root="{motor}/sys"')
    assert found[-1] == pytest.approx([(3.0 + 23.0) / 2])


def test_serial(motor: Path) -> None:
    pytest.importorskip("serial")
    handle, held = os.openpty()
    tty.setraw(held)
    os.set_blocking(handle, False)

    def feed() -> None:
        os.write(handle, b"1023,21.0\r\n" * 10)

    found = run("serial", motor, f'sources.board.device="{os.ttyname(held)}"', feed=feed)
    os.close(handle)
    os.close(held)
    assert found[0] == pytest.approx([(2.0 + 21.0) / 2])


class _Plc(socketserver.BaseRequestHandler):
    """Function 3 of Modbus TCP: register 0 is 300, 10 and 11 are 21.0 backwards."""

    def handle(self) -> None:
        while data := self.request.recv(260):
            number, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", data[:12])
            low, high = struct.unpack(">HH", struct.pack(">f", 21.0))[::-1]
            registers = {0: 300, 10: low, 11: high}
            values = [registers.get(address + at, 0) for at in range(count)]
            body = struct.pack(f">BBB{count}H", unit, function, 2 * count, *values)
            self.request.sendall(struct.pack(">HHH", number, 0, len(body)) + body)


def test_modbus(motor: Path) -> None:
    pytest.importorskip("pymodbus")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Plc) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        found = run("modbus", motor, 'sources.plc.host="127.0.0.1"', f"sources.plc.port={port}")
        server.shutdown()
        thread.join()
    assert found[0] == pytest.approx([(3.0 + 21.0) / 2])


def test_topics(motor: Path, broker: Mosquitto) -> None:
    device = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    device.connect("127.0.0.1", broker.port)
    device.loop_start()

    def feed() -> None:
        device.publish("zigbee2mqtt/motor", json.dumps({"acceleration": {"x": 3.0}, "battery": 9}))
        device.publish("plc/motor/temperature", "21.0")

    where = ('mqtt.host="127.0.0.1"', f"mqtt.port={broker.port}")
    found = run("topics", motor, *where, feed=feed)
    device.disconnect()
    device.loop_stop()
    assert found[0] == pytest.approx([12.0])


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Any]:
    """A FIFO, and what writes rows to it."""
    os.mkfifo(tmp_path / "rows")
    handle = os.open(tmp_path / "rows", os.O_RDWR | os.O_NONBLOCK)

    def feed() -> None:
        try:
            os.write(handle, b'{"x": 3.0, "case": 21}\n' * 10)
        except BlockingIOError:
            pass  # it is not read yet

    yield tmp_path / "rows", feed
    os.close(handle)


def test_stream(motor: Path, rows: Any) -> None:
    path, feed = rows
    assert run("stream", motor, f'sources.reader.path="{path}"', feed=feed)[0] == [12.0]


def test_joined(tmp_path: Path, rows: Any) -> None:
    shapes = {"image": [1, 8, 8, 1], "vib": [1, 20, 1]}
    package(tmp_path / "data" / "models", "machine", MACHINE, shapes)
    path, feed = rows
    image, vib = run("joined", tmp_path, f'sources.imu.path="{path}"', feed=feed)[-1]
    assert image > 10 and vib == pytest.approx(3.0)


@pytest.mark.assets
@pytest.mark.skipif(shutil.which("arecord") is None, reason="alsa-utils are not installed")
def test_microphone(assets: Path, tmp_path: Path) -> None:
    models = tmp_path / "data" / "models"
    models.mkdir(parents=True)
    write_package(propose(assets / "models/kws_ref_model.tflite", "keywords", licence="t"), models)
    os.mkfifo(tmp_path / "sound")
    config = tmp_path / "alsa.conf"
    config.write_text(
        "</usr/share/alsa/alsa.conf>\n"
        f'pcm.mic {{ type file slave.pcm "null" file "/dev/null" infile "{tmp_path}/sound" '
        'format "raw" }\n'
    )
    with wave.open(str(assets / "audio/yes_1000ms.wav")) as file:
        yes = file.readframes(file.getnframes())
    said, over = bytes(16000) + yes + bytes(96000), threading.Event()
    handle = os.open(tmp_path / "sound", os.O_RDWR)

    def speak() -> None:
        """Again and again, as fast as a microphone hears it: a twentieth of a second each time."""
        began, blocks = time.monotonic(), 0
        while not over.wait(max(0.0, began + blocks / 20 - time.monotonic())):
            at = blocks * 1600 % len(said)
            os.write(handle, (said + said)[at : at + 1600])
            blocks += 1

    def heard(status: dict[str, Any]) -> Any:
        microphone = status["sources"]["microphone"]
        enough = status["pipelines"]["words"]["records"] >= 1 and microphone.get("quiet")
        return microphone if enough else None

    agent = AgentProcess(
        EXAMPLES / "microphone.toml", tmp_path, "--strict", "--set",
        'sources.microphone.device="mic"', environment={"ALSA_CONFIG_PATH": str(config)},
    )  # fmt: skip
    speaker = threading.Thread(target=speak, daemon=True)
    with agent:
        speaker.start()
        try:
            source = agent.until(heard, 60)
            assert source["state"] == "ok" and source["xruns"] == 0
        finally:
            over.set()
            speaker.join()
    os.close(handle)
    records = [json.loads(line) for line in jsonl(tmp_path / "data")]
    # Half a word may sound like another one; which windows are looked at, the machine's load says.
    assert "yes" in {its["data"]["label"] for its in records if its["kind"] == "event"}
