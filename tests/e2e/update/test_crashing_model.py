"""A model that segfaults in the runtime, put there by hand: the agent lives and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.manifest import load_package
from edgeagent.testing import spoil
from edgeagent.testing.agent import AgentProcess

pytest.importorskip("flatbuffers")


def test_the_agent_lives_with_a_model_that_crashes(repository: Path, tmp_path: Path) -> None:
    good = load_package(repository / "models" / "parts" / "1.0.0")
    spoil.crashing(good, tmp_path / "own" / "parts" / "9.0.0")
    config = f"""
[models]
path = ["{tmp_path}/own"]
[sources.belt]
kind = "synthetic"
fps = 10
[pipelines.bad]
source = "belt"
model = "parts"
version = "9.0.0"
[pipelines.good]
source = "belt"
model = "parts"
version = "1.0.0"
"""
    with AgentProcess(config, tmp_path / "agent") as agent:
        status = agent.until(
            lambda now: (
                now
                if now["pipelines"]["bad"]["state"] == "down"
                and now["pipelines"]["good"].get("steps", 0) > 5
                else None
            )
        )
        assert "SIGSEGV" in status["pipelines"]["bad"]["reason"]
        assert "tried in a process of its own" in status["pipelines"]["bad"]["reason"]
        assert status["state"] == "degraded"
