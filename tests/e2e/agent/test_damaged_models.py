"""An agent whose models were damaged before their hashes were taken: it never dies, the sound one
runs on, and of each other there is either a reason or what it was made for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgeagent.manifest import load_package
from edgeagent.testing import spoil
from edgeagent.testing.agent import AgentProcess

pytest.importorskip("onnxruntime")

COUNT, AT_ONCE = 200, 20


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("in_full")
def test_the_agent_never_dies_of_a_model(repository: Path, tmp_path: Path) -> None:
    good = load_package(repository / "models" / "parts" / "1.0.0")
    told: Counter[str] = Counter()
    for first in range(0, COUNT, AT_ONCE):
        seeds = range(first, first + AT_ONCE)
        for seed in seeds:
            spoil.damaged(good, tmp_path / f"models-{seed}" / "parts" / f"1.{seed}.0", seed)
        told += Counter(outcomes(tmp_path, list(seeds)))
    print(dict(told))
    assert told.total() == COUNT
    assert told["down"], "no damage did any harm: the test tests nothing"


def outcomes(folder: Path, seeds: list[int]) -> list[str]:
    """Run them side by side in one agent, beside a sound one."""
    config = (
        '[sources.belt]\nkind = "synthetic"\nfps = 10\n'
        '[pipelines.sound]\nsource = "belt"\nmodel = "parts"\n'
    )
    for seed in seeds:
        place = folder / f"models-{seed}" / "parts" / f"1.{seed}.0"
        config += f'[pipelines.p{seed}]\nsource = "belt"\nmodel = "{place}"\n'

    def settled(status: dict[str, Any]) -> Any:
        its = status["pipelines"]
        done = all(its[f"p{seed}"]["state"] != "opening" for seed in seeds)
        return status if done and its["sound"]["steps"] > 20 else None

    with AgentProcess(config, folder / f"agent-{seeds[0]}") as agent:
        status = agent.until(settled, 240.0)
        assert agent.process is not None and agent.process.poll() is None
        assert status["pipelines"]["sound"]["state"] == "ok"
        found = [status["pipelines"][f"p{seed}"] for seed in seeds]
        assert all(its["reason"] for its in found if its["state"] != "ok"), found
        return [its["state"] for its in found]
