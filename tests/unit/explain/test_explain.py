"""Explanations that must hold: what was planted matters, and another model says otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeagent.capture.synthetic import BeltScene, VibrationScene
from edgeagent.errors import NotFound
from edgeagent.explain.pictures import Explained, explain_picture
from edgeagent.explain.target import Target, target_of
from edgeagent.explain.windows import explain_window
from edgeagent.manifest import Package, load_package
from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import first_sample
from edgeagent.types import Detection, Frame, Label, Window


def newest(repository: Path, name: str) -> Package:
    return load_package(sorted((repository / "models" / name).iterdir())[-1])


@pytest.fixture(scope="module")
def scene() -> Frame:
    """A belt with parts on it."""
    pixels, _ = BeltScene(9003, (160, 120), fault_rate=0.4).render(400)
    return Frame("s", 1, pixels, 0, 0.0)


@pytest.fixture(scope="module")
def randomised(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The same detector with the weights of each layer shuffled."""
    package = newest(repository, "parts")
    folder = tmp_path_factory.mktemp("random") / "parts" / "1.0.0"
    shutil.copytree(package.folder, folder)
    file = folder / package.manifest.variant[0].file
    data = file.read_bytes()
    rng = np.random.default_rng(1)
    shuffled = np.frombuffer(data, np.int8).copy()
    for begin, end in _weights(file):
        rng.shuffle(shuffled[begin:end])
    file.write_bytes(shuffled.tobytes())
    text = (folder / "model.toml").read_text().split("[files]")[0]
    (folder / "model.toml").write_text(text)
    return load_package(folder)


def _weights(file: Path) -> list[tuple[int, int]]:
    """Where int8 constants of the model lie in its file."""
    tflite = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    data = file.read_bytes()
    interpreter = tflite.Interpreter(model_path=str(file))
    places = []
    for its in interpreter.get_tensor_details():
        if its["dtype"] != np.int8:
            continue
        try:
            stored = interpreter.get_tensor(its["index"]).tobytes()
        except ValueError:
            continue  # it is computed
        begin = data.find(stored)
        if len(stored) >= 128 and begin >= 0:
            places.append((begin, begin + len(stored)))
    assert len(places) > 5
    return places


def test_what_matters_for_a_detection_lies_inside_its_box(repository: Path, scene: Frame) -> None:
    with Predictor(newest(repository, "parts"), threshold=0.1) as predictor:
        found = explain_picture(predictor, scene, runs=300)
        assert found.method == "masks" and found.runs == 300
        assert found.inside is not None and found.area is not None
        assert found.inside > 5 * found.area and found.inside > 0.5
        row, column = divmod(int(found.heat.argmax()), found.heat.shape[1])
        x1, y1, x2, y2 = found.target.box or (0, 0, 0, 0)
        assert x1 < (column + 0.5) / found.heat.shape[1] < x2
        assert y1 < (row + 0.5) / found.heat.shape[0] < y2
        patches = explain_picture(predictor, scene, target=found.target, method="hide")
        assert patches.inside is not None and patches.inside > 2.5 * found.area


def test_a_model_with_shuffled_weights_gives_another_map(
    repository: Path, scene: Frame, randomised: Package
) -> None:
    maps = []
    target = None
    own = newest(repository, "parts")
    for package, seed in ((own, 1), (own, 2), (randomised, 1)):
        with Predictor(package, threshold=0.0) as predictor:
            found = explain_picture(predictor, scene, target=target, runs=160, seed=seed)
            target = found.target
            maps.append(found)
    good, repeated, other = maps
    # Where its answers come from is still near the box: a network looks around each place. What it
    # looks for there is another thing (Adebayo et al. 2018, "Sanity checks for saliency maps").
    assert likeness(good, repeated) > likeness(good, other) + 0.2


def likeness(one: Explained, other: Explained) -> float:
    """Correlation of two maps; one on which nothing matters is like no other."""
    if not other.heat.any():
        return 0.0
    return float(np.corrcoef(one.heat.ravel(), other.heat.ravel())[0, 1])


def test_a_class_is_explained_by_the_strokes_of_the_digit(repository: Path) -> None:
    package = newest(repository, "digits")
    sample = first_sample(package.folder / "golden" / "1.png", package)
    assert isinstance(sample, Frame)
    with Predictor(package) as predictor:
        found = explain_picture(predictor, sample)
        assert found.method == "hide" and found.inside is None and found.heat.shape == (8, 8)
        lost = found.heat
        ink = np.asarray(sample.pixels, float)
        ink = ink.mean(axis=2) if ink.ndim == 3 else ink
        assert ink[lost > 0.5].mean() > ink[lost < 0.1].mean()
        with pytest.raises(NotFound, match="says no 'zebra'"):
            explain_picture(predictor, sample, label="zebra")


def test_a_planted_burst_is_found_in_time(repository: Path) -> None:
    package = newest(repository, "bearing")
    spec = package.manifest.input[0]
    values = VibrationScene(3, rate_hz=spec.rate_hz).block(0, spec.length)[:, :1].astype(np.float32)
    begin, end = spec.length // 2, spec.length // 2 + spec.length // 24
    values[begin:end:5, 0] += 12 * values.std()
    channels = tuple(spec.channels) or ("x",)
    window = Window("s", 1, values, spec.rate_hz, channels, 0, 0.0)
    with Predictor(package) as predictor:
        found = explain_window(predictor, window)
    channel, from_s, to_s = found.strongest()
    assert channel == channels[0]
    assert from_s - 0.01 <= begin / spec.rate_hz <= to_s
    assert found.by_channel()[channel] == pytest.approx(1.0)
    assert found.lost.shape == (1, 24) and found.runs == 25


def test_what_is_left_of_a_target() -> None:
    box = (0.0, 0.0, 0.5, 1.0)
    target = target_of([Detection("a", 0.9, box), Detection("b", 0.8, box)], "b")
    assert target == Target("b", 0.8, box)
    half = Detection("b", 0.5, (0.0, 0.0, 1.0, 1.0))
    assert target.left_in([half, Detection("a", 1.0, box)]) == pytest.approx(0.25)
    assert target.left_in([]) == 0
    assert Target("x", 1.0).left_in([Label("y", 0.9), Label("x", 0.1)]) == 0.1
