"""A camera that is covered and freezes, through the whole agent and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.store.export import jsonl
from edgeagent.testing.agent import AgentProcess

CONFIG = """
[sources.belt]
kind = "synthetic"
fps = 15
mishaps = [
  { kind = "covered", at_s = 4, for_s = 2.5 },
  { kind = "frozen", at_s = 8.5, for_s = 5 },
]
[sources.belt.sight]
enabled = true
every = "500 ms"
after = "500 ms"
frozen_after = "1500 ms"
looks = 4
[sources.other]
kind = "synthetic"
seed = 2
fps = 15
[pipelines.belt]
source = "belt"
model = "parts"
[pipelines.other]
source = "other"
model = "parts"
"""


def edgeagent(folder: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent", *arguments, "--config", str(folder / "agent.toml"),
         "--data-dir", str(folder / "data"), "--json"],
        capture_output=True, text=True, env={**os.environ, "EDGEAGENT_CLOCK": "synced"},
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


@pytest.mark.usefixtures("in_full")
def test_faults_are_told_and_the_other_pipeline_goes_on(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(CONFIG)
    with AgentProcess(tmp_path / "agent.toml", tmp_path) as agent:

        def belt(status: dict[str, Any]) -> str:
            fault: str = status["sources"]["belt"]["sight"]["fault"]
            return fault

        agent.until(lambda status: belt(status) == "covered", 20)
        code, report = edgeagent(tmp_path, "status")
        assert code == 1
        assert report["state"] == "degraded"
        assert any(its.startswith("belt: is covered (since ") for its in report["reasons"])
        agent.until(lambda status: belt(status) == "", 20)
        before = report["pipelines"]["other"]["steps"], time.monotonic()
        agent.until(lambda status: belt(status) == "frozen", 20)
        agent.until(lambda status: belt(status) == "", 20)
        _, report = edgeagent(tmp_path, "status")
        rate = (report["pipelines"]["other"]["steps"] - before[0]) / (time.monotonic() - before[1])
        assert rate > 10, "the other one did not go on"
        assert not any(its.startswith("other") for its in report["reasons"])
        view = tmp_path / "data" / "views" / "belt.json"
        assert view.exists()
        assert edgeagent(tmp_path, "devices", "learn", "belt") == (
            0, {"source": "belt", "forgotten": True},
        )  # fmt: skip
        agent.until(
            lambda status: status["sources"]["belt"]["sight"]["view"] == "learned"
            and view.exists(), 30,
        )  # fmt: skip
        code, problem = edgeagent(tmp_path, "devices", "learn", "bolt")
        assert code == 3
        assert "no source 'bolt'" in problem
    records = [json.loads(line) for line in jsonl(tmp_path / "data")]
    told = [its for its in records if its["kind"] == "health"]
    assert [(its["source"], its["data"]["phase"], its["data"]["fault"]) for its in told] == [
        ("belt", "new", "covered"), ("belt", "end", "covered"),
        ("belt", "new", "frozen"), ("belt", "end", "frozen"),
    ]  # fmt: skip
    assert told[1]["data"]["lasted_s"] < 6
