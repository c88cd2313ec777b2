"""Every drill on an agent at work, with a real broker: noticed, degraded, recovered, accounted; and
nobody who counts or sounds a siren hears of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent.store.export import jsonl
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener

CONFIG = """
[device]
id = "door-7"
[mqtt]
host = "127.0.0.1"
port = {port}
[sources.belt]
kind = "synthetic"
fps = 10
[sources.other]
kind = "synthetic"
fps = 10
seed = 2
[pipelines.belt]
source = "belt"
model = "parts"
[pipelines.other]
source = "other"
model = "parts"
record = {{ events = true, every = 5 }}
"""
DRILLS = ("camera", "broker", "disk", "heat", "slow-model", "update")


def drill(agent: AgentProcess, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent", "drill", *arguments, "--json", "--config",
         str(agent.config), "--data-dir", str(agent.data)],
        capture_output=True, text=True, env={**os.environ, "EDGEAGENT_CLOCK": "synced"},
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_drill_passes(tmp_path: Path, broker: Mosquitto, full: bool) -> None:
    with AgentProcess(CONFIG.format(port=broker.port), tmp_path) as agent:
        before = agent.until(
            lambda its: its["link"]["state"] == "up" and its["state"] == "online"
            and all(one["steps"] > 5 for one in its["pipelines"].values()) and its, 40,
        )  # fmt: skip
        listener = Listener(broker.port, "edgeagent/door-7/state/#")
        names = DRILLS if full else ("camera", "broker")
        code, told = drill(agent, *names, "--seconds", "5" if full else "1")
        verdicts = {its["drill"]: its for its in told["drills"]}
        assert tuple(verdicts) == names
        for name, its in verdicts.items():
            assert its["passed"] and its["said"], (name, its, agent.log[-2000:])
        assert code == 0 and told["passed"] and told["tried"] == len(names)
        # It is the agent of before, and well.
        after = agent.until(lambda its: its["state"] == "online" and its, 20)
        assert after["boot"] == before["boot"] and after["link"]["connects"] == 2
        assert not list(agent.data.glob("drill-*"))
        # What is there now was said again after the loss, and none of the tests is in it.
        fresh = agent.client.status()["pipelines"]["other"]["steps"]
        agent.until(lambda its: its["pipelines"]["other"]["steps"] > fresh + 30, 30)
    listener.close()
    records = [json.loads(line) for line in jsonl(agent.data)]
    tests = {its["data"]["id"] for its in records if its["kind"] == "event" and its.get("test")}
    real = {its["data"]["id"] for its in records if its["kind"] == "event" and not its.get("test")}
    assert tests and real and not tests & real, "an event is a test from beginning to end"
    for _, payload, _ in listener.got:
        assert not any(id_ in payload.decode() for id_ in (f'"{its}"' for its in tests))
    assert any(its["kind"] == "result" and its.get("test") for its in records)
    assert not records[-1].get("test"), "tests end with the drill"


def test_what_can_t_be_tried_is_said(tmp_path: Path, full: bool) -> None:
    if not full:
        pytest.skip("one more agent: EDGEAGENT_TESTS=full")
    config = CONFIG.format(port=1).replace('host = "127.0.0.1"', 'host = ""')
    with AgentProcess(config, tmp_path) as agent:
        agent.until(lambda its: its["pipelines"]["belt"]["steps"] > 3, 40)
        told = agent.client.result("drill", what=["broker"], seconds=1.0)
        (its,) = told["drills"]
        assert its["said"] == "left out: there is no link to a broker" and its["noticed"] is None
        assert told["passed"] and told["tried"] == 0
