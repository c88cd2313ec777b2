"""Drift from the camera to the annotation tool: planted, told once, its samples asked for and put
together as a COCO set, and over; with a real broker, a killed agent and a killed collector."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.capture.synthetic.belt import BeltScene
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

CONFIG = """
[device]
id = "line3"
site = "hall 2"
[mqtt]
host = "127.0.0.1"
port = {port}
[commands]
allow = ["pool", "drift", "why"]
[sources.cam]
kind = "folder"
path = "{folder}"
existing = true
every = "100 ms"
then = "delete"
[pipelines.door]
source = "cam"
model = "parts"
[pipelines.door.drift]
every = "500 ms"
learn = "4 min"
samples = 40
threshold = 0.4
[pipelines.door.pool]
pause = "4 s"
random = "10 s"
each = 30
"""
STEP_S = 1.0


class Camera:
    """Puts pictures of a belt into a folder; each is a second later than the one before."""

    def __init__(self, folder: Path) -> None:
        import cv2

        self._cv2 = cv2
        self._folder = folder
        folder.mkdir()
        self._scene = BeltScene(3, (320, 240))
        self._at = time.time() - 3600.0
        self.taken = 0

    def takes(self, count: int, light: float = 1.0) -> None:
        for _ in range(count):
            self.taken += 1
            pixels, _ = self._scene.render(self.taken % 80)
            file = self._folder / f"{self.taken:05d}.jpg"
            self._cv2.imwrite(str(file), (pixels * light).astype(np.uint8))
            self._at += STEP_S
            os.utime(file, (self._at, self._at))


def edgeagent(agent: AgentProcess, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent", *arguments, "--config", str(agent.config),
         "--data-dir", str(agent.data), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def drift_of(subscriber: Any) -> list[dict[str, Any]]:
    """What was told of drift, in order."""
    told = sorted(subscriber.records().items())
    return [its["data"] for _, its in told if its["data"].get("fault") == "drift"]


def ordered(subscriber: Any, id_: str, **arguments: Any) -> dict[str, Any]:
    """A command, as anybody would give it, and its result."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = {"status": "init", "by": "anna", "at": at, **arguments}
    topic = f"edgeagent/line3/cmd/pool/{id_}"
    subscriber.client.publish(topic, json.dumps(body), qos=1, retain=True)
    final = ("successful", "failed", "rejected")
    subscriber.until(lambda its: (its.last(f"cmd/pool/{id_}") or {}).get("status") in final)
    answer: dict[str, Any] = subscriber.last(f"cmd/pool/{id_}")
    assert answer["status"] == "successful", answer
    result: dict[str, Any] = answer["result"]
    return result


@pytest.mark.usefixtures("in_full")
def test_from_the_camera_to_the_annotation_tool_and_back(
    broker: Mosquitto, subscriber: Any, fleet: Any, tmp_path: Path
) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    camera = Camera(tmp_path / "pictures")
    url, folder = str(tmp_path / "fleet.db"), tmp_path / "set"
    collector = fleet.collector(url, broker.port, "--coco", str(folder)).collecting()
    config = CONFIG.format(port=broker.port, folder=tmp_path / "pictures")
    with AgentProcess(config, tmp_path / "agent") as agent:
        # Learned, with a kill in the middle of the week.
        camera.takes(150)
        agent.until(lambda its: its["drift"]["door"]["looks"] >= 130)
        agent.until(lambda _: list((agent.data / "drift").rglob("*.sketches")))
        agent.kill()
        agent.start()
        learned = agent.until(lambda its: its["drift"]["door"])
        assert learned["state"] == "learning"
        assert learned["looks"] > 0
        camera.takes(320)
        agent.until(lambda its: its["drift"]["door"]["state"] == "watching")
        camera.takes(60)
        agent.until(lambda its: "brightness" in its["drift"]["door"].get("distance", {}))
        assert drift_of(subscriber) == []

        # Planted: somebody has turned the lamp down.
        camera.takes(60, light=0.4)
        subscriber.until(lambda its: len(drift_of(its)) == 1)
        (begun,) = drift_of(subscriber)
        assert begun["phase"] == "new"
        named = {its["feature"]: its for its in begun["changed"]}
        assert named["brightness"]["now"][0] < 0.6 * named["brightness"]["was"][0]
        report = agent.client.status()
        assert report["state"] == "degraded"
        assert any(its.startswith("door: drift: ") for its in report["reasons"])
        found = agent.client.result("doctor")["findings"]
        assert [its["severity"] for its in found if its["check"] == "drift"] == ["problem"]
        answer = agent.client.result("why", target="door")
        assert any("drift" in line for line in answer["lines"])

        # Asked for, twice by the same order: each sample once.
        pooled = ordered(subscriber, "list1")
        assert pooled["samples"]["door"]["drift"] > 0
        first = ordered(subscriber, "send1", action="send", limit=4)
        again = ordered(subscriber, "send1", action="send", limit=4)
        assert again == first
        collector.kill()
        rest = ordered(subscriber, "send2", action="send", limit=200)
        collector = fleet.collector(url, broker.port, "--coco", str(folder)).collecting()
        sent = {its["id"] for its in (*first["sent"], *rest["sent"])}
        assert len(sent) == len(first["sent"]) + len(rest["sent"]) > 4
        assert all("anna" in line for line in agent.log.splitlines() if "pool are sent" in line)

        # The belt comes round again: what is the same picture is there once.
        pictures = {its["sha256"] for its in (*first["sent"], *rest["sent"])}

        def complete() -> bool:
            file = folder / "instances.json"
            return file.exists() and len(json.loads(file.read_text())["images"]) == len(pictures)

        agent.until(lambda _: complete(), 40)
        made = coco.COCO(str(folder / "instances.json"))
        images = made.loadImgs(made.getImgIds())
        assert {its["attributes"]["device"] for its in images} == {"line3"}
        assert {its["attributes"]["site"] for its in images} == {"hall 2"}
        assert {its["attributes"]["reason"] for its in images} >= {"drift"}
        assert all((folder / its["file_name"]).stat().st_size > 500 for its in images)
        assert [its["name"] for its in made.loadCats(made.getCatIds())][:3] == [
            "whole", "cracked", "missing"
        ]  # fmt: skip
        assert all(0 < its["score"] <= 1 for its in made.loadAnns(made.getAnnIds()))
        assert len(made.getAnnIds()) > 0
        at_device = tmp_path / "at-device"
        exported = edgeagent(agent, "pool", "export", "--coco", str(at_device))
        assert exported["samples"] >= len(pictures)

        # Over, once.
        camera.takes(80)
        subscriber.until(lambda its: len(drift_of(its)) == 2)
        assert [its["phase"] for its in drift_of(subscriber)] == ["new", "end"]
        agent.until(lambda its: its["drift"]["door"]["state"] == "watching")
    collector.stop()
