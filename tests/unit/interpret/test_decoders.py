"""Decoders on tensors made from known answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.errors import InferenceError, NotFound, PackageError
from edgeagent.interpret.decoder import open_decoder
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package, StateSpec, Variant
from edgeagent.types import (
    Anomaly,
    Detection,
    Label,
    Placement,
    Prepared,
    Quantization,
    Raw,
    Regression,
    TensorSpec,
)

PLACEMENT = Placement(0.1, 0.2, 0.8, 0.6)
PREPARED = Prepared([np.zeros((1, 64, 128, 3), np.uint8)], PLACEMENT)
PROBABILITY = Quantization(1 / 256, -128)


def package(
    decoder: str,
    labels: tuple[str, ...] = (),
    kind: str = "image",
    states: list[StateSpec] | None = None,
    **output: Any,
) -> Package:
    manifest = Manifest(
        "model", "1.0.0", "detect", OutputSpec(decoder, **output),
        [InputSpec("x", kind)], [Variant("f", "litert")], state=states or [],
    )  # fmt: skip
    return Package(Path("models/model"), manifest, labels)


def tensor(shape: tuple[int, ...], dtype: str = "float32", quantization: Any = None) -> TensorSpec:
    return TensorSpec("out", shape, dtype, quantization)


def floats(*values: Any) -> Any:
    return np.array(values, np.float32)


# --- classify ------------------------------------------------------------------------------


def test_classify_names_and_sorts() -> None:
    decode = open_decoder(
        package("classify", ("a", "b", "c"), top=2), (tensor((1, 3), "int8", PROBABILITY),)
    )
    found = decode([np.array([[-128, 100, 0]], np.int8)], PREPARED)
    assert found == [Label("b", 228 / 256), Label("c", 0.5)]
    assert decode.labels == ("a", "b", "c")


@given(
    logits=st.lists(st.integers(-50, 50), min_size=2, max_size=100),
    activation=st.sampled_from(["none", "sigmoid", "softmax"]),
)
@settings(deadline=None)
def test_classify_against_plain_arithmetic(logits: list[int], activation: str) -> None:
    """Few classes are ranked in Python and many in numpy: one result."""
    values = floats([value / 8 for value in logits])
    decode = open_decoder(package("classify", activation=activation), (tensor((1, len(logits))),))
    found = decode([values], PREPARED)
    real = [value / 8 for value in logits]
    if activation == "sigmoid":
        real = [1 / (1 + math.exp(-value)) for value in real]
    if activation == "softmax":
        total = sum(math.exp(value) for value in real)
        real = [math.exp(value) / total for value in real]
    order = sorted(range(len(real)), key=lambda k: (-logits[k], k))[:5]
    assert [one.label for one in found] == [f"class {k}" for k in order]
    assert [one.score for one in found] == pytest.approx([real[k] for k in order], rel=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
@pytest.mark.parametrize("classes", [5, 200])
def test_classify_ranks_the_ends_of_the_dtype(dtype: str, classes: int) -> None:
    limits = np.iinfo(dtype)
    stored = np.full((1, classes), limits.min, dtype)
    stored[0, 3] = limits.max
    found = open_decoder(package("classify"), (tensor((1, classes), dtype, Quantization(0.1, 0)),))(
        [stored], PREPARED
    )
    assert found[0] == Label("class 3", pytest.approx(limits.max * 0.1))


def test_classify_finds_the_output_with_the_scores() -> None:
    labels = tuple("abc")
    outputs = (TensorSpec("mel", (96, 64), "float32"), TensorSpec("scores", (1, 3), "float32"))
    found = open_decoder(package("classify", labels), outputs)(
        [np.zeros((96, 64), np.float32), floats([0.1, 0.2, 0.7])], PREPARED
    )
    assert found[0] == Label("c", pytest.approx(0.7))


@pytest.mark.parametrize(("offset", "count"), [(0, 4), (0, 2), (1, 3)])
def test_wrong_number_of_labels(offset: int, count: int) -> None:
    labels = tuple(f"l{k}" for k in range(count))
    with pytest.raises(PackageError) as caught:
        open_decoder(package("classify", labels, label_offset=offset), (tensor((1, 3)),))
    assert "models/model/model.toml: labels:" in str(caught.value)
    assert f"Write {3 + offset} labels" in caught.value.remedy


def test_label_offset() -> None:
    decode = open_decoder(
        package("classify", ("background", "a", "b"), label_offset=1), (tensor((1, 2)),)
    )
    assert decode([floats([0.2, 0.8])], PREPARED)[0].label == "b"
    assert decode.labels == ("a", "b")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("classes", [3, 100])
def test_classify_refuses_what_is_no_number(bad: float, classes: int) -> None:
    values = np.zeros((1, classes), np.float32)
    values[0, 1] = bad
    with pytest.raises(InferenceError, match="NaN or infinity"):
        open_decoder(package("classify"), (tensor((1, classes)),))([values], PREPARED)


def test_labels_are_held_against_an_open_shape_at_the_first_answer() -> None:
    decode = open_decoder(package("classify", ("a", "b")), (tensor((1, -1)),))
    with pytest.raises(InferenceError, match="2 labels for a model with 3 classes"):
        decode([floats([1, 2, 3])], PREPARED)


# --- SSD -----------------------------------------------------------------------------------

BOXES, CLASSES, SCORES, COUNT = (1, 4, 4), (1, 4), (1, 4), (1,)


def ssd_outputs(order: str = "bcsn", told: float = 4) -> tuple[tuple[TensorSpec, ...], list[Any]]:
    boxes = floats([[0.2, 0.1, 0.5, 0.4], [0.3, 0.5, 0.6, 0.9], [0, 0, 1, 1], [0.2, 0.1, 0.4, 0.3]])
    values = {
        "b": boxes,
        "c": floats([0, 1, 1, 2]),
        "s": floats([0.6, 0.9, 0.3, 0.5]),
        "n": floats(told),
    }
    shapes = {"b": BOXES, "c": CLASSES, "s": SCORES, "n": COUNT}
    return tuple(tensor(shapes[key]) for key in order), [values[key] for key in order]


@pytest.mark.parametrize("order", ["bcsn", "sbnc"])
def test_ssd(order: str) -> None:
    specs, values = ssd_outputs(order)
    decode = open_decoder(package("ssd", ("???", "person", "dog", "cat"), label_offset=1), specs)
    found = decode(values, PREPARED)
    assert [(one.label, pytest.approx(one.score)) for one in found] == [
        ("dog", 0.9), ("person", 0.6), ("cat", 0.5),
    ]  # fmt: skip
    # ymin 0.3, xmin 0.5, ymax 0.6, xmax 0.9 of the tensor, which shows the frame in part.
    assert found[0].box == pytest.approx(((0.5 - 0.1) / 0.8, (0.3 - 0.2) / 0.6, 1.0, 0.4 / 0.6))


def test_ssd_believes_the_count_and_the_threshold() -> None:
    specs, values = ssd_outputs(told=1)
    assert len(open_decoder(package("ssd"), specs)(values, PREPARED)) == 1
    specs, values = ssd_outputs()
    assert len(open_decoder(package("ssd"), specs, 0.8)(values, PREPARED)) == 1
    assert len(open_decoder(package("ssd"), specs, 0.0)(values, PREPARED)) == 4
    assert len(open_decoder(package("ssd", max_detections=2), specs, 0.0)(values, PREPARED)) == 2


def test_ssd_shapes_that_are_told_only_once_loaded() -> None:
    _, values = ssd_outputs()
    decode = open_decoder(package("ssd"), tuple(tensor(()) for _ in range(4)))
    assert len(decode(values, PREPARED)) == 3
    decode = open_decoder(package("ssd"), tuple(tensor(()) for _ in range(4)))
    with pytest.raises(InferenceError, match="ssd reads boxes"):
        decode([values[0]] * 4, PREPARED)


@pytest.mark.parametrize(
    "shapes",
    [[BOXES, CLASSES, SCORES], [BOXES, BOXES, SCORES, COUNT], [CLASSES, CLASSES, SCORES, COUNT]],
)
def test_ssd_of_other_outputs(shapes: Any) -> None:
    with pytest.raises(PackageError, match=r"output\.decoder: ssd reads"):
        open_decoder(package("ssd"), tuple(tensor(shape) for shape in shapes))


def test_ssd_leaves_out_and_counts_what_is_no_number() -> None:
    specs, values = ssd_outputs()
    values[0][0, 1, 2] = math.inf
    values[2][0, 3] = math.nan
    decode = open_decoder(package("ssd"), specs)
    assert [one.score for one in decode(values, PREPARED)] == [pytest.approx(0.6)]
    assert decode.dropped == 2
    values[2][:] = math.nan
    with pytest.raises(InferenceError, match="every candidate"):
        decode(values, PREPARED)


# --- YOLO ----------------------------------------------------------------------------------

KNOWN = [
    (0, 0.9, (0.1, 0.1, 0.4, 0.5)),
    (1, 0.8, (0.12, 0.1, 0.42, 0.5)),  # over the first, but of another class
    (0, 0.7, (0.11, 0.1, 0.41, 0.5)),  # the first once more
    (2, 0.6, (0.5, 0.5, 0.9, 0.9)),
    (1, 0.3, (0.7, 0.1, 0.9, 0.3)),  # not sure enough
]
KEPT = [(0, 0.9), (1, 0.8), (2, 0.6)]


def yolo_table(boxes: str, units: str, objectness: bool, activation: str) -> Any:
    """(8400 or so, 4 [+ 1] + 3) rows of which five say something."""
    rows = np.zeros((50, (5 if objectness else 4) + 3), np.float64)
    for place, (number, score, (x1, y1, x2, y2)) in enumerate(KNOWN):
        box = {
            "xyxy": (x1, y1, x2, y2),
            "yxyx": (y1, x1, y2, x2),
            "cxcywh": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
        }[boxes]
        row = rows[place * 7]
        scale = {"pixels": (128, 64, 128, 64), "normalized": (1, 1, 1, 1)}[units]
        row[:4] = np.array(box) * (np.array(scale)[[1, 0, 3, 2]] if boxes == "yxyx" else scale)
        if objectness:
            row[4], row[5 + number] = score / 0.95, 0.95
        else:
            row[4 + number] = score
    if activation == "sigmoid":
        scores = np.clip(rows[:, 4:], 1e-4, 1 - 1e-4)
        rows[:, 4:] = np.log(scores / (1 - scores))
    return rows


@pytest.mark.parametrize("objectness", [False, True])
@pytest.mark.parametrize("activation", ["none", "sigmoid"])
@pytest.mark.parametrize("units", ["normalized", "pixels"])
@pytest.mark.parametrize("boxes", ["cxcywh", "xyxy", "yxyx"])
@pytest.mark.parametrize("layout", ["rows", "columns", "auto"])
def test_yolo_round_trip(
    layout: str, boxes: str, units: str, activation: str, objectness: bool
) -> None:
    rows = yolo_table(boxes, units, objectness, activation).astype(np.float32)
    table = (rows.T if layout != "rows" else rows)[None]
    decode = open_decoder(
        package(
            "yolo", ("a", "b", "c"), layout=layout, boxes=boxes, units=units,
            activation=activation, objectness=objectness,
        ),
        (tensor(table.shape),),
    )  # fmt: skip
    found = decode([table], PREPARED)
    assert [(one.label, pytest.approx(one.score, abs=1e-3)) for one in found] == [
        ("abc"[number], score) for number, score in KEPT
    ]
    assert found[0].box == pytest.approx(PLACEMENT.to_frame(KNOWN[0][2]), abs=1e-4)
    assert found[2].box == pytest.approx(PLACEMENT.to_frame(KNOWN[3][2]), abs=1e-4)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_yolo_of_a_quantized_output(dtype: str) -> None:
    zero = {"int8": -128, "uint8": 0, "int16": 0}[dtype]
    scale = 1 / 256 if dtype != "int16" else 1 / 32768
    rows = yolo_table("cxcywh", "normalized", False, "none")
    stored = np.rint(rows / scale + zero).astype(dtype)[None]
    decode = open_decoder(
        package("yolo", ("a", "b", "c")),
        (tensor(stored.shape, dtype, Quantization(scale, zero)),),
    )
    found = decode([stored], PREPARED)
    assert [one.label for one in found] == ["a", "b", "c"]
    assert found[0].score == pytest.approx(0.9, abs=0.01)
    assert found[0].box == pytest.approx(PLACEMENT.to_frame(KNOWN[0][2]), abs=0.01)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_yolo_keeps_what_lies_right_on_the_threshold(dtype: str) -> None:
    rows = np.zeros((1, 40, 5), np.float32)
    rows[0, 0] = [0.5, 0.5, 0.25, 0.25, 0.5]
    values = np.rint(rows * 256 - 128).astype(np.int8) if dtype == "int8" else rows
    spec = tensor((1, 40, 5), dtype, PROBABILITY if dtype == "int8" else None)
    assert len(open_decoder(package("yolo", layout="rows"), (spec,), 0.5)([values], PREPARED)) == 1
    assert not open_decoder(package("yolo", layout="rows"), (spec,), 0.505)([values], PREPARED)


def test_yolo_pixels_of_a_planar_tensor_and_of_a_given_size() -> None:
    rows = np.zeros((1, 40, 5), np.float32)
    rows[0, 0] = [64, 32, 128, 64, 0.9]
    model = package("yolo", layout="rows", units="pixels")
    decode = open_decoder(model, (tensor((1, 40, 5)),))
    planar = Prepared([np.zeros((1, 3, 64, 128), np.uint8)])
    assert decode([rows], planar)[0].box == pytest.approx((0, 0, 1, 1))
    model.manifest.input[0].size = (256, 128)
    decode = open_decoder(model, (tensor((1, 40, 5)),))
    assert decode([rows], planar)[0].box == pytest.approx((0, 0, 0.5, 0.5))


def test_yolo_leaves_out_and_counts_what_is_no_number() -> None:
    rows = yolo_table("cxcywh", "normalized", False, "none").astype(np.float32)[None]
    rows[0, 0, 2] = math.inf
    rows[0, 7, 5] = math.nan
    decode = open_decoder(package("yolo", ("a", "b", "c")), (tensor(rows.shape),))
    found = decode([rows], PREPARED)
    # The best one is gone, so the one that it would have suppressed stands.
    assert [(one.label, round(one.score, 3)) for one in found] == [("a", 0.7), ("c", 0.6)]
    assert decode.dropped == 2
    rows[:] = math.nan
    with pytest.raises(InferenceError, match="every candidate"):
        decode([rows], PREPARED)


def test_yolo_softmax_and_nothing_at_all() -> None:
    rows = np.zeros((1, 40, 7), np.float32)
    rows[0, 0, :4], rows[0, 0, 4:] = (0.5, 0.5, 0.2, 0.2), (5.0, 1.0, 0.0)
    model = package("yolo", ("a", "b", "c"), activation="softmax")
    found = open_decoder(model, (tensor(rows.shape),))([rows], PREPARED)
    assert [one.label for one in found] == ["a"]
    assert found[0].score == pytest.approx(math.exp(5) / (math.exp(5) + math.e + 1))
    empty = open_decoder(package("yolo", ("a", "b", "c")), (tensor(rows.shape),))
    assert empty([rows * 0], PREPARED) == []


@pytest.mark.parametrize(
    ("labels", "shape", "keys"),
    [
        (("a", "b"), (1, 40, 7), {}),
        ((), (1, 40, 4), {"layout": "rows"}),
        ((), (40, 7), {}),
        (("a", "b"), (1, 40, 6), {"objectness": True}),
    ],
)
def test_yolo_of_another_shape(labels: Any, shape: Any, keys: Any) -> None:
    decode = None
    with pytest.raises((PackageError, InferenceError)):
        decode = open_decoder(package("yolo", labels, **keys), (tensor(shape),))
        decode([np.zeros(shape, np.float32)], PREPARED)
    assert decode is None or len(shape) != 3


# --- BlazeFace -----------------------------------------------------------------------------


def blazeface_outputs() -> tuple[tuple[TensorSpec, ...], list[Any]]:
    specs = (tensor((1, 896, 16)), tensor((1, 896, 1)))
    return specs, [np.zeros((1, 896, 16), np.float32), np.full((1, 896, 1), -9.0, np.float32)]


def test_blazeface_anchors_by_hand() -> None:
    """Anchor k of the published grid: 16 × 16 cells of 2, then 8 × 8 cells of 6."""
    specs, values = blazeface_outputs()
    decode = open_decoder(package("blazeface"), specs)
    for index, cells, each in ((0, 16, 2), (37, 16, 2), (511, 16, 2), (512, 8, 6), (895, 8, 6)):
        cell = index // each if index < 512 else (index - 512) // each
        x, y = (cell % cells + 0.5) / cells, (cell // cells + 0.5) / cells
        raw, scores = values[0].copy(), values[1].copy()
        raw[0, index, 2:4] = 128 * 0.25, 128 * 0.5
        raw[0, index, 4:6] = 128 * 0.1, 128 * -0.1
        scores[0, index, 0] = 2.0
        (face,) = decode([raw, scores], PREPARED)
        want = (x - 0.125, y - 0.25, x + 0.125, y + 0.25)
        assert face.label == "face"
        assert face.score == pytest.approx(1 / (1 + math.exp(-2)))
        assert face.box == pytest.approx(PLACEMENT.to_frame(want), abs=1e-5)
        point = PLACEMENT.to_frame((x + 0.1, y - 0.1, 0, 0))[:2]
        assert face.points[0] == pytest.approx(point, abs=1e-5)
        assert len(face.points) == 6


def test_blazeface_blends_overlapping_candidates_by_score() -> None:
    specs, values = blazeface_outputs()
    raw, scores = values
    # Two anchors of one cell: boxes 0.30 and 0.20 wide round the same centre, and a far one.
    raw[0, 0, 2:4], raw[0, 1, 2:4], raw[0, 600, 2:4] = 0.30 * 128, 0.20 * 128, 0.2 * 128
    scores[0, 0, 0], scores[0, 1, 0], scores[0, 600, 0] = math.log(9), math.log(1.5), 3.0
    decode = open_decoder(package("blazeface", nms_iou=0.3), specs)
    far, blended = decode([raw, scores], Prepared([]))
    assert far.score == pytest.approx(1 / (1 + math.exp(-3)))
    assert blended.score == pytest.approx(0.9)
    width = (0.9 * 0.30 + 0.6 * 0.20) / 1.5
    assert blended.box[2] - blended.box[0] == pytest.approx(width, abs=1e-5)
    decode = open_decoder(package("blazeface", nms_iou=0.9), specs)
    assert len(decode([raw, scores], PREPARED)) == 3


def test_blazeface_counts_what_is_no_number_and_clips_what_is_huge() -> None:
    specs, values = blazeface_outputs()
    raw, scores = values
    raw[0, 3, 0], scores[0, 3, 0] = math.nan, 5.0
    scores[0, 4, 0] = math.nan
    raw[0, 700, 2:4], scores[0, 700, 0] = 12.8, 1e9
    decode = open_decoder(package("blazeface"), specs)
    (face,) = decode([raw, scores], PREPARED)
    assert face.score == 1.0
    assert decode.dropped == 2
    with pytest.raises(InferenceError, match="every candidate"):
        decode([raw, scores * np.float32(math.nan)], PREPARED)


def test_blazeface_anchors_of_the_package() -> None:
    full = {"strides": [4], "size": 192, "per_layer": 1}
    specs = (tensor((1, 2304, 16)), tensor((1, 2304, 1)))
    open_decoder(package("blazeface", anchors=full), specs)
    with pytest.raises(PackageError, match="896 anchors, the model has 2304"):
        open_decoder(package("blazeface"), specs)
    for wrong in ({"stride": [4]}, {"strides": [0]}, {"strides": "8"}, {"size": 0}):
        with pytest.raises(PackageError, match=r"output\.anchors"):
            open_decoder(package("blazeface", anchors=wrong), specs)
    with pytest.raises(PackageError, match="blazeface reads"):
        open_decoder(package("blazeface"), (tensor((1, 896, 12)), tensor((1, 896, 1))))


# --- autoencoder, regression, raw ----------------------------------------------------------


def test_autoencoder_measures_against_the_float_input() -> None:
    features = floats([0.24, 0.5, 1.0, -0.3])
    stored = np.array([[1, 5, 9, -3]], np.int8)
    spec = tensor((1, 4), "int8", Quantization(0.1, 0))
    decode = open_decoder(package("autoencoder", kind="window", threshold=0.01), (spec,))
    found = decode([stored], Prepared([], features=features))
    want = ((0.24 - 0.1) ** 2 + (1.0 - 0.9) ** 2) / 4
    assert found == [Anomaly(pytest.approx(want, rel=1e-4), 0.01)]
    assert not found[0].alarming
    other = open_decoder(package("autoencoder", kind="window", threshold=0.01), (spec,), 0.005)
    assert other([stored], Prepared([], features=features))[0].alarming


def test_autoencoder_that_is_none() -> None:
    decode = open_decoder(package("autoencoder", kind="window"), (tensor((1, 4)),))
    for prepared in (Prepared([]), Prepared([], features=floats([1, 2, 3]))):
        with pytest.raises(InferenceError):
            decode([floats([1, 2, 3, 4])], prepared)
    with pytest.raises(InferenceError, match="NaN"):
        decode([floats([1, math.nan, 3, 4])], Prepared([], features=floats([1, 2, 3, 4])))
    with pytest.raises(PackageError, match="the input is an image"):
        open_decoder(package("autoencoder"), (tensor((1, 4)),))


def test_regress() -> None:
    spec = tensor((1, 1), "int8", Quantization(0.5, 3))
    decode = open_decoder(package("regress", kind="window", name="flow", unit="l/min"), (spec,))
    assert decode([np.array([[5]], np.int8)], PREPARED) == [Regression("flow", 1.0, "l/min")]
    several = open_decoder(package("regress", ("a", "b"), kind="window"), (tensor((1, 2)),))
    assert several([floats([1.5, 2.5])], PREPARED) == [Regression("a", 1.5), Regression("b", 2.5)]
    unnamed = open_decoder(package("regress", kind="window"), (tensor((1, 2)),))
    assert [one.name for one in unnamed([floats([1, 2])], PREPARED)] == ["model.0", "model.1"]
    with pytest.raises(InferenceError, match="NaN"):
        unnamed([floats([1, math.nan])], PREPARED)


def test_outputs_as_they_are_without_state() -> None:
    outputs = (
        TensorSpec("ids", (1, 2), "int64"),
        TensorSpec("hn", (2, 1), "float32"),
        TensorSpec("y", (1, 2), "int8", Quantization(0.5, 0)),
    )
    decode = open_decoder(package("none", states=[StateSpec("h0", "hn")]), outputs)
    values = [np.array([[7, 8]]), np.zeros((2, 1)), np.array([[1, 2]], np.int8)]
    assert decode(values, PREPARED) == [Raw({"ids": [[7, 8]], "y": [[0.5, 1.0]]})]


def test_unknown_decoders() -> None:
    with pytest.raises(NotFound, match="yolo99"):
        open_decoder(package("plugin", plugin="yolo99"), (tensor((1, 2)),))
    with pytest.raises(NotFound, match="mine"):
        open_decoder(package("plugin", plugin="mine"), (tensor((1, 2)),))


def test_detections_are_sorted_best_first() -> None:
    specs, values = ssd_outputs()
    found = open_decoder(package("ssd"), specs, 0.0)(values, PREPARED)
    assert all(isinstance(one, Detection) for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_a_short_list_of_uneven_outputs_is_refused() -> None:
    outputs = tuple(
        TensorSpec(name, shape, "float32")
        for name, shape in [("b", (1, -1, 4)), ("c", (1, -1)), ("s", (1, -1)), ("n", (1,))]
    )
    decode = open_decoder(package("ssd"), outputs)
    answers = [np.zeros((1, 3, 4)), np.zeros((1, 3)), np.ones((1, 4)), np.array([4.0])]
    with pytest.raises(InferenceError, match="4 scores for 3 boxes and 3 classes"):
        decode([answer.astype(np.float32) for answer in answers], PREPARED)


@given(
    scores=st.lists(st.floats(0, 1, width=32) | st.just(math.nan), min_size=1, max_size=20),
    threshold=st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]),
    most=st.integers(1, 20),
)
@settings(deadline=None)
def test_a_short_list_against_numpy(scores: list[float], threshold: float, most: int) -> None:
    shapes = [("boxes", (1, len(scores), 4)), ("classes", (1, len(scores)))]
    shapes += [("scores", (1, len(scores))), ("count", (1,))]
    outputs = tuple(TensorSpec(name, shape, "float32") for name, shape in shapes)
    how = package("ssd", threshold=threshold, max_detections=most)
    boxes = np.arange(len(scores) * 4, dtype=np.float32).reshape(1, -1, 4) / 100
    numbers = np.arange(len(scores), dtype=np.float32)[None]
    told = np.array(scores, np.float32)
    answers = [boxes, numbers, told[None], floats(len(scores))]
    decode = open_decoder(how, outputs)
    if np.isnan(told).all():
        with pytest.raises(InferenceError):
            decode(answers, PREPARED)
        return
    found = decode(answers, PREPARED)
    order = np.argsort(-told, kind="stable")
    want = [int(k) for k in order if told[k] >= np.float32(threshold)][:most]
    assert [one.label for one in found] == [f"class {k}" for k in want]
    assert [one.score for one in found] == told[want].tolist()
    assert decode.dropped == int(np.isnan(told).sum())
