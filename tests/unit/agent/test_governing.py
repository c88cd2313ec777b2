"""What gives way in real pipelines: rate, variant, gate, rest, model; and that it comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bare_pipelines import Running
from msgspec.structs import replace

from edgeagent.agent.build import opener, plan_of
from edgeagent.agent.governing import Governing, Live, Pacer, Resting, Shedding, Stricter
from edgeagent.agent.lighter import Lighter
from edgeagent.device import health
from edgeagent.errors import InferenceError
from edgeagent.manifest import Package, load_package
from edgeagent.prove.tomltext import table_text
from edgeagent.stages import Change
from edgeagent.testing import spoil
from edgeagent.testing.onnxgraph import Graph
from edgeagent.testing.thermal import Board, World
from edgeagent.update.behaviour import Watch

pytest.importorskip("onnxruntime")


class Governed(Running):
    """Pipelines on a live scene, with what a governor holds of them."""

    def __init__(self, models: Path, pipelines: dict[str, Any], **more: Any) -> None:
        source = {"kind": "synthetic", "fps": 40, **more.pop("source", {})}
        super().__init__(models, {"sources": {"belt": source}, "pipelines": pipelines, **more})
        self.live = Live(self.around, self.built)


DOOR = {"source": "belt", "model": "parts"}


@pytest.fixture
def run(models: Path) -> Iterator[Callable[..., Governed]]:
    made: list[Governed] = []

    def start(pipelines: dict[str, Any] | None = None, **more: Any) -> Governed:
        running = Governed(models, pipelines or {"door": DOOR}, **more)
        made.append(running)
        return running

    yield start
    for running in made:
        running.stop()


def test_the_rate_of_live_pipelines_is_a_share_of_what_came(run: Callable[..., Governed]) -> None:
    running = run()
    pacer = Pacer(running.live)
    running.steps(5)
    pacer.count(time.monotonic())
    running.steps(60)
    pacer.count(time.monotonic())
    pacer.pace(0.25)
    meter = running.pipeline().meter
    steps, paced = meter.steps, meter.paced
    running.until(lambda: meter.steps + meter.paced - steps - paced > 80)
    share = (meter.steps - steps) / (meter.steps + meter.paced - steps - paced)
    assert 0.15 < share < 0.4
    assert running.pipeline().figures()["paced"] > 0
    pacer.pace(1.0)
    assert running.pipeline().pace is None


def test_recordings_lose_nothing(run: Callable[..., Governed]) -> None:
    running = run(source={"pace": "max", "count": 200})
    assert list(running.live.pipelines()) == []
    assert running.live.priorities() == []
    running.until(lambda: running.pipeline().health().state == "ended")
    assert running.pipeline().meter.steps == 200


def test_the_gate_gets_stricter(run: Callable[..., Governed]) -> None:
    running = run({"door": {**DOOR, "gate": {"motion": {}}}, "all": DOOR})
    running.steps(5)
    running.steps(5, "all")
    act = Stricter(running.live)
    assert act.take("heat") == "door: the gate is 3 times as strict"
    stages = running.pipeline().stages
    assert stages is not None and stages.gate is not None
    assert stages.gate.strictness == 3.0
    assert act.back() == "door: the gate is as before"
    assert stages.gate.strictness == 1.0


def test_pipelines_of_low_priority_rest_and_go_on(run: Callable[..., Governed]) -> None:
    running = run({"door": DOOR, "yard": {**DOOR, "priority": 2}})
    running.steps(5)
    running.steps(5, "yard")
    assert running.live.priorities() == [2, 5]
    act = Resting(running.live, 2)
    assert act.take("it is hot") == "yard of priority 2 rests"
    yard = running.pipeline("yard").health()
    assert (yard.state, yard.reason) == ("paused", "it rests: it is hot")
    before = running.pipeline("yard").meter.steps
    running.steps(20)
    assert running.pipeline("yard").meter.steps <= before + 1
    assert act.back() == "yard goes on"
    running.steps(5, "yard")
    assert running.pipeline("yard").health().state == "ok"


def test_a_pipeline_is_shed_with_its_model_and_loads_it_again(run: Callable[..., Governed]) -> None:
    running = run({"door": DOOR, "yard": DOOR})
    running.steps(5)
    running.steps(5, "yard")
    assert running.live.by_priority() == ["yard", "door"]
    act = Shedding(running.live, "yard")
    act.take("memory is short")
    running.until(lambda: not running.pipeline("yard").loaded)
    assert running.pipeline("yard").health().detail["unloaded"] is True
    running.steps(5)
    act.back()
    running.steps(5, "yard")
    figures = running.pipeline("yard").figures()
    assert figures["cold_starts"] == 1
    assert figures["cold_start_ms"] > 0


def test_a_model_that_nobody_needs_is_unloaded_and_remembers(run: Callable[..., Governed]) -> None:
    running = run({"door": {**DOOR, "unload_after": "1500 ms"}})
    running.steps(30)
    door = running.pipeline()
    assert door.loaded
    assert door.stages is not None
    decide, before = door.stages.memory.decide, door.stages.session
    door.pause(True)
    running.until(lambda: not door.loaded)
    with pytest.raises(InferenceError, match="closed"):
        before.run([])
    steps = door.meter.steps
    door.pause(False)
    running.until(lambda: door.meter.steps > steps)
    assert door.loaded
    assert door.stages.memory.decide is decide, "tracks and open events go on"
    assert door.health().state == "ok"
    assert door.figures()["cold_starts"] == 1


def test_a_change_of_the_model_while_it_is_unloaded(run: Callable[..., Governed]) -> None:
    running = run()
    running.steps(5)
    door = running.pipeline()
    door.pause(True)
    door.unload()
    running.until(lambda: not door.loaded)
    opens = opener(running.around, "door", plan_of(running.around, "door").package)
    change = Change(opens(), opens, Watch("parts"))
    door.change(change)
    assert change.done.wait(10)
    assert change.before is None, "what was closed can't be gone back to"
    door.pause(False)
    running.steps(5)
    assert "cold_starts" not in door.figures()


def test_a_lighter_variant_takes_over_and_the_usual_one_comes_back(
    run: Callable[..., Governed], models: Path
) -> None:
    good = load_package(models / "parts" / "1.0.0")
    two_speeds(good, models / "parts" / "1.1.0")
    running = run()
    running.steps(20)
    assert running.pipeline().model == "parts@1.1.0/fp32"
    act = Lighter(running.around, running.live.pipelines)
    said = act.take("heat")
    assert said.startswith("door runs parts@1.1.0/int8 ("), said
    assert running.pipeline().model == "parts@1.1.0/int8"
    running.steps(10)
    assert act.take("heat") == "", "nothing is lighter than the lightest"
    assert act.back() == "the usual variants run again"
    assert running.pipeline().model == "parts@1.1.0/fp32"
    running.steps(5)
    assert running.pipeline().health().state == "ok"


def test_a_variant_that_the_configuration_names_is_meant(
    run: Callable[..., Governed], models: Path
) -> None:
    good = load_package(models / "parts" / "1.0.0")
    slow = two_speeds(good, models / "parts" / "1.1.0").manifest.variant[0].file
    running = run({"door": {**DOOR, "runtime": {"variant": slow}}})
    running.steps(20)
    assert Lighter(running.around, running.live.pipelines).take("heat") == ""


def two_speeds(good: Package, folder: Path) -> Package:
    """A version whose first variant takes milliseconds more than its second."""
    spoil.version(good, folder)
    fast = next(its for its in good.manifest.variant if its.runtime == "onnx")
    graph = Graph(good.path(fast.file))
    turns = graph.node("Squeeze", [graph.constant([4_000], "int64")])
    nothing = graph.node("Mul", [graph.loop(turns, graph.constant([0.0])), graph.constant([0.0])])
    graph.node("Add", [graph.good, nothing], graph.output)
    graph.write(folder / "slow.onnx")
    manifest = load_package(folder).manifest
    variants = [
        replace(fast, file="slow.onnx", precision="fp32"), replace(fast, precision="int8"),
    ]  # fmt: skip
    text = table_text(replace(manifest, variant=variants, files={}, provenance={}))
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return load_package(folder)


def test_on_a_hot_board_the_unit_slows_down_tells_and_recovers(
    run: Callable[..., Governed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit on its own thread, by the files of a made-up board."""
    root = tmp_path / "root"
    world = World(Board("b", 20.0, 10.0, 60.0, 5.0, 30.0), root, noise_k=0.0)
    monkeypatch.setattr(health, "ROOT", root)
    monkeypatch.setattr("edgeagent.agent.governing._EVERY_S", 0.02)
    running = run(governor={"limit_c": 80})
    running.steps(10)
    governing = Governing(running.around, running.built)
    running.supervisor.start(governing)
    running.until(lambda: governing.governor.status().get("zone") == "cpu-thermal")
    world.ambient_c = 80.0
    world.step(0.0, 0.1)
    running.until(lambda: governing.health().state == "degraded")
    assert "cpu-thermal is at 90 °C (limit 80 °C)" in governing.health().reason
    running.until(lambda: running.pipeline().pace is not None)
    told = [draft for draft in running.sink.drafts if draft.kind == "health"]
    assert told[0].data["unit"] == "governor"
    assert (told[0].data["phase"], told[0].data["fault"]) == ("new", "heat")
    assert told[0].data["temperature_c"] == 90.0
    world.ambient_c = 20.0
    world.step(0.0, 600.0)
    running.until(lambda: governing.health().state == "ok")
    assert running.pipeline().pace is None
    governing.stop()
