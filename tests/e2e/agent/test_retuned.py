"""A running agent has its models tuned again when what was chosen does not hold any more, without
losing a sample, and says so."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config.model import Runtime
from edgeagent.manifest import Package, load_package
from edgeagent.prove.tune.choice import Choice, Choices, Row, circumstances, stamp
from edgeagent.store.export import Filter, peek
from edgeagent.testing.agent import AgentProcess

pytest.importorskip("ai_edge_litert")
pytestmark = pytest.mark.usefixtures("in_full")

CONFIG = """
[models]
path = ["models"]
[sources.belt]
kind = "synthetic"
fps = 20
[pipelines.line]
source = "belt"
model = "parts"
"""
HASTY = (
    sys.executable,
    "-c",
    "import sys, edgeagent.agent.retuning as tuning, edgeagent.prove.tune.again as again; "
    "from edgeagent.agent import main; "
    "tuning.EVERY_S, tuning.AFTER_S, tuning.PAUSE_S, tuning._BRIEF_S = 0.3, 0.5, 600.0, 2.0; "
    "again.SHARE, again.SECONDS, again.LAST = 1.0, 2.0, False; sys.exit(main(sys.argv[1:]))",
)
"""An agent that looks three times a second in place of three times a minute, and searches without
rests and without stepping back, or a busy machine would not let it end."""
PLAIN = Runtime(variant="parts-int8.tflite", delegate="none", threads=1)
"""Three times as slow as the defaults; of two threads each would wait for the other on one core."""


@pytest.fixture
def package(repository: Path, tmp_path: Path) -> Package:
    """A shipped model without its ONNX twin: a search over it is short."""
    return version(repository, tmp_path, "1.0.0")


def version(repository: Path, tmp_path: Path, its: str) -> Package:
    folder = tmp_path / "models" / "parts" / its
    shutil.copytree(repository / "models" / "parts" / "1.0.0", folder)
    manifest = folder / "model.toml"
    twin = '[[variant]]\nfile = "parts-int8.onnx"\nruntime = "onnx"\nprecision = "int8"\n'
    text = manifest.read_text(encoding="utf-8").replace(twin, "").replace("1.0.0", its)
    manifest.write_text(text, encoding="utf-8")
    return load_package(folder)


@pytest.fixture
def agent(tmp_path: Path, package: Package) -> Iterator[AgentProcess]:
    made = AgentProcess(CONFIG, tmp_path, python=HASTY)
    yield made
    made.stop()


def choose(package: Package, data: Path, runtime: Runtime, ms: float = 1.0, **other: str) -> None:
    here = {**circumstances(package, runtime), **other}
    rows = [Row(runtime.variant, state="chosen", ms=ms)]
    its = Choice(1, f"{package.name}@{package.version}", stamp(), here, runtime, rows=rows)
    Choices(data).keep(package, its)


def line(status: dict[str, Any]) -> dict[str, Any]:
    its: dict[str, Any] = status["pipelines"]["line"]
    return its


def records(agent: AgentProcess) -> list[dict[str, Any]]:
    """What the agent has told of tuning, once it has ended; the first one first."""
    agent.stop()
    health = reversed(peek(agent.data, 100, Filter(frozenset({"health"}))))
    return [its["data"] for its in health if its["data"].get("unit") == "tuning"]


def test_on_one_core_it_is_tuned_again(agent: AgentProcess, package: Package) -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("there is one core only")
    choose(package, agent.data, PLAIN)
    agent.start()
    agent.until(lambda status: line(status)["receipt"].endswith("builtin, 1 thread, tuned"))
    for task in Path(f"/proc/{agent.pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {min(cores)})
    agent.until(lambda status: status["tuning"]["parts@1.0.0"]["state"] == "searching")
    before = agent.client.status()
    told = before["tuning"]["parts@1.0.0"]
    assert "the cores that may be used were" in told["reason"]
    assert "on XNNPACK, 1 thread, not as tuned, because the cores" in line(before)["receipt"]
    status = agent.until(
        lambda status: line(status)["receipt"].endswith("on XNNPACK, 1 thread, tuned") and status,
        60.0,
    )
    assert line(status)["skipped"] == line(status)["failed"] == 0
    assert line(status)["steps"] > line(before)["steps"]
    assert status["tuning"]["parts@1.0.0"]["state"] == "tuned"
    choice = Choices(agent.data).of(package)
    assert choice is not None and choice.circumstances["cores"] == str(min(cores))
    (begun, ended) = records(agent)
    assert (begun["phase"], ended["phase"]) == ("new", "end")
    assert ended["reason"] == begun["reason"] == told["reason"]
    assert "parts-int8.tflite" in ended["settings"] and ended["took_s"] > 0


def test_a_choice_that_has_become_slow_is_searched_anew(
    agent: AgentProcess, package: Package, toy: Path, tmp_path: Path
) -> None:
    burden = tmp_path / "somebody else uses the accelerator"
    options = {"most": "1", "burdened": str(burden)}
    choose(package, agent.data, Runtime(variant="litert", delegate=str(toy), options=options))
    agent.start()
    agent.until(lambda status: line(status)["receipt"].endswith("1 thread, tuned"))
    assert "libtoy.so" not in str(agent.client.status()["reasons"])
    agent.until(lambda status: status["tuning"]["parts@1.0.0"]["state"] == "tuned")
    burden.touch()
    reason = agent.until(lambda status: status["tuning"]["parts@1.0.0"]["reason"], 60.0)
    assert reason == "a run takes more than 1.5 × what it took when it was chosen"
    agent.until(lambda status: status["tuning"]["parts@1.0.0"]["state"] == "searching")
    agent.until(lambda status: status["tuning"]["parts@1.0.0"]["state"] == "tuned", 90.0)
    chosen = Choices(agent.data).of(package)
    assert chosen is not None and chosen.runtime.delegate == ""
    assert any("libtoy.so" in row.settings and row.state == "lost" for row in chosen.rows)
    agent.until(lambda status: line(status)["receipt"].endswith("on XNNPACK, 1 thread, tuned"))
    assert records(agent)[-1]["reason"] == reason


def test_a_new_version_of_a_tuned_model_is_tuned(
    agent: AgentProcess, package: Package, repository: Path, tmp_path: Path
) -> None:
    choose(package, agent.data, PLAIN)
    newer = version(repository, tmp_path, "1.0.1")
    agent.start()
    agent.until(lambda status: line(status)["receipt"].endswith("1 thread, tuned"), 90.0)
    assert line(agent.client.status())["model"] == "parts@1.0.1/int8"
    assert records(agent)[0]["reason"] == "parts@1.0.1 is new here, and parts@1.0.0 was tuned"
    assert Choices(agent.data).of(newer) is not None


def test_what_a_person_chooses_is_taken_up_without_a_start(
    agent: AgentProcess, package: Package
) -> None:
    agent.start()
    agent.until(lambda status: line(status)["steps"] and status["uptime_s"] > 3)
    choose(package, agent.data, PLAIN)
    agent.until(lambda status: line(status)["receipt"].endswith("on builtin, 1 thread, tuned"))
    Choices(agent.data).forget(package)
    agent.until(lambda status: line(status)["receipt"].endswith("on XNNPACK, 1 thread"))
    assert line(agent.client.status())["failed"] == 0
