"""A running agent runs a model as it was tuned on this device, and says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeagent.config.model import Runtime
from edgeagent.manifest import Package, load_package
from edgeagent.prove.tune.choice import Choice, Choices, circumstances, stamp
from edgeagent.testing.agent import AgentProcess

pytest.importorskip("ai_edge_litert")

CONFIG = """
[models]
path = ["models"]
[sources.belt]
kind = "synthetic"
fps = 5
[pipelines.line]
source = "belt"
model = "parts"
"""


@pytest.fixture
def package(repository: Path, tmp_path: Path) -> Package:
    folder = tmp_path / "models" / "parts" / "1.0.0"
    shutil.copytree(repository / "models" / "parts" / "1.0.0", folder)
    return load_package(folder)


def choose(package: Package, data: Path, runtime: Runtime, **other: str) -> None:
    here = {**circumstances(package, runtime), **other}
    Choices(data).keep(package, Choice(1, "parts@1.0.0", stamp(), here, runtime))


def receipt(agent: AgentProcess) -> str:
    """Of its pipeline, once that runs."""

    def told(status: dict) -> str:
        return str(status["pipelines"]["line"]["receipt"])

    with agent:
        return str(agent.until(told))


def test_it_runs_as_it_was_tuned(package: Package, tmp_path: Path, full: bool) -> None:
    plain = Runtime(variant="parts-int8.tflite", delegate="none", threads=2)
    choose(package, tmp_path / "data", plain)
    said = receipt(AgentProcess(CONFIG, tmp_path))
    assert said.endswith("21 of 21 operators on builtin, 2 threads, tuned")
    if not full:
        return
    off = receipt(AgentProcess(CONFIG, tmp_path, "--set", "models.tuned=false"))
    assert off.endswith("on XNNPACK, 1 thread")
    set_ = receipt(AgentProcess(CONFIG, tmp_path, "--set", "pipelines.line.runtime.threads=2"))
    assert set_.endswith("on XNNPACK, 2 threads")


@pytest.mark.usefixtures("in_full")
def test_what_was_chosen_elsewhere_is_not_used_and_it_is_said(
    package: Package, tmp_path: Path
) -> None:
    plain = Runtime(variant="parts-int8.tflite", delegate="none", threads=2)
    choose(package, tmp_path / "data", plain, cores="0-63")
    agent = AgentProcess(CONFIG, tmp_path)
    said = receipt(agent)
    assert "on XNNPACK, 1 thread, not as tuned, because the cores" in said
    assert "edgeagent tune parts" in agent.log


@pytest.mark.usefixtures("in_full")
def test_a_choice_that_takes_its_process_down_is_not_used(
    package: Package, tmp_path: Path, toy: Path
) -> None:
    crashing = Runtime(variant="parts-int8.tflite", delegate=str(toy), options={"fail": "crash"})
    choose(package, tmp_path / "data", crashing)
    said = receipt(AgentProcess(CONFIG, tmp_path))
    assert "on XNNPACK, 1 thread, not as tuned: parts@1.0.0 is not run" in said


@pytest.mark.usefixtures("in_full")
def test_it_can_be_measured_and_tuned_from_elsewhere(package: Package, tmp_path: Path) -> None:
    agent = AgentProcess(CONFIG, tmp_path)
    with agent:
        agent.until(lambda status: status["pipelines"]["line"]["receipt"])
        figures = agent.client.result("bench", model="parts", seconds=0.5)
        (measured,) = figures["candidates"]
        assert figures["sound"] and measured["figures"][0]["queries"] >= 64
        assert measured["model"] == "parts@1.0.0/int8"
        choice = agent.client.result("tune", model="parts", seconds=5)
        assert choice["rows"][0]["state"] == "chosen"
    assert Choices(tmp_path / "data").of(package) is not None
    assert receipt(agent).endswith("tuned")
