"""The forms in which exporters leave a YOLO: apart, suppressed, in tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.decoder import open_decoder
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package
from edgeagent.types import Placement, Prepared, Quantization, TensorSpec

PLACEMENT = Placement(0.1, 0.2, 0.8, 0.6)
PREPARED = Prepared([np.zeros((1, 64, 128, 3), np.uint8)], PLACEMENT)
KNOWN = [
    (0, 0.9, (0.1, 0.1, 0.4, 0.5)),
    (1, 0.8, (0.12, 0.1, 0.42, 0.5)),  # over the first, but of another class
    (0, 0.7, (0.11, 0.1, 0.41, 0.5)),  # the first once more
    (2, 0.6, (0.5, 0.5, 0.9, 0.9)),
    (1, 0.3, (0.7, 0.1, 0.9, 0.3)),  # not sure enough
]
NUMBERS = np.array([number for number, _, _ in KNOWN])
SCORES = np.array([score for _, score, _ in KNOWN], np.float32)
BOXES = np.array([box for _, _, box in KNOWN], np.float32)


def package(**keys: Any) -> Package:
    manifest = Manifest(
        "m", "1.0.0", "detect", OutputSpec("yolo", **keys), [InputSpec("x", "image")], []
    )
    return Package(Path("m"), manifest, ("a", "b", "c"))


def tensors(*arrays: Any, names: Any = ()) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(names[k] if names else f"t{k}", a.shape, a.dtype.name)
        for k, a in enumerate(arrays)
    )


def found(arrays: list[Any], names: Any = (), **keys: Any) -> list[Any]:
    return open_decoder(package(**keys), tensors(*arrays, names=names))(arrays, PREPARED)


def said(detections: list[Any]) -> list[tuple[str, float]]:
    return [(one.label, round(one.score, 3)) for one in detections]


def at(detection: Any) -> Any:
    return pytest.approx(PLACEMENT.to_tensor(detection.box), abs=1e-4)


ALL = [("a", 0.9), ("b", 0.8), ("a", 0.7), ("c", 0.6)]
BY_CLASS = [("a", 0.9), ("b", 0.8), ("c", 0.6)]
BY_ANY = [("a", 0.9), ("c", 0.6)]


def test_what_suppresses_what() -> None:
    table = np.zeros((1, 40, 7), np.float32)
    table[0, :5, :4] = BOXES
    table[0, np.arange(5), 4 + NUMBERS] = SCORES
    assert said(found([table], boxes="xyxy")) == BY_CLASS
    assert said(found([table], boxes="xyxy", nms="any")) == BY_ANY
    assert said(found([table], boxes="xyxy", nms_iou=0.99)) == ALL


# --- boxes apart from scores ----------------------------------------------------------------


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("scores_first", [False, True])
def test_boxes_apart_from_scores(columns: bool, scores_first: bool) -> None:
    boxes = np.zeros((1, 40, 4), np.float32)
    scores = np.zeros((1, 40, 3), np.float32)
    boxes[0, ::8] = BOXES * [128, 64, 128, 64]
    scores[0, np.arange(5) * 8, NUMBERS] = SCORES
    if columns:
        boxes, scores = (np.ascontiguousarray(one.transpose(0, 2, 1)) for one in (boxes, scores))
    arrays = [scores, boxes] if scores_first else [boxes, scores]
    told = found(arrays, boxes="xyxy", units="pixels")
    assert said(told) == BY_CLASS
    assert at(told[2]) == KNOWN[3][2]


def test_quantized_each_by_its_own_scale() -> None:
    """Why exporters take them apart: one scale for pixels and for scores leaves no scores."""
    boxes = np.zeros((1, 40, 4), np.uint8)
    scores = np.full((1, 40, 3), -128, np.int8)
    boxes[0, :5] = np.rint(BOXES * [128, 64, 128, 64] * 2)
    scores[0, np.arange(5), NUMBERS] = np.rint(SCORES * 256 - 128)
    outputs = (
        TensorSpec("b", boxes.shape, "uint8", Quantization(0.5, 0)),
        TensorSpec("s", scores.shape, "int8", Quantization(1 / 256, -128)),
    )
    decode = open_decoder(package(boxes="xyxy", units="pixels"), outputs)
    told = decode([boxes, scores], PREPARED)
    assert [one.label for one in told] == ["a", "b", "c"]
    assert [one.score for one in told] == pytest.approx([0.9, 0.8, 0.6], abs=0.004)
    assert told[2].box == pytest.approx(PLACEMENT.to_frame(KNOWN[3][2]), abs=0.02)


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_the_best_class_is_found_but_nothing_suppressed(dtype: str) -> None:
    boxes, scores = np.zeros((1, 9, 4), np.float32), np.zeros((1, 9), np.float32)
    numbers = np.zeros((1, 9), dtype)
    boxes[0, :5], scores[0, :5], numbers[0, :5] = BOXES, SCORES, NUMBERS
    assert said(found([boxes, scores, numbers], boxes="xyxy")) == BY_CLASS
    logits = np.log(np.maximum(scores, 1e-6) / (1 - scores)).astype(np.float32)
    assert said(found([boxes, logits, numbers], boxes="xyxy", activation="sigmoid")) == BY_CLASS
    names = ("x", "y", "z")
    floats = [numbers.astype(np.float32), scores, boxes]
    roles = {"classes": "x", "scores": "y"}
    assert said(found(floats, names, boxes="xyxy", tensors=roles)) == BY_CLASS
    with pytest.raises(PackageError, match="yolo reads one tensor"):
        found(floats, names, boxes="xyxy")


# --- suppressed in the graph ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "keys"),
    [
        (("x1", "y1", "x2", "y2", "score", "class"), {}),
        (("batch", "x1", "y1", "x2", "y2", "class", "score"), {}),
        (("batch", "class", "score", "x1", "y1", "x2", "y2"), {"row": True}),
        (("cx", "cy", "w", "h", "class", "score"), {"row": True}),
    ],
)
@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_tables_of_detections(row: Any, keys: Any, pixels: bool, batch: bool) -> None:
    scale = np.array([128, 64, 128, 64] if pixels else [1] * 4, np.float32)
    corners = BOXES * scale
    parts = {
        "batch": np.zeros(5), "score": SCORES, "class": NUMBERS,
        **dict(zip(("x1", "y1", "x2", "y2"), corners.T, strict=True)),
        "cx": (corners[:, 0] + corners[:, 2]) / 2, "cy": (corners[:, 1] + corners[:, 3]) / 2,
        "w": corners[:, 2] - corners[:, 0], "h": corners[:, 3] - corners[:, 1],
    }  # fmt: skip
    table = np.stack([parts[name] for name in row], axis=1).astype(np.float32)
    table = np.concatenate([table[::-1], np.zeros((20, len(row)), np.float32)])
    table = table[None] if batch else table
    more = {"row": list(row)} if keys else {}
    told = found([table], nms="graph", units="pixels" if pixels else "normalized", **more)
    assert said(told) == ALL  # what the graph has left is left
    assert at(told[3]) == KNOWN[3][2]


def test_tables_that_do_not_fit() -> None:
    for row in (["x1", "y1", "x2", "y2", "class"], ["score", "class"], ["a"] * 6):
        with pytest.raises(PackageError, match=r"output\.row"):
            found([np.zeros((1, 9, len(row)), np.float32)], nms="graph", row=row)
    with pytest.raises(PackageError, match="6 values a row"):
        found([np.zeros((1, 9, 5), np.float32)], nms="graph")
    open_shape = (TensorSpec("t", (-1, -1), "float32"),)
    decode = open_decoder(package(nms="graph"), open_shape)
    with pytest.raises(InferenceError, match=r"output\.row names 6"):
        decode([np.zeros((9, 7), np.float32)], PREPARED)


def test_a_table_with_values_that_are_no_numbers() -> None:
    table = np.zeros((1, 3, 6), np.float32)
    table[0, 0], table[0, 1], table[0, 2] = (0, 0, 1, 1, 0.9, 0), (0, 0, 1, 1, 0.8, 1), math.nan
    table[0, 1, 5] = math.inf
    decode = open_decoder(package(nms="graph"), tensors(table))
    assert said(decode([table], PREPARED)) == [("a", 0.9)]
    assert decode.dropped == 2


@pytest.mark.parametrize(
    "order",
    ["bscn", "nbsc", "bsc", "bcsn"],
    ids=["CombinedNonMaxSuppression", "EfficientNMS", "no count", "classes first"],
)
def test_lists_of_detections(order: str) -> None:
    whole = order != "bcsn"  # else classes are floats, and stand before the scores
    boxes, scores = np.zeros((1, 9, 4), np.float32), np.full((1, 9), 0.99, np.float32)
    numbers = np.zeros((1, 9), np.int32 if whole else np.float32)
    boxes[0, :5], scores[0, :5], numbers[0, :5] = BOXES, SCORES, NUMBERS
    if "n" not in order:
        scores[0, 5:] = 0
    count = np.array([[5]] if order == "nbsc" else [5], np.int32 if whole else np.float32)
    parts = {"b": boxes, "s": scores, "c": numbers, "n": count}
    told = found([parts[key] for key in order], nms="graph")
    assert said(told) == ALL
    assert at(told[0]) == KNOWN[0][2]


def test_lists_with_floats_for_all_need_names() -> None:
    """Scores before classes, both floats after the boxes: only names tell."""
    boxes, scores = np.zeros((1, 9, 4), np.float32), np.zeros((1, 9), np.float32)
    numbers = np.zeros((1, 9), np.float32)
    boxes[0, :5], scores[0, :5], numbers[0, :5] = BOXES * 64, SCORES, NUMBERS
    names = ("boxes", "conf", "cls")
    for tensors_ in ({"scores": "conf"}, {"classes": "cls"}, {"scores": "conf", "classes": "cls"}):
        told = found([boxes, scores, numbers], names, nms="graph", tensors=tensors_)
        assert said(told) == ALL


def test_lists_that_do_not_fit() -> None:
    table = np.zeros((1, 9), np.float32)
    with pytest.raises(PackageError, match="3 or 4 outputs"):
        found([table, table], nms="graph")
    with pytest.raises(PackageError, match=r"reads boxes \[1,n,4\]"):
        found([table, table, table], nms="graph")
