"""Less and less room for addresses: what can run runs, and what can't says why."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from edgeagent.testing.agent import AgentProcess

pytestmark = [
    pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit (util-linux) is missing"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux"),
]
CONFIG = """
[sources.belt]
kind = "synthetic"
[pipelines.parts]
source = "belt"
model = "parts"
"""


def within(mib: int, folder: Path) -> AgentProcess:
    python = ("prlimit", f"--as={mib << 20}", sys.executable, "-m", "edgeagent.agent")
    return AgentProcess(CONFIG, folder, python=python)


def test_too_little_memory_is_told_in_words(tmp_path: Path) -> None:
    with AgentProcess(CONFIG, tmp_path / "free") as agent:
        agent.until(lambda status: status["pipelines"]["parts"]["steps"] > 3)
        lines = Path(f"/proc/{agent.pid}/status").read_text().splitlines()
        peak = int(next(its.split()[1] for its in lines if its.startswith("VmPeak"))) >> 10
    with within(peak + 64, tmp_path / "enough") as agent:
        agent.until(lambda status: status["pipelines"]["parts"]["steps"] > 3)
    with within(peak * 6 // 10, tmp_path / "less") as agent:
        told = agent.until(lambda status: status["reasons"])
        assert told == [its for its in told if its.startswith("parts: ")]
        assert "a library can't be loaded" in told[0]
        assert "Traceback" not in agent.log
    little = within(40, tmp_path / "little").start()
    assert little.wait() == 75
    assert "there is not enough memory to run" in little.log
    assert "Give its service more" in little.log
