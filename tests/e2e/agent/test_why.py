"""Silences planted in a real agent, explained by the command line: first by the agent itself, then
from what it has left when it is gone."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.agent import AgentProcess

CONFIG = """
[mqtt]
host = "127.0.0.1"
port = {closed}
[sources.belt]
kind = "synthetic"
fps = 15
[sources.gate]
kind = "rtsp"
url = "rtsp://127.0.0.1:{closed}/live"
[pipelines.told]
source = "belt"
model = "parts"
[pipelines.strict]
source = "belt"
model = "parts"
threshold = 0.9999
[pipelines.patient]
source = "belt"
model = "parts"
[[pipelines.patient.rules]]
when = "age > 500 s"
[pipelines.door]
source = "gate"
model = "parts"
[pipelines.ghostly]
source = "belt"
model = "ghost"
[pipelines.off]
source = "belt"
model = "parts"
enabled = false
"""
PLANTED = {
    "told": ("link", r"\d+ events? began .*, but they can't be sent: 127\.0\.0\.1:\d+: connection "
                     r"refused"),
    "strict": ("threshold", r"\w+ 0\.99\d+ < 0\.9999\d*, [\d,]+ times; nearest \d\d:\d\d"),
    "patient": ("rule", r"\w+ .* was seen [\d,]+ times, and the rule wants age > 500 s, and it was "
                        r"[\d.]+ s at most; nearest .*"),
    "door": ("source", r"gate: .*127\.0\.0\.1.*, since \d\d:\d\d \(\d+ s\)"),
    "ghostly": ("source", r"ghostly: there is no model 'ghost'.*, since .*"),
    "off": ("off", r"off is switched off: pipelines\.off\.enabled = false"),
}  # fmt: skip


def why(agent: AgentProcess, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent", "why", *arguments, "--config", str(agent.config),
         "--data-dir", str(agent.data), "--json"],
        capture_output=True, text=True, env={**os.environ, "EDGEAGENT_CLOCK": "synced"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return {**told, "by": done.stderr}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        with AgentProcess(CONFIG.format(closed=taken.getsockname()[1]), tmp_path) as running:
            yield running


def test_planted_silences(agent: AgentProcess) -> None:
    def ready(status: dict[str, Any]) -> bool:
        its = status["pipelines"]
        return (
            status["outbox"]["pending"] > 2
            and its["patient"]["steps"] > 40
            and its["ghostly"]["state"] == "down"
            and any(line.startswith("gate: ") for line in status["reasons"])
        )

    agent.until(ready, 40)
    agent.client.result("pipeline", name="patient", action="stop")
    for pipeline, (cause, sentence) in PLANTED.items():
        answer = agent.client.result("why", target=pipeline)
        assert answer["cause"] == cause and re.fullmatch(sentence, answer["sentence"]), answer
    # One of the events that wait, sample by sample.
    event = next(filter(None, agent.client.result("why", target="told")["facts"]["events"]))
    told = why(agent, event)
    assert "running agent" in told["by"] and told["sentence"].startswith(f"{event}: ")
    assert told["facts"]["pipeline"] == "told" and told["facts"]["scores"]
    # What it has left is there although it was killed within its first minute.
    agent.kill()
    killed = why(agent, "door")
    assert "Read from the files" in killed["by"] and killed["cause"] == "not-running"
    assert "was not stopped in good order" in killed["sentence"]
