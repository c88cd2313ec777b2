"""Real agents with a real model, a signed repository, and a rollout that an observer recounts.

A version whose budget one board can't keep stops among the canaries; the next one goes through,
and a device that reports `committed` and is never heard of again is found. Twenty agents take two
minutes of two cores, so this is for EDGEAGENT_TESTS=full; one real device after the other is in
tests/e2e/update, and many simulated ones are in test_rollout_simulated.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.update.truth import Hold, Truths
from observer import Observer

ROOT = Path(__file__).resolve().parents[3]
BOARDS = ("rpi4", "rpi5")
AMPLE = "\n[budget.default]\np95_ms = 5000\npss_mb = 1000\n"
"""This machine is shared: what it measures while twenty agents prove says nothing."""


def config(device: str, profile: str, port: int, root: Path) -> str:
    return f"""
[device]
id = "{device}"
profile = "{profile}"
groups = ["line"]
[mqtt]
host = "127.0.0.1"
port = {port}
[trust]
root = "{root}"
operators = "{root.parent}"
[metrics]
every = "2 s"
[sources.belt]
kind = "synthetic"
scene = "belt"
seed = 7
fps = 2
[pipelines.parts]
source = "belt"
model = "parts"
"""


def package(folder: Path, version: str, more: str = "") -> Path:
    """A further version of `parts`."""
    from edgeagent.prove.lint import lint

    place = folder / "parts" / version
    shutil.copytree(ROOT / "models" / "parts" / "1.0.0", place)
    text = (place / "model.toml").read_text().replace('version = "1.0.0"', f'version = "{version}"')
    (place / "model.toml").write_text(text + more)
    found = [str(its) for its in lint(place, fix=True) if its.level == "error"]
    assert not found, found
    return place


class Line:
    """The agents and the operator's tools, ended with the test."""

    def __init__(self, folder: Path, port: int, count: int) -> None:
        self.folder, self.port = folder, port
        self.home = self._repository()
        self.agents: dict[str, AgentProcess] = {}
        self._tools: list[subprocess.Popen[bytes]] = []
        root = self.home.first_root
        for n in range(count):
            device = f"cam-{n:02}"
            text = config(device, BOARDS[n % 7 in (0, 2, 5)], port, root)
            self.agents[device] = AgentProcess(
                text, folder / device,
                environment={"EDGEAGENT_CLOCK": "synced"},
                python=("nice", "-n", "10", sys.executable, "-m", "edgeagent.agent"),
            )  # fmt: skip

        # A person at one device does not want it changed: that is no failure.
        self.held = max(d for d, its in self.agents.items() if "rpi4" in its.config.read_text())
        Truths(self.agents[self.held].data / "models").change("parts", hold=Hold("ann"))

    def _repository(self) -> Any:
        pytest.importorskip("tuf", reason="python-tuf is an extra")
        pytest.importorskip("cryptography", reason="cryptography is an extra")
        pytest.importorskip("ai_edge_litert", reason="a runtime is an extra")
        from edgeagent.fleet.repository import ceremony

        made = ceremony.begin(
            self.folder / "repository", keys=1, threshold=1, passphrase=b"", models=["parts"]
        )
        return made.home

    def tool(self, *words: str, broker: bool = True) -> subprocess.Popen[bytes]:
        where = ["--port", str(self.port)] if broker else []
        with (self.folder / f"{len(self._tools)}-{words[0]}.log").open("wb") as log:
            self._tools.append(
                subprocess.Popen(
                    [sys.executable, "-m", "edgeagent.cli", "fleet", *words, *where],
                    cwd=self.folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
        return self._tools[-1]

    def publish(self, place: Path) -> None:
        repository = ("--repository", str(self.home.folder))
        process = self.tool("publish", str(place), *repository, broker=False)
        assert process.wait(60) == 0, self.logs()

    def report(self, name: str) -> dict[str, Any]:
        process = self.tool("rollout", "report", name, "--json", broker=False)
        assert process.wait(30) == 0, self.logs()
        log = self.folder / f"{len(self._tools) - 1}-rollout.log"
        return dict(json.loads(log.read_text().splitlines()[-1]))

    def logs(self) -> str:
        return "\n".join(
            f"{its.name}: {its.read_text()[-2000:]}" for its in sorted(self.folder.glob("*.log"))
        )

    def end(self) -> None:
        for process in self._tools:
            if process.poll() is None:
                process.terminate()
        for its in self.agents.values():
            if its.process is not None and its.process.poll() is None:
                its.process.terminate()
        for its in self.agents.values():
            if its.process is not None:
                its.stop()
        for process in self._tools:
            process.wait(10)


@pytest.fixture
def line(tmp_path: Path, broker: Mosquitto, full: bool) -> Iterator[Line]:
    if not full:
        pytest.skip("twenty real agents: EDGEAGENT_TESTS=full")
    made = Line(tmp_path, broker.port, 20)
    yield made
    made.end()


@pytest.mark.timeout(1500)
def test_canaries_stop_what_a_board_can_not_bear_and_silence_is_found(
    line: Line, broker: Mosquitto, tmp_path: Path
) -> None:
    count, patience = len(line.agents), 600.0
    line.publish(package(tmp_path / "new", "1.1.0", AMPLE + "[budget.rpi5]\np95_ms = 0.001\n"))
    line.publish(package(tmp_path / "new", "1.2.0", AMPLE))
    line.tool("serve", "--repository", str(line.home.folder))
    line.tool("collect")
    observer = Observer(broker.port)
    try:
        for one in line.agents.values():
            one.start()
        observer.until(
            lambda: len(observer.online()) == count and len(observer.profiles()) == count, patience
        )
        _aborts(line, observer, patience)
        _finds_the_silent(line, observer, patience, count)
    finally:
        observer.close()


COMMON = ("--group", "line", "--soak", "2 s", "--settle", "3 s", "--silent", "12 s",
          "--at-once", "4", "--timeout", "3 min")  # fmt: skip


def _aborts(line: Line, observer: Observer, patience: float) -> None:
    driver = line.tool("rollout", "create", "parts@1.1.0", *COMMON, "--waves", "30%,100%",
                       "--abort-profile", "50% after 2")  # fmt: skip
    assert driver.wait(patience) == 1, line.logs()
    found = line.report("parts-1.1.0")
    assert found["reason"].startswith("profile rpi5: "), found["reason"]
    assert "prove: budget" in found["reason"]
    asked = observer.by_profile(observer.asked("1.1.0"))
    first = observer.first_wave(0.3)
    assert asked["rpi5"] <= first["rpi5"] and asked["rpi4"] <= first["rpi4"]
    point = observer.abort_point("1.1.0", 0.5, 2)
    assert point is not None and point[0] == "rpi5"
    late = [d for d, at in observer.asked("1.1.0").items() if at > point[1] + 1.5]
    assert not late, "nobody is asked once the threshold is passed"
    ends = {d: how for d, (_, how) in observer.ended("1.1.0").items()}
    for its in found["devices"]:
        if its["standing"] in ("failed", "well"):
            assert ends[its["device"]] == {"failed": "failed", "well": "committed"}[its["standing"]]
    evidence = [its for entry in found["reasons"] for its in entry["evidence"]]
    assert all(its["data"]["reason"] == "prove: budget" for its in evidence) and evidence


def _finds_the_silent(line: Line, observer: Observer, patience: float, count: int) -> None:
    held = line.held
    driver = line.tool("rollout", "create", "parts@1.2.0", *COMMON, "--waves", "30%,100%",
                       "--abort", "60% after 4", "--abort-profile", "60% after 3")  # fmt: skip
    observer.until(lambda: observer.ended("1.2.0"), patience)
    gone = next(d for d, (_, how) in observer.ended("1.2.0").items() if how == "committed")
    line.agents[gone].kill()
    killed = time.time()
    assert driver.wait(patience) == 0, line.logs()
    found = line.report("parts-1.2.0")
    stood = {its["device"]: its for its in found["devices"]}
    assert len(stood) == count and found["state"] == "done"
    assert stood[gone]["standing"] == "silent", stood[gone]
    assert stood[held]["standing"] == "held", stood[held]
    others = {its["standing"] for d, its in stood.items() if d not in (gone, held)}
    assert others == {"well"}, found["reasons"]
    total = found["total"]
    assert (total["well"], total["bad"], total["held"]) == (count - 2, 1, 1)
    # What is said of the waves is what was seen of them.
    order, first = observer.order("1.2.0"), observer.first_wave(0.3)
    assert observer.by_profile(order[: first.total()]) == first
    ends = observer.ended("1.2.0")
    second = observer.asked("1.2.0")[order[first.total()]]
    assert second > max(ends[d][0] for d in order[: first.total()] if d in ends)
    if gone in order[: first.total()]:
        assert second > killed + 10, "a wave waits until the silent one is given up"
    committed = {device for device, (_, how) in ends.items() if how == "committed"}
    assert committed == set(line.agents) - {held}
    assert observer.revs_rise()
    last = {
        s.device: s.document["models"]["parts"]["version"]
        for s in observer.seen
        if s.what == "reported" and "parts" in s.document.get("models", {})
    }
    assert last.pop(held) != "1.2.0" and set(last.values()) == {"1.2.0"}
