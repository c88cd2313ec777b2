"""The governor in a whole agent, on the files of a made-up board: seen in `status`, told in
records, over when the board is cool again; and models that are loaded on demand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.thermal import Board, World

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("in_full")

CONFIG = """
[governor]
limit_c = 80
[sources.belt]
kind = "synthetic"
fps = 30
[pipelines.door]
source = "belt"
model = "parts"
priority = 7
[pipelines.yard]
source = "belt"
model = "parts"
priority = 2
"""


def on_board(root: Path) -> tuple[str, ...]:
    """An agent that finds the kernel's files below another root, and whose governor's time goes
    forty times as fast."""
    return (
        sys.executable, "-c",
        "import sys, time; from pathlib import Path; from types import SimpleNamespace; "
        "from edgeagent.device import health; "
        f"health.ROOT = Path({str(root)!r}); "
        "import edgeagent.agent.governing as governing; governing._EVERY_S = 0.05; "
        "governing.time = SimpleNamespace(monotonic=lambda: 40 * time.monotonic()); "
        "from edgeagent.agent import main; sys.exit(main(sys.argv[1:]))",
    )  # fmt: skip


def cli(agent: AgentProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeagent", *words, "--config", str(agent.config),
               "--data-dir", str(agent.data)]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    # At 80 columns sentences go over several lines.
    ended.stdout = " ".join(ended.stdout.split())
    return ended


def test_a_hot_board_does_less_says_so_and_recovers(tmp_path: Path) -> None:
    root = tmp_path / "root"
    world = World(Board("b", 20.0, 10.0, 60.0, 5.0, 30.0), root, noise_k=0.0)
    with AgentProcess(CONFIG, tmp_path / "agent", python=on_board(root)) as agent:
        agent.until(lambda status: status["governor"]["temperature_c"] == 30.0)
        status = agent.until(lambda s: s["pipelines"]["yard"]["steps"] > 30 and s)
        assert [its["sharing"] for its in status["pipelines"].values()] == [2, 2]
        world.ambient_c = 72.0
        world.step(0.0, 0.01)

        def resting(status: dict[str, Any]) -> Any:
            return status["pipelines"]["yard"]["state"] == "paused" and status

        status = agent.until(resting)
        assert status["state"] == "degraded"
        (reason,) = status["reasons"]
        assert reason.startswith("governor: frame rate at ")
        assert "yard of priority 2 rests" in reason
        assert "cpu-thermal is at 82 °C (limit 80 °C), the board slows down: throttled" in reason
        assert "it rests: cpu-thermal" in status["pipelines"]["yard"]["reason"]
        assert status["pipelines"]["door"]["state"] == "ok"
        said = cli(agent, "status")
        assert said.returncode == 1
        assert "governor" in said.stdout and "cpu-thermal 82 °C of 80 °C" in said.stdout
        world.ambient_c = 20.0
        world.step(0.0, 3600.0)
        status = agent.until(lambda status: status["state"] == "online" and status)
        assert status["governor"]["steps"] == []
        assert status["governor"]["rate"] == 1.0
        assert status["pipelines"]["yard"]["state"] == "ok"
        assert cli(agent, "status").returncode == 0
        told = agent.log
    assert "yard of priority 2 rests: cpu-thermal" in told
    records = cli(agent, "outbox", "peek", "--kind", "health", "--json").stdout
    assert '"unit": "governor"' in records


def test_a_model_that_nobody_needs_is_loaded_on_demand(tmp_path: Path) -> None:
    config = CONFIG + 'unload_after = "1 s"\n'
    with AgentProcess(config, tmp_path / "agent") as agent:
        agent.until(lambda status: status["pipelines"]["yard"]["steps"] > 5)
        assert cli(agent, "pipeline", "pause", "yard").returncode == 0
        agent.until(lambda status: status["pipelines"]["yard"].get("unloaded"))
        assert "unloaded until it is needed" in cli(agent, "status").stdout
        assert cli(agent, "pipeline", "start", "yard").returncode == 0
        status = agent.until(
            lambda status: status["pipelines"]["yard"].get("cold_starts") and status
        )
        assert status["pipelines"]["yard"]["cold_start_ms"] > 0
        assert status["state"] == "online"
        assert "when it was unloaded (1 times)" in cli(agent, "status").stdout
