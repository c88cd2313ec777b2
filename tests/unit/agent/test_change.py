"""A change of model in running pipelines: nothing lost, nothing forgotten, back if it is bad."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bare_pipelines import Running

from edgeagent.agent import aside as aside_
from edgeagent.agent.change import LiveStage
from edgeagent.config.model import Config
from edgeagent.config.toml import Places
from edgeagent.errors import ModelError
from edgeagent.infer.sharing import Sharing
from edgeagent.manifest import Package, load_package
from edgeagent.testing import spoil
from edgeagent.update.compatible import shared_models
from edgeagent.update.ports import Refused

pytest.importorskip("onnxruntime")


class Changing(Running):
    """With what changes their models."""

    def __init__(self, models: Path, pipelines: dict[str, Any], **source: Any) -> None:
        belt = {"kind": "synthetic", **source}
        super().__init__(models, {"sources": {"belt": belt}, "pipelines": pipelines}, Sharing())
        self.stage = LiveStage(self.around, Places(), self.built, self.supervisor)

    def stop(self) -> None:
        self.stage.release("parts")
        super().stop()


EVERY = {"source": "belt", "model": "parts", "record": {"every": 1}}


@pytest.fixture
def good(repository: Path) -> Package:
    return load_package(repository / "models" / "parts" / "1.0.0")


@pytest.fixture
def run(models: Path) -> Iterator[Callable[..., Changing]]:
    made: list[Changing] = []

    def start(pipelines: dict[str, Any] | None = None, **source: Any) -> Changing:
        running = Changing(models, pipelines or {"door": EVERY}, **source)
        made.append(running)
        return running

    yield start
    for running in made:
        running.stop()


def aside(models: Path, version: str) -> Path:
    """Where a version lies that the library does not find."""
    return models.parent / "new" / "parts" / version


def test_no_frame_of_a_recording_is_lost_or_seen_twice(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    new = spoil.version(good, aside(models, "1.1.0"))
    running = run(pace="max", count=600)
    running.steps(50)
    running.stage.activate(new)
    assert running.pipeline().model.startswith("parts@1.1.0/")
    running.steps(50)
    running.stage.activate(good)
    running.until(lambda: running.pipeline().health().state == "ended")
    frames = running.sink.frames()
    assert frames == list(range(1, 601))
    ran = [draft.model.partition("/")[0] for draft in running.sink.drafts if draft.kind == "result"]
    first, last = ran.index("parts@1.1.0"), 600 - ran[::-1].index("parts@1.1.0")
    assert set(ran[first:last]) == {"parts@1.1.0"}
    assert set(ran[:first] + ran[last:]) == {"parts@1.0.0"}


def test_what_is_open_goes_on_under_the_new_version(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    """The same parts have the same tracks: the change begins and ends no event by itself."""
    new = spoil.version(good, aside(models, "1.1.0"))
    still = run({"door": {**EVERY, "record": {"every": 1}}}, pace="max", count=400)
    still.until(lambda: still.pipeline().health().state == "ended")
    changed = run({"door": {**EVERY, "record": {"every": 1}}}, pace="max", count=400)
    changed.steps(40)
    changed.stage.activate(new)
    changed.until(lambda: changed.pipeline().health().state == "ended")

    def told(running: Changing, phase: str) -> list[tuple[Any, ...]]:
        return [(d.frame, d.data["label"], d.data.get("track")) for d in running.sink.events(phase)]

    assert told(changed, "new") == told(still, "new")
    assert len({draft.model for draft in changed.sink.events("new")}) == 2


def test_pipelines_that_share_a_session_change_it_together(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    new = spoil.version(good, aside(models, "1.1.0"))
    running = run({"door": EVERY, "gate": EVERY}, pace="true", fps=50)

    def seats() -> list[Any]:
        return [running.pipeline(name).stages.seat for name in ("door", "gate")]  # type: ignore[union-attr]

    for name in ("door", "gate"):
        running.steps(5, name)
    before = seats()
    assert before[0]._shared is before[1]._shared
    running.stage.activate(new)
    for name in ("door", "gate"):
        running.steps(5, name)
        assert running.pipeline(name).model.startswith("parts@1.1.0/")
        assert running.pipeline(name).health().detail["sharing"] == 2
    after = seats()
    assert after[0]._shared is after[1]._shared is not before[0]._shared
    running.stage.release("parts")
    assert [seat._closed for seat in before] == [True, True]


def test_which_models_are_shared() -> None:
    pipelines = {
        "a": {"source": "belt", "model": "parts"},
        "b": {"source": "belt", "model": "parts@1.0.0", "redact": {"model": "people"}},
        "c": {"source": "belt", "model": "/opt/models/tools"},
        "d": {"source": "belt", "model": "/opt/models/tools"},
        "e": {"source": "belt", "model": "people", "enabled": False},
        "f": {"source": "belt", "model": "alone", "refine": {"digits": {"model": "digits"}}},
        "g": {"source": "belt", "model": "digits"},
    }
    config = msgspec.convert({"pipelines": pipelines}, Config)
    assert shared_models(config) == {"parts", "/opt/models/tools", "digits"}


def test_a_version_that_does_not_open_changes_nothing(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    bad = spoil.wrong_shape(good, aside(models, "1.1.0"))
    running = run({"door": EVERY, "gate": EVERY}, pace="true", fps=50)
    running.steps(5)
    with pytest.raises(ModelError, match="detections"):
        running.stage.activate(bad)
    running.steps(5)
    for name in ("door", "gate"):
        assert running.pipeline(name).model.startswith("parts@1.0.0/")


def test_labels_that_change_after_a_while_are_found_beside_the_version_before(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    bad = spoil.labels_permuted(good, aside(models, "1.1.0"), after=100)
    running = run(pace="true", fps=100)
    running.steps(80)
    before = running.stage.behaviour("parts")
    running.stage.activate(bad)
    running.steps(60)
    assert running.stage.judge("parts", before, 1, 900).state == "open"
    running.until(lambda: running.stage.judge("parts", before, 1, 900).state == "bad")
    verdict = running.stage.judge("parts", before, 1, 900)
    assert "samples what 1.0.0 calls whole 1.1.0 calls missing" in verdict.sentence
    running.stage.activate(good)
    assert running.pipeline().model.startswith("parts@1.0.0/")
    running.steps(20)
    assert running.stage.judge("parts", before, 900, 900).state == "good"


def test_a_good_version_stays_and_lets_go_of_the_one_before(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    new = spoil.version(good, aside(models, "1.1.0"))
    running = run(pace="true", fps=100)
    running.steps(60)
    before = running.stage.behaviour("parts")
    running.stage.activate(new)
    running.steps(150)
    verdict = running.stage.judge("parts", before, 900, 900)
    assert verdict.state == "good", verdict.sentence
    assert "agrees with 1.0.0 on" in verdict.sentence
    assert not [t for t in threading.enumerate() if t.name.startswith("beside:")]
    assert running.pipeline().tap is None


def test_a_model_that_fails_in_the_field_is_found(
    run: Callable[..., Changing], models: Path, good: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeagent.errors import InferenceError

    new = spoil.version(good, aside(models, "1.1.0"))
    running = run(pace="true", fps=100)
    running.steps(60)
    before = running.stage.behaviour("parts")
    running.stage.activate(new)
    stages = running.pipeline().stages
    assert stages is not None
    real, calls = stages.session.run, iter(range(10**9))

    def now_and_then(tensors: Any) -> Any:
        if next(calls) % 4 == 0:
            raise InferenceError("the device lost its accelerator")
        return real(tensors)

    monkeypatch.setattr(stages.session, "run", now_and_then)
    running.until(lambda: running.stage.judge("parts", before, 1, 900).state == "bad")
    assert (
        "samples failed since 1.1.0, none before"
        in running.stage.judge("parts", before, 1, 900).sentence
    )


def test_a_shadow_tells_disagreements_and_gives_no_results(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    bad = spoil.biased(good, aside(models, "1.1.0"), "cracked")
    running = run({"door": {**EVERY, "snapshot": True}}, pace="true", fps=50)
    running.steps(20)
    with pytest.raises(Refused) as caught:
        running.stage.shadow(bad, 4.0, threading.Event())
    assert caught.value.reason == "shadow"
    assert "calls cracked" in str(caught.value)
    assert {d.model.partition("/")[0] for d in running.sink.drafts} == {"parts@1.0.0"}
    told = [d for d in running.sink.drafts if d.kind == "deployment"]
    assert 1 <= len(told) <= 8
    assert told[0].data["disagreement"]["running"] != told[0].data["disagreement"]["shadow"]
    assert told[0].evidence[0].data[:2] == b"\xff\xd8"
    assert running.pipeline().tap is None


def test_a_shadow_that_agrees_passes_and_is_gone(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    new = spoil.version(good, aside(models, "1.1.0"))
    running = run(pace="true", fps=50)
    running.steps(5)
    passed = running.stage.shadow(new, 1.0, threading.Event())
    assert passed.figures["door"]["agreement"]["samples"] > 5
    assert "agrees on" in passed.sentence
    assert not [t for t in threading.enumerate() if t.name.startswith("beside:")]


def test_a_pipeline_without_its_model_runs_once_it_is_there(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    first = spoil.version(good, aside(models, "1.0.0"))
    shutil.rmtree(models / "parts")
    running = run(pace="true", fps=50)
    assert [health.state for health in running.supervisor.health()] == ["down"]
    running.stage.activate(first)
    running.steps(5)
    assert all(health.state != "down" for health in running.supervisor.health())


def test_a_model_that_is_withdrawn_leaves_a_reason_and_stops_nobody_else(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    pipelines = {"door": EVERY, "text": {**EVERY, "model": "digits"}}
    shutil.copytree(good.folder.parents[1] / "digits", models / "digits")
    running = run(pipelines, pace="max", count=400)
    running.steps(10)
    running.stage.withdraw("parts")
    running.until(lambda: running.pipeline("text").health().state == "ended")
    (door,) = [health for health in running.supervisor.health() if health.name == "door"]
    assert (door.state, door.reason) == ("down", "no version of parts is left that runs here")


def test_a_second_model_is_changed_with_the_pipeline_that_asks_it(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    digits = load_package(good.folder.parents[1] / "digits" / "1.0.0")
    shutil.copytree(digits.folder, models / "digits" / "1.0.0")
    new = spoil.version(digits, models.parent / "new" / "digits" / "2.0.0")
    door = {**EVERY, "refine": {"text": {"model": "digits", "threshold": 0.0}}}
    running = run({"door": door}, pace="true", fps=50)
    running.steps(20)
    watch = running.pipeline().watch
    running.stage.activate(new)
    running.steps(10)
    stages = running.pipeline().stages
    assert stages is not None
    assert stages.second.refiners[0].predictor.package.version == "2.0.0"  # type: ignore[union-attr]
    assert running.pipeline().watch is watch
    assert running.stage.judge("digits", {}, 900, 900).state == "good"


def test_live_samples_for_a_proof_are_copies(
    run: Callable[..., Changing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside_, "_GATHER_S", 1.0)
    running = run(pace="true", fps=50)
    running.steps(5)
    samples = running.stage.live("parts", threading.Event())
    assert 5 <= len(samples) <= 12
    assert len({sample.number for sample in samples}) == len(samples)
    assert all(sample.pixels.base is None for sample in samples)  # type: ignore[union-attr]
    assert running.pipeline().tap is None
    stopped = threading.Event()
    stopped.set()
    assert len(running.stage.live("parts", stopped)) <= 1


def test_what_runs_already_is_not_opened_again(run: Callable[..., Changing], good: Package) -> None:
    running = run(pace="true", fps=50)
    running.steps(5)
    stages = running.pipeline().stages
    running.stage.activate(good)
    running.steps(5)
    assert running.pipeline()._stages is stages


def test_windows_of_another_length_are_cut_from_the_change_on(
    run: Callable[..., Changing], models: Path, good: Package
) -> None:
    """The source is opened anew for it, and again when it is taken back."""
    bearing = load_package(good.folder.parents[1] / "bearing" / "1.0.0")
    shutil.copytree(bearing.folder, models / "bearing" / "1.0.0")
    new = spoil.version(bearing, models.parent / "new" / "bearing" / "1.1.0")
    toml = new.folder / "model.toml"
    (spec,) = new.manifest.input
    assert "hop = " in toml.read_text()
    toml.write_text(toml.read_text().replace(f"hop = {spec.hop}", f"hop = {spec.hop // 2}"))
    new = load_package(new.folder)
    pipelines = {"motor": {"source": "belt", "model": "bearing", "record": {"every": 1}}}
    running = run(pipelines, scene="vibration")
    running.steps(3, "motor")
    before = running.built.sources["belt"]
    running.stage.activate(new)
    running.steps(3, "motor")
    assert running.pipeline("motor").model.startswith("bearing@1.1.0/")
    assert running.built.sources["belt"] is not before
    running.stage.activate(bearing)
    running.steps(3, "motor")
    assert running.pipeline("motor").model.startswith("bearing@1.0.0/")
    assert all(health.state == "ok" for health in running.supervisor.health())
