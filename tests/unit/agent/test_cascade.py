"""Second models, with the ones that are shipped: parts on a belt, each asked about again."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.agent.cascade import Cascade, Refiner, open_cascade
from edgeagent.agent.stages import stages_for
from edgeagent.capture.synthetic import BeltScene
from edgeagent.config.model import Pipeline as PipelineConfig
from edgeagent.config.model import RecordWhat, Refine, Rule
from edgeagent.errors import ConfigError, InferenceError, NotFound
from edgeagent.interpret.embed import Known, gallery_text
from edgeagent.manifest import Package, load_package
from edgeagent.pipeline import Pipeline
from edgeagent.prove.predict import Predictor
from edgeagent.store.export import jsonl
from edgeagent.testing.agent import AgentProcess
from edgeagent.types import Detection, Draft, Frame, Keypoints, Label, Window


@pytest.fixture(scope="module")
def find(repository: Path) -> Any:
    """Packages of the repository by name."""

    def package(name: str, version: str = "") -> Package:
        folder = repository / "models" / name / (version or "1.0.0")
        if not folder.is_dir():
            raise NotFound(f"there is no model {name}")
        return load_package(folder)

    return package


@pytest.fixture
def opened(find: Any) -> Any:
    """Opens a cascade of one refiner named ``again``; closed at the end."""
    every: list[Cascade] = []

    def open_it(model: str = "parts", **keys: Any) -> Refiner:
        threshold = keys.pop("first", 0.0)
        forever = keys.pop("forever", False)
        how = Refine(model, **keys)
        cascade = open_cascade("p", {"again": how}, find, (), threshold=threshold, forever=forever)
        assert not cascade.loss()
        every.append(cascade)
        return cascade.refiners[0]

    yield open_it
    for cascade in every:
        cascade.close()


SCENE = BeltScene(5, (320, 240), fault_rate=0.5)


@cache
def belt(number: int = 60) -> Frame:
    pixels, _ = SCENE.render(number)
    return Frame("cam", number, pixels, 0, number * 100.0)


def boxes(count: int, *, track: int = 1, label: str = "part") -> list[Any]:
    """Detections side by side, with track numbers from ``track`` on (0 = none)."""
    return [
        Detection(label, 0.9 - place / 1000, (place / count, 0.1, (place + 1) / count, 0.9),
                  track=track + place if track else 0)
        for place in range(count)
    ]  # fmt: skip


def ask(refiner: Refiner, predictions: list[Any], frame: Frame | None = None) -> list[Any]:
    told = list(predictions)
    refiner(frame or belt(), told)
    return told


def asked(refiner: Refiner) -> int:
    return refiner.tally["asked"]


# --- whom it asks about --------------------------------------------------------------------


def test_the_answer_is_that_of_the_part_alone(opened: Any, find: Any) -> None:
    frame = belt()
    with Predictor(find("parts")) as parts:
        found = [its for its in parts(frame).predictions if isinstance(its, Detection)]
    assert found
    told = ask(opened("digits"), found, frame)
    height, width = frame.pixels.shape[:2]
    with Predictor(find("digits")) as digits:
        for one in told:
            x1, y1, x2, y2 = one.box
            part = frame.pixels[
                max(0, int(np.floor(y1 * height))) : int(np.ceil(y2 * height)),
                max(0, int(np.floor(x1 * width))) : int(np.ceil(x2 * width)),
            ]
            want = digits(Frame("cam", 1, part, 0, 0.0)).predictions[0]
            assert isinstance(want, Label)
            ((name, answer),) = one.refined
            label = want.label if want.score >= 0.5 else "unknown"
            assert (name, answer) == ("again", Label(label, pytest.approx(want.score)))


def test_only_its_labels_and_what_the_first_model_is_sure_of(opened: Any) -> None:
    refiner = opened("digits", labels=["crack"], first=0.5)
    doubtful = Detection("crack", 0.4, (0, 0, 1, 1))
    pose = Keypoints("crack", 0.9, ((0.5, 0.5, 1.0),), (0.1, 0.1, 0.9, 0.9))
    other = Detection("whole", 0.9, (0, 0, 1, 1))
    far = Detection("crack", 0.9, (2.0, 2.0, 3.0, 3.0))  # nothing of it is in the picture
    told = ask(refiner, [doubtful, pose, other, far, Label("crack", 1.0)])
    assert [bool(getattr(one, "refined", ())) for one in told] == [False, True, False, False, False]
    assert asked(refiner) == 1


def test_a_detection_by_the_second_model_lies_in_the_frame(opened: Any, find: Any) -> None:
    frame = belt()
    height, width = frame.pixels.shape[:2]
    top, bottom, left, right = 24, 220, 32, 300
    part = Frame("cam", 1, frame.pixels[top:bottom, left:right], 0, 0.0)
    with Predictor(find("parts")) as parts:
        (want, *_) = [its for its in parts(part).predictions if isinstance(its, Detection)]
    around = Detection("area", 0.9, (left / width, top / height, right / width, bottom / height))
    (told,) = ask(opened("parts"), [around], frame)
    ((_, inner),) = told.refined
    assert isinstance(inner, Detection) and inner.score == want.score
    x1, y1, x2, y2 = inner.box
    assert ((x1 * width - left) / (right - left), (y1 * height - top) / (bottom - top),
            (x2 * width - left) / (right - left), (y2 * height - top) / (bottom - top)
            ) == pytest.approx(want.box)  # fmt: skip


# --- how often and how many ----------------------------------------------------------------


def test_a_track_is_asked_until_sure_and_then_remembered(opened: Any) -> None:
    sure = opened("digits", until=0.0, threshold=0.0)
    answers = [ask(sure, boxes(3))[0].refined for _ in range(20)]
    assert asked(sure) == 3
    assert answers == [answers[0]] * 20
    never = opened("digits", until=1.5, every=4)
    for number in range(12):
        ask(never, boxes(3), belt(60 + number))
    assert asked(never) == 9  # in the 1st, 5th and 9th frame
    without = opened("digits")
    for _ in range(3):
        assert all(one.refined for one in ask(without, boxes(2, track=0)))
    assert asked(without) == 6


def test_the_best_answer_stays_and_above_1_the_newest(opened: Any) -> None:
    for until, choose in ((1.0, max), (1.5, lambda scores: scores[-1])):
        refiner = opened("digits", until=until, every=1, threshold=0.0)
        single = opened("digits", until=until, every=1, threshold=0.0)
        scores = []
        for number in range(60, 120, 10):
            (alone,) = ask(single, boxes(1, track=0), belt(number))
            scores.append(alone.refined[0][1].score)
            (held,) = ask(refiner, boxes(1), belt(number))
            assert held.refined[0][1].score == pytest.approx(choose(scores))
        assert len(set(scores)) > 1


def test_at_most_so_many_a_frame_the_rest_in_the_next(opened: Any) -> None:
    refiner = opened("digits", at_most=3, until=0.0, threshold=0.0)
    counts = [sum(bool(one.refined) for one in ask(refiner, boxes(8))) for _ in range(4)]
    assert counts == [3, 6, 8, 8]
    assert refiner.tally == {"asked": 8, "postponed": 5 + 2, "late": 0, "failed": 0}


def test_a_budget_of_nothing_still_asks_one_a_frame(opened: Any) -> None:
    refiner = opened("digits", budget="0 ms", until=0.0, threshold=0.0)
    counts = [sum(bool(one.refined) for one in ask(refiner, boxes(3))) for _ in range(3)]
    assert counts == [1, 2, 3]
    assert refiner.tally == {"asked": 3, "postponed": 2 + 1, "late": 3, "failed": 0}
    forever = opened("digits", budget="0 ms", forever=True)
    assert all(one.refined for one in ask(forever, boxes(6)))
    assert forever.tally["late"] == forever.tally["postponed"] == 0


def test_tracks_that_are_gone_are_forgotten(opened: Any) -> None:
    refiner = opened("digits", at_most=1, until=0.0, threshold=0.0)
    for number in range(1100):
        ask(refiner, boxes(1, track=number + 1))
    assert len(refiner.known) <= 501


# --- what goes wrong -----------------------------------------------------------------------


def test_a_failing_second_model_costs_nothing_of_the_first(
    opened: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "edgeagent.cascade")
    refiner = opened("digits", every=1)
    cascade = Cascade([refiner])
    working = refiner.predictor.session.run

    def broken(tensors: Any) -> Any:
        raise InferenceError("the device is gone")

    monkeypatch.setattr(refiner.predictor.session, "run", broken)
    for _ in range(3):
        assert cascade(belt(), boxes(2)) == boxes(2)
    assert refiner.tally["failed"] == 6
    assert cascade.loss() == "again gives no answer: the device is gone"
    monkeypatch.setattr(refiner.predictor.session, "run", working)
    assert all(one.refined for one in cascade(belt(), boxes(2)))
    assert cascade.loss() == ""
    said = [record.message for record in caplog.records]
    assert said == ["again gives no answer: the device is gone", "again answers again"]


def test_windows_pass_by(opened: Any) -> None:
    window = Window("s", 1, np.zeros((4, 1), np.float32), 1.0, ("a",), 0, 0.0)
    cascade = Cascade([opened("digits")])
    assert cascade(window, boxes(1)) == boxes(1)


def test_a_model_that_is_not_there_is_a_loss_and_wrong_words_are_errors(
    find: Any, tmp_path: Path
) -> None:
    cascade = open_cascade("door", {"plate": Refine("no-such")}, find, ("car",))
    assert cascade.loss() == "plate can't be opened: there is no model no-such"
    assert cascade(belt(), boxes(1)) == boxes(1)
    cascade.close()
    with pytest.raises(ConfigError, match=r"pipelines\.door\.refine\.plate\.labels") as caught:
        open_cascade("door", {"plate": Refine("digits", labels=["cart"])}, find, ("car",))
    assert 'did you mean "car"?' in str(caught.value.remedy)
    file = tmp_path / "g.jsonl"
    file.write_bytes(gallery_text([Known("a", [1.0, 0.0])]))
    with pytest.raises(ConfigError, match="compared with nothing"):
        open_cascade("door", {"who": Refine("digits", gallery=str(file))}, find, ())


# --- galleries -----------------------------------------------------------------------------


@pytest.fixture
def embedding(find: Any, tmp_path: Path) -> Any:
    """Digits as a model that gives its ten scores as a vector; a gallery goes to ``g.jsonl``."""
    folder = tmp_path / "models" / "likeness" / "1.0.0"
    shutil.copytree(find("digits").folder, folder)
    text = (folder / "model.toml").read_text()
    text = text.split("[golden]")[0].replace('name = "digits"', 'name = "likeness"')
    text = text.replace('task = "classify"', 'task = "embed"').replace('labels = "labels.txt"', "")
    text = text.replace('decoder = "classify"', 'decoder = "embed"').replace("top = 3", "")
    (folder / "model.toml").write_text(text)
    return load_package(folder)


def test_who_is_like_whom(find: Any, embedding: Package, tmp_path: Path) -> None:
    with Predictor(embedding) as model:
        vectors = []
        for number in (60, 100):
            (only,) = model(belt(number)).predictions
            vectors.append(list(only.vector))  # type: ignore[union-attr]
    file = tmp_path / "g.jsonl"
    file.write_bytes(gallery_text([Known("first", vectors[0])]))
    whole = [Detection("thing", 0.9, (0.0, 0.0, 1.0, 1.0))]
    cosine = float(np.dot(vectors[0], vectors[1]))
    for threshold, want in ((0.999, "unknown"), (max(0.0, cosine - 0.01), "first")):
        how = Refine("likeness", gallery=str(file), threshold=threshold)
        cascade = open_cascade("p", {"who": how}, lambda *_: embedding, (), forever=True)
        (same,) = cascade(belt(60), whole)
        assert same.refined == (("who", Label("first", pytest.approx(1.0, abs=1e-3))),)
        (other,) = cascade(belt(100), whole)
        assert other.refined[0][1].label == want
        cascade.close()
    plain = open_cascade("p", {"who": Refine("likeness")}, lambda *_: embedding, (), forever=True)
    (vector,) = plain(belt(60), whole)
    assert vector.refined[0][1].vector == pytest.approx(vectors[0])
    plain.close()
    file.write_bytes(gallery_text([Known("first", [1.0, 2.0])]))
    with pytest.raises(ConfigError, match=r"pipelines\.p\.refine\.who\.gallery: .* 2 values"):
        open_cascade("p", {"who": how}, lambda *_: embedding, ())


# --- through a pipeline --------------------------------------------------------------------


class Kept(list[Draft]):
    """An outbox that only keeps."""

    seq = None

    def append(self, draft: Draft) -> Kept:  # type: ignore[override]
        super().append(draft)
        return self


def test_answers_stand_in_records_and_events(find: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = PipelineConfig(
        "parts", "cam", on=1, record=RecordWhat(every=1),
        refine={"digit": Refine("digits", every=1, until=1.5, threshold=0.0)},
    )  # fmt: skip
    stages = stages_for("line", find("parts"), config, find=find)
    kept = Kept()
    pipeline = Pipeline("line", None, kept, lambda: stages)  # type: ignore[arg-type]
    pipeline._stages = stages
    for number in range(40, 60):
        pipeline.step(stages, belt(number))
    results = [its for d in kept if d.kind == "result" for its in d.data["predictions"]]
    assert results and all(set(its["refined"]["digit"]) == {"label", "score"} for its in results)
    events = [draft.data for draft in kept if draft.kind == "event"]
    assert events[0]["phase"] == "new" and events[0]["refined"]["digit"]["label"]
    changed = [event for event in events if event["phase"] == "update"]
    assert changed, "another label of the second model is worth an update"
    before = {event["track"]: event["refined"]["digit"]["label"] for event in events[:1]}
    for event in changed:
        if event["track"] in before:
            assert event["refined"]["digit"]["label"] != before[event["track"]]
            break
    health = pipeline.health()
    assert health.detail["refine"]["digit"]["asked"] >= len(results)

    def broken(tensors: Any) -> Any:
        raise InferenceError("gone")

    assert isinstance(stages.second, Cascade)
    monkeypatch.setattr(stages.second.refiners[0].predictor.session, "run", broken)
    pipeline._state = "ok"
    pipeline.step(stages, belt(60))
    assert pipeline.health().state == "degraded"
    assert "digit gives no answer" in pipeline.health().reason
    stages.session.close()


def test_a_rule_asks_what_the_second_model_says(find: Any) -> None:
    second = Refine("digits", every=1, until=1.5, threshold=0.0)
    told: dict[str, list[str]] = {}
    for when in ("score > 0", "refined == '0'", "refined != '0'", "refined in ['no such']"):
        config = PipelineConfig("parts", "cam", on=1, refine={"digit": second}, rules=[Rule(when)])
        stages = stages_for("line", find("parts"), config, find=find)
        kept = Kept()
        pipeline = Pipeline("line", None, kept, lambda stages=stages: stages)  # type: ignore
        for number in range(40, 100):
            pipeline.step(stages, belt(number))
        told[when] = [d.data["refined"]["digit"]["label"] for d in kept if d.data["phase"] == "new"]
        stages.session.close()
    every, ones, others, none = told.values()
    assert every and ones and others and not none
    assert set(ones) == {"0"} and "0" not in others


@pytest.mark.assets
def test_parts_go_together_where_the_batch_is_open(assets: Path, tmp_path: Path) -> None:
    """An ImageNet classifier with an open batch, on quarters of a picture of two dogs."""
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "model.toml").write_text(CLASSIFIER)
    for file in ("models/mobilenetv2-12-int8.onnx", "labels/imagenet_labels_1001_coral.txt"):
        shutil.copy(assets / file, tmp_path)
    package = load_package(tmp_path)
    frame = Frame("s", 1, cv2.imread(str(assets / "images/pets.jpg")), 0, 0.0)
    told = {}
    for together in (True, False):
        refine = {"what": Refine("imagenet", threshold=0.0, at_most=20)}
        cascade = open_cascade("p", refine, lambda *_: package, (), forever=True)
        assert cascade.refiners[0].batch.together
        cascade.refiners[0].batch.together = together
        runs = count_runs(cascade.refiners[0])
        told[together] = [one.refined[0][1] for one in cascade(frame, boxes(5))]
        assert runs == ([5] if together else [1] * 5)
        cascade.refiners[0].known.clear()
        cascade(frame, boxes(8)[:5] + boxes(8, track=100))
        assert runs[-2:] == ([8, 5] if together else [1, 1])
        cascade.close()
    for one, other in zip(told[True], told[False], strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=1e-4)
    assert len({one.label for one in told[True]}) > 1


def count_runs(refiner: Refiner) -> list[int]:
    """Grows by the size of each batch that the session runs."""
    session, runs = refiner.predictor.session, []
    run = session.run

    def counted(tensors: Any) -> Any:
        runs.append(len(tensors[0]))
        return run(tensors)

    session.run = counted  # type: ignore[method-assign]
    return runs


CLASSIFIER = """
name = "imagenet"
version = "1.0.0"
task = "classify"
labels = "imagenet_labels_1001_coral.txt"
[[input]]
name = "input"
kind = "image"
fit = "stretch"
mean = [123.675, 116.28, 103.53]
scale = [58.395, 57.12, 57.375]
[output]
decoder = "classify"
activation = "softmax"
label_offset = 1
[[variant]]
file = "mobilenetv2-12-int8.onnx"
runtime = "onnx"
"""
CONFIG = """
[sources.cam]
kind = "synthetic"
scene = "belt"
seed = 5
count = 40
pace = "max"
fault_rate = 0.5
[pipelines.line]
source = "cam"
model = "parts"
record = { every = 10 }
[pipelines.line.refine.digit]
model = "digits"
threshold = 0.0
"""


def test_run_with_a_second_model(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG)
    agent = AgentProcess(file, tmp_path, "--until-done", "--strict").start()
    assert agent.wait() == 0, agent.log
    records = [json.loads(line) for line in jsonl(tmp_path / "data")]
    events = [its["data"] for its in records if its["kind"] == "event"]
    assert events and all("digit" in event["refined"] for event in events)
    results = [its["data"]["predictions"] for its in records if its["kind"] == "result"]
    assert all("digit" in one["refined"] for told in results for one in told)
