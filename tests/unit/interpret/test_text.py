"""Texts: quadrilaterals out of a probability map, letters out of steps; PP-OCR as a cascade."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.agent.cascade import open_cascade
from edgeagent.config.model import Refine
from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.decoder import open_decoder
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package, Variant, load_package
from edgeagent.prove.predict import Predictor
from edgeagent.types import Detection, Frame, Placement, Prepared, Quantization, TensorSpec, Text

QUADS = json.loads((Path(__file__).parent / "ocr_expected.json").read_text(encoding="utf-8"))


def package(decoder: str, labels: tuple[str, ...] = (), **output: Any) -> Package:
    manifest = Manifest(
        "m", "1.0.0", "detect", OutputSpec(decoder, **output), [InputSpec("x", "image")],
        [Variant("f", "onnx")],
    )  # fmt: skip
    return Package(Path("models/m"), manifest, labels)


def prepared(placement: Placement | None = None) -> Prepared:
    return Prepared([np.zeros((1, 3, 32, 32), np.float32)], placement or Placement())


# --- db ------------------------------------------------------------------------------------


def shrunk(width: int, height: int, middle: Any, sides: Any, angle: float) -> Any:
    """A map whose one patch must grow into the rectangle, and the rectangle's corners."""
    # distance = area × 1.6 / perimeter of the inner one; solved for the inner sides.
    low, high = 0.0, min(sides) / 2
    for _ in range(60):
        distance = (low + high) / 2
        inner = sides[0] - 2 * distance, sides[1] - 2 * distance
        grown = inner[0] * inner[1] * 1.6 / (2 * (inner[0] + inner[1])) if min(inner) > 0 else 0
        low, high = (distance, high) if grown > distance else (low, distance)
    chart = np.zeros((height, width), np.float32)
    corners = cv2.boxPoints((middle, (sides[0] - 2 * low, sides[1] - 2 * low), angle))
    cv2.fillPoly(chart, [np.rint(corners).astype(np.int32)], 0.9)
    return chart, cv2.boxPoints((middle, sides, angle))


@given(
    across=st.integers(60, 200), down=st.integers(24, 50), angle=st.floats(-30, 30),
    x=st.integers(150, 250), y=st.integers(130, 180),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_a_rectangle_is_found_where_it_was_drawn(
    across: int, down: int, angle: float, x: int, y: int
) -> None:
    chart, corners = shrunk(400, 320, (x, y), (across, down), angle)
    where = Placement(0.0, 0.1, 1.0, 0.8)
    decode = open_decoder(package("db"), (TensorSpec("p", (1, 1, 320, 400), "float32"),))
    (found,) = decode([chart[None, None]], prepared(where))
    assert isinstance(found, Detection)
    assert found.label == "text" and found.score > 0.5
    told = np.array([where.to_tensor((u, v, 0, 0))[:2] for u, v in found.points]) * (400, 320)
    far = min(np.abs(np.roll(told, turn, axis=0) - corners).max() for turn in range(4))
    assert far < 5.5  # dilated by a pixel, counted in whole ones
    xs, ys = zip(*found.points, strict=True)
    assert found.box == (min(xs), min(ys), max(xs), max(ys))
    # Clockwise from the top left, as a reader goes.
    across_it, down_it = told[1] - told[0], told[3] - told[0]
    assert across_it[0] > 0 and down_it[1] > 0
    assert across_it[0] * down_it[1] - across_it[1] * down_it[0] > 0


def test_maps_of_other_forms_say_the_same() -> None:
    chart, _ = shrunk(200, 100, (100, 50), (120, 40), 0)
    stored = np.rint(chart * 255).astype(np.uint8)
    logits = np.log(np.clip(chart, 1e-4, 1 - 1e-4) / (1 - np.clip(chart, 1e-4, 1 - 1e-4)))
    q = Quantization(1 / 255, 0)
    one = open_decoder(package("db"), (TensorSpec("p", (1, 1, 100, 200), "float32"),))
    (want,) = one([chart[None, None]], prepared())
    for tensor, answer, keys in [
        (TensorSpec("p", (1, 100, 200, 1), "float32"), chart[None, :, :, None], {}),
        (TensorSpec("p", (1, 100, 200), "float32"), chart[None], {}),
        (TensorSpec("p", (-1, 1, -1, -1), "uint8", q), stored[None, None], {}),
        (TensorSpec("p", (1, 1, 100, 200), "float32"), logits[None, None].astype(np.float32),
         {"activation": "sigmoid"}),
    ]:  # fmt: skip
        (found,) = open_decoder(package("db", **keys), (tensor,))([answer], prepared())
        assert found.points == want.points  # type: ignore[union-attr]
        assert found.score == pytest.approx(want.score, abs=0.01)  # type: ignore[union-attr]


def test_noise_weak_patches_and_bad_numbers() -> None:
    tensor = (TensorSpec("p", (1, 1, 64, 64), "float32"),)
    decode = open_decoder(package("db", threshold=0.5), tensor)
    chart = np.zeros((1, 1, 64, 64), np.float32)
    chart[0, 0, 5, 5] = 1.0  # one pixel
    chart[0, 0, 20:40, 10:50] = 0.4  # above the binary limit, below the threshold
    chart[0, 0, 60, 60] = math.nan
    assert decode([chart], prepared()) == []
    assert decode.dropped == 1
    with pytest.raises(InferenceError, match="NaN"):
        decode([np.full((1, 1, 64, 64), math.nan, np.float32)], prepared())
    with pytest.raises(InferenceError, match="no map of one channel"):
        decode([np.zeros((1, 3, 8, 8), np.float32)], prepared())
    with pytest.raises(PackageError, match="db reads one map"):
        open_decoder(package("db"), (TensorSpec("p", (1, 10), "float32"),))


# --- ctc -----------------------------------------------------------------------------------

LETTERS = tuple("abcdé☃")


@given(
    text=st.text(st.sampled_from([*LETTERS, " "]), max_size=12),
    repeats=st.lists(st.integers(1, 3), min_size=12, max_size=12),
    gaps=st.lists(st.integers(0, 2), min_size=13, max_size=13),
    space=st.booleans(),
)
@settings(deadline=None)
def test_letters_there_and_back(
    text: str, repeats: list[int], gaps: list[int], space: bool
) -> None:
    if not space:
        text = text.replace(" ", "")
    path = [0] * gaps[0]
    for place, letter in enumerate(text):
        number = LETTERS.index(letter) + 1 if letter != " " else len(LETTERS) + 1
        same = place > 0 and text[place - 1] == letter
        path += [0] * max(gaps[place + 1], int(same)) + [number] * repeats[place]
    path = path or [0]
    classes = len(LETTERS) + 1 + int(space)
    table = np.full((1, len(path), classes), 0.1 / (classes - 1), np.float32)
    table[0, np.arange(len(path)), path] = 0.9
    decode = open_decoder(package("ctc", LETTERS), (TensorSpec("t", (-1, -1, classes), "float32"),))
    told = decode([table], prepared())
    assert told == ([Text(text, pytest.approx(0.9))] if text else [])
    logits = open_decoder(
        package("ctc", LETTERS, activation="softmax"),
        (TensorSpec("t", (1, -1, classes), "float32"),),
    )
    told = logits([np.log(table)], prepared())
    assert told == ([Text(text, pytest.approx(0.9))] if text else [])


def test_ctc_tells_what_does_not_fit() -> None:
    good = (TensorSpec("t", (1, 10, 7), "float32"),)
    with pytest.raises(PackageError, match="labels are missing"):
        open_decoder(package("ctc"), good)
    with pytest.raises(PackageError, match="6 letters for a model with 9 classes"):
        open_decoder(package("ctc", LETTERS), (TensorSpec("t", (1, 10, 9), "float32"),))
    with pytest.raises(PackageError, match="ctc reads one output"):
        open_decoder(package("ctc", LETTERS), (*good, *good))
    decode = open_decoder(package("ctc", LETTERS, threshold=0.95), good)
    doubtful = np.full((1, 10, 7), 0.01, np.float32)
    doubtful[..., 1] = 0.94
    assert decode([doubtful], prepared()) == []
    with pytest.raises(InferenceError, match="NaN"):
        decode([np.full((1, 10, 7), math.nan, np.float32)], prepared())
    with pytest.raises(InferenceError, match="where ctc reads"):
        decode([np.zeros((2, 10, 7), np.float32)], prepared())


# --- PP-OCRv4 against RapidOCR's own pipeline -----------------------------------------------


@pytest.fixture(scope="module")
def ocr_models() -> Any:
    """The module beside this one."""
    file = Path(__file__).parent / "ocr_models.py"
    spec = importlib.util.spec_from_file_location("ocr_models", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ocr(ocr_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Finds both packages by name."""
    models = ocr_models.find_models(tmp_path_factory.mktemp("wheel"))
    if isinstance(models, str):
        pytest.skip(models)
    folder = tmp_path_factory.mktemp("packages")
    ocr_models.write_packages(models, folder)
    return lambda name, _version="": load_package(folder / name / "4.0.0")


def read(ocr: Any, pixels: Any) -> list[tuple[str, float, Any]]:
    """(text, score, points in pixels) of a picture."""
    refine = {"read": Refine("text-read", at_most=64)}
    with Predictor(ocr("text-find")) as finder:
        cascade = open_cascade("p", refine, ocr, finder.labels, forever=True)
        assert not cascade.loss()
        frame = Frame("s", 1, pixels, 0, 0.0)
        told = cascade(frame, finder(frame).predictions)
        cascade.close()
    height, width = pixels.shape[:2]
    return [
        (answer.text, answer.score, np.array(one.points) * (width, height))
        for one in told
        for _, answer in one.refined
    ]


SCENES = ("sign", "tilted", "dark")
_SURE = 0.6
"""Below it both make up letters for what is none, and no two alike."""


@pytest.mark.parametrize("name", [*SCENES, *(name for name in QUADS["texts"] if "." in name)])
def test_the_same_texts_as_rapidocr(
    name: str, ocr: Any, ocr_models: Any, request: pytest.FixtureRequest
) -> None:
    if name in SCENES:
        pixels = ocr_models.SCENES[name]()
    else:
        pixels = cv2.imread(str(request.getfixturevalue("assets") / "images" / name))
    found = sorted(one for one in read(ocr, pixels) if one[1] >= _SURE)
    want = sorted(
        (one for one in QUADS["texts"][name] if one["score"] >= _SURE), key=lambda one: one["text"]
    )
    assert [text for text, _, _ in found] == [one["text"] for one in want]
    for (_, score, points), one in zip(found, want, strict=True):
        assert score == pytest.approx(one["score"], abs=0.1)
        assert np.abs(points - one["quad"]).max() <= 2.0  # pixels


def test_one_by_one_and_together_read_the_same(ocr: Any, ocr_models: Any) -> None:
    frame = Frame("s", 1, ocr_models.sign(), 0, 0.0)
    with Predictor(ocr("text-find")) as finder:
        texts = finder(frame).predictions
        told = {}
        for together in (True, False):
            cascade = open_cascade("p", {"read": Refine("text-read")}, ocr, ("text",), forever=True)
            batch = cascade.refiners[0].batch
            assert batch.together
            batch.together = together
            told[together] = [one.refined[0][1].text for one in cascade(frame, texts)]
            cascade.close()
    assert told[True] == told[False]
