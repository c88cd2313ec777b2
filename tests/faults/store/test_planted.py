"""Flashes planted in the input of a whole agent that is killed again and again, counted at a
subscriber of its own: none is missing but those of the documented window before each kill.

The input is a row of pictures of a "1", with a "7" (the flash) as every tenth; each life of the
agent reads it from the beginning, a hundred pictures a second. Documented window: an event is on
the medium 50 ms after it was decided, a result 1 s (`outbox.durability`).
"""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from store_play import covered

from edgeagent import clock
from edgeagent.store.verify import verify
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.proxy import Proxy

EVERY = 10
"""A flash each so many pictures."""
FIRST = 1
"""Number modulo ten of the frames that are flashes; the source counts from 1."""
RATE = 100.0
WINDOW_MS = 50.0
SLACK_MS = 1500.0
"""Between picture and decision, on a machine that is busy with other tests."""
CONFIG = """
[device]
id = "d1"
[mqtt]
host = "127.0.0.1"
port = {port}
[outbox]
max = "4 MiB"
[sources.scans]
kind = "images"
path = "{pictures}"
loop = true
fps = 100
[pipelines.flash]
source = "scans"
model = "digits"
on = 1
off = 1
record = {{ every = 1 }}
[[pipelines.flash.rules]]
when = "label == '7'"
do = ["event"]
"""


class Subscriber:
    """Knows nothing of the agent's code: MQTT, zlib, JSON."""

    def __init__(self, port: int) -> None:
        self.records: dict[tuple[str, int], dict[str, Any]] = {}
        self.told: set[tuple[str, int]] = set()
        self.faults: list[str] = []
        self._lock = threading.Lock()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="witness", protocol=paho.MQTTv311,
            clean_session=False,
        )  # fmt: skip
        self._client.on_connect = lambda client, *_: client.subscribe("edgeagent/d1/records", 1)
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _heard(self, _client: Any, _data: Any, message: Any) -> None:
        batch = json.loads(zlib.decompress(message.payload))
        with self._lock:
            for record in batch["records"]:
                key = (batch["epoch"], record["seq"])
                if self.records.setdefault(key, record) != record:
                    self.faults.append(f"{key} means two things")
                if record["kind"] == "gap" and record["to"] is not None:
                    self.told |= {(batch["epoch"], seq) for seq in covered(record)}

    def known(self, epoch: str, upto: int) -> bool:
        with self._lock:
            return all(
                (epoch, seq) in self.records or (epoch, seq) in self.told
                for seq in range(1, upto + 1)
            )

    def stop(self) -> None:
        self._client.loop_stop()
        self._client.disconnect()


@dataclass
class Life:
    """What one life of the agent left: its seqs, and when it ended (boot time)."""

    first: int
    last: int
    killed_ms: float
    lost: int = 0
    """Flashes that were in front of the agent before the kill and left nothing."""
    oldest_lost_ms: float = 0.0


@dataclass
class Scene:
    agent: AgentProcess
    proxy: Proxy
    subscriber: Subscriber
    lives: list[Life] = field(default_factory=list)
    epochs: set[str] = field(default_factory=set)

    def live(self, link: str, life_s: float, chance: random.Random) -> None:
        """One life under a link that is up, down or flapping, ended by SIGKILL."""
        self.proxy.mode = "refuse" if link == "down" else "pass"
        if link == "down":
            self.proxy.cut()
        self.agent.start()
        end = time.monotonic() + life_s
        while (left := end - time.monotonic()) > 0:
            if link != "flapping":
                time.sleep(left)
                break
            time.sleep(min(left, chance.uniform(0.1, 0.6)))
            self.proxy.cut(reset=chance.random() < 0.5)
        killed_ms = clock.mono_ms()
        self.agent.kill()
        if not (self.agent.data / "db" / "outbox.db").exists():
            return
        report = verify(self.agent.data, deep=len(self.lives) % 10 == 0)
        assert report.ok, report
        before = self.lives[-1].last if self.lives else 0
        self.lives.append(Life(before + 1, report.produced, killed_ms))
        self.epochs.add(report.epoch)


def until(condition: Callable[[], bool], timeout_s: float, told: Callable[[], Any]) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)


@pytest.fixture
def scene(tmp_path: Path, repository: Path) -> Iterator[Scene]:
    golden = repository / "models" / "digits" / "1.0.0" / "golden"
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(EVERY):
        shutil.copy(golden / f"{1 if number else 7}.png", pictures / f"{number}.png")
    with Mosquitto(tmp_path / "broker") as broker, Proxy(broker.port) as proxy:
        config = CONFIG.format(port=proxy.port, pictures=pictures)
        subscriber = Subscriber(broker.port)
        yield Scene(
            AgentProcess(
                # So many violent ends in a minute are safe mode, but for that.
                config,
                tmp_path / "agent",
                environment={"EDGEAGENT_HEALTHY_AFTER": "0"},
            ),
            proxy,
            subscriber,
        )
        subscriber.stop()


def judge(life: Life, records: dict[int, dict[str, Any]], told: set[int]) -> None:
    """No flash before the last sign of life is missing; what came after is within the window."""
    of_life = [records[seq] for seq in range(life.first, life.last + 1) if seq in records]
    seen = [r for r in of_life if "frame" in r and r["kind"] in ("event", "result")]
    if not seen:
        return
    # Numbers that a gap tells of (a full outbox thins) may have been anything.
    gaps = sum(seq in told for seq in range(life.first, life.last + 1))
    start = min(r["frame"] for r in seen)
    end = max(r["frame"] for r in seen)
    flashes = {r["frame"] for r in seen if r["kind"] == "event" and r["data"].get("phase") == "new"}
    assert all(frame % EVERY == FIRST for frame in flashes), flashes
    wanted = {frame for frame in range(start, end + 1) if frame % EVERY == FIRST}
    missing = wanted - flashes
    assert len(missing) <= gaps, (life, missing)
    newest = max(seen, key=lambda r: r["frame"])
    at = newest["mono_ms"]
    shown = int(max(0.0, life.killed_ms - at) * RATE / 1000)
    lost = [n for n in range(end + 1, end + shown + 1) if n % EVERY == FIRST]
    life.lost = len(lost)
    if lost:
        life.oldest_lost_ms = life.killed_ms - at - (lost[0] - end) * 1000 / RATE
    assert life.oldest_lost_ms < WINDOW_MS + SLACK_MS, life


@pytest.mark.timeout(3600)
def test_planted_flashes_survive_kills(scene: Scene, full: bool) -> None:
    chance = random.Random("planted")
    rounds = 300 if full else 6
    for number in range(rounds):
        life_s = chance.uniform(0.05, 4.0) if full else 0.8 + number * 0.4
        scene.live(("up", "down", "flapping")[number % 3], life_s, chance)
    assert len(scene.epochs) == 1
    (epoch,) = scene.epochs
    scene.proxy.mode = "pass"
    with scene.agent as agent:
        agent.until(lambda status: status["link"]["state"] == "up")
    report = verify(scene.agent.data, deep=True)
    assert report.ok and report.epoch == epoch
    # The rest goes out without anything new coming in.
    quiet = AgentProcess(_without_pipelines(scene.agent), scene.agent.folder)
    with quiet:
        quiet.until(lambda status: status["outbox"]["pending"] == 0, 60)
        last = quiet.client.status()["outbox"]["produced"]
        until(lambda: scene.subscriber.known(epoch, last), 30, lambda: quiet.log[-2000:])
    assert not scene.subscriber.faults
    records = {seq: record for (_, seq), record in scene.subscriber.records.items()}
    told = {seq for _, seq in scene.subscriber.told}
    for life in scene.lives:
        judge(life, records, told)
    flashes = [
        r for r in records.values() if r["kind"] == "event" and r["data"].get("phase") == "new"
    ]
    lost = sum(life.lost for life in scene.lives)
    worst = max(life.oldest_lost_ms for life in scene.lives)
    print(
        f"{rounds} kills, {len(flashes)} flashes delivered, {lost} within {worst:.0f} ms before"
        f" a kill lost, {len(told)} numbers told by gaps, {last} produced"
    )
    assert len(flashes) > rounds


def _without_pipelines(agent: AgentProcess) -> str:
    text = agent.config.read_text(encoding="utf-8")
    return text.partition("[sources.scans]")[0]
