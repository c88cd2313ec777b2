"""`infer` and `explain` from the desk and at the device: the same answers by the same names."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.capture.synthetic import BeltScene
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Desk

CONFIG = """
[device]
id = "door-7"
[mqtt]
host = "127.0.0.1"
port = {port}
[trust]
repository = "{folder}"
[commands]
allow = ["infer", "explain", "cancel"]
[sources.cam0]
kind = "synthetic"
fps = 5
[pipelines.belt]
source = "cam0"
model = "parts"
snapshot = true
live = true
rules = [{{ when = "score > 0.1", do = ["event"] }}]
"""
pytestmark = pytest.mark.timeout(280)


class Asking(Desk):
    """A desk with one device and a repository."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        super().__init__(broker.port, "door-7")
        self.repository = folder / "repository"
        (self.repository / "metadata").mkdir(parents=True)
        text = CONFIG.format(port=broker.port, folder=self.repository)
        self.agent = AgentProcess(text, folder)

    def cli(self, *arguments: object) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "edgeagent.cli", *map(str, arguments), "--json",
             "--data-dir", str(self.agent.data)],
            env={**os.environ, "EDGEAGENT_DEBUG": ""}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, mosquitto_installed: None) -> Iterator[Asking]:
    """One agent for all: each test has ids of its own."""
    folder = tmp_path_factory.mktemp("desk")
    with Mosquitto(folder / "broker") as broker:
        made = Asking(folder, broker)
        with made.agent as agent:
            agent.until(lambda its: its["link"]["state"] == "up" and its["outbox"]["delivered"])
            yield made
        made.close()


def picture(file: Path) -> Path:
    cv2.imwrite(str(file), BeltScene(9003, (320, 240), fault_rate=0.4).render(400)[0])
    return file


def test_the_desk_and_the_device_get_the_same_answers(desk: Asking, tmp_path: Path) -> None:
    file = picture(tmp_path / "part.png")
    inline = base64.b64encode(file.read_bytes()).decode()
    far = desk.ask("infer", "i1", model="parts", input=inline, name="part.png")
    assert far["status"] == "successful", far
    near = desk.cli("infer", "parts", file)
    assert far["result"]["predictions"] == near["predictions"] != []
    assert far["result"]["model"] == near["model"]
    near_predictions = near["predictions"]
    assert near.keys() - {"input", "sample"} == far["result"].keys() - {"of", "picture"}
    far = desk.ask("explain", "x1", model="parts", input=inline, name="part.png", runs=60)
    near = desk.cli("explain", "parts", file, "--runs", 60)
    assert {key: its for key, its in far["result"].items() if key != "of"} == near

    shutil.copy(file, desk.repository / "part.png")
    fetched = desk.ask("infer", "f1", model="parts", fetch="part.png")
    assert fetched["result"]["predictions"] == near_predictions
    assert fetched["result"]["of"] == {"input": "part.png"}
    assert desk.ask("infer", "f2", model="parts", fetch="none.png")["reason"] == "not-found"

    seen = desk.ask("infer", "i2", source="cam0")["result"]
    assert seen["of"]["source"] == "cam0" and seen["model"].startswith("parts@")
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(seen["picture"]["data"]), np.uint8), 1)
    assert shown is not None and seen["picture"]["frame"] == seen["of"]["frame"]
    here = desk.cli("infer", "parts", "--source", "cam0", "--save", tmp_path / "now.jpg")
    assert here.keys() - {"input", "sample"} == seen.keys()
    assert cv2.imread(str(tmp_path / "now.jpg")).shape == shown.shape


def test_a_record_is_asked_about_again(desk: Asking) -> None:
    def event() -> Any:
        told = [json.loads(its) for its in desk.on("edgeagent/door-7/state/belt")]
        return next((its["event"] for its in told if its.get("event")), None)

    wanted = desk.until(event)
    seen = desk.ask("infer", "r1", record=wanted)
    assert seen["status"] == "successful", seen
    assert seen["result"]["of"]["source"] == "cam0" and seen["result"]["picture"]["data"]
    why = desk.ask("explain", "r2", record=wanted, runs=40)["result"]
    assert max(map(max, why["heat"])) == 1.0 and why["picture"]["data"]


def test_what_can_not_be_asked_is_told_and_nothing_breaks(desk: Asking) -> None:
    broken = base64.b64encode(b"\xff\xd8\xff" + os.urandom(400)).decode()
    expected = {
        "n1": ({}, "usage", "exactly one of"),
        "n2": ({"source": "cam9"}, "not-found", "cam0"),
        "n3": ({"source": "cam0", "model": "part"}, "not-found", "parts"),
        "n4": ({"model": "parts", "input": broken}, "bad-input", "input.jpg"),
        "n5": ({"record": "e-999999"}, "not-found", "e-999999"),
        "n6": ({"model": "../x", "source": "cam0"}, "bad-arguments", "model"),
        "n7": ({"model": "parts", "input": "AAAA", "name": "a/b.jpg"}, "bad-arguments", "name"),
    }
    for id, (arguments, reason, word) in expected.items():
        ended = desk.ask("infer", id, **arguments)
        assert ended["status"] in ("failed", "rejected"), ended
        assert ended["reason"] == reason and word in ended["detail"], ended
    # A long one is ended by another command, and its process is gone.
    topic = desk.give("explain", "long", source="cam0", method="masks", runs=2000)
    desk.until(lambda: any(b'"executing"' in its for its in desk.on(topic)))
    assert desk.ask("cancel", "c1", target="long")["status"] == "successful"
    desk.until(lambda: b'"cancelled"' in desk.on(topic)[-1])
    tasks = Path(f"/proc/{desk.agent.pid}/task").iterdir()
    assert not "".join((its / "children").read_text() for its in tasks).split()
    assert desk.agent.client.status()["state"] == "online"


def test_who_watches_sees_every_result(desk: Asking) -> None:
    topic = "edgeagent/door-7/live/belt"
    desk.until(lambda: len(desk.on(topic)) >= 10)
    seen = [json.loads(its) for its in desk.on(topic)]
    numbers = [its["frame"] for its in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "each one, in order"
    assert all(its["at"].endswith("Z") and its["model"].startswith("parts@") for its in seen)
    assert any(its["predictions"] for its in seen)
    flags = [retained for name, _, retained in list(desk.got) if name == topic]
    assert not any(flags)
