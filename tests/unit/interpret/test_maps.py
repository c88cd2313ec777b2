"""Masks, poses, vectors and smoothed scores on tensors made from known answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.decoder import open_decoder
from edgeagent.interpret.embed import Gallery, Known, gallery_text, read_gallery
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package
from edgeagent.types import (
    WHOLE,
    Embedding,
    Keypoints,
    Label,
    Mask,
    Placement,
    Prepared,
    Quantization,
    Regression,
    TensorSpec,
)

BOXED = Placement(0.0, 0.25, 1.0, 0.5)
"""A wide frame in a square tensor: black above and below."""
CROPPED = Placement(-0.5, 0.0, 2.0, 1.0)
"""The middle half of a wide frame."""


def package(decoder: str, labels: tuple[str, ...] = (), folder: str = "m", **keys: Any) -> Package:
    spec = InputSpec("x", "image", size=(257, 129))
    manifest = Manifest("m", "1.0.0", "segment", OutputSpec(decoder, **keys), [spec], [])
    return Package(Path(folder), manifest, labels)


def run(
    model: Package, *arrays: Any, placement: Placement = WHOLE, quantization: Any = None
) -> list[Any]:
    specs = tuple(
        TensorSpec(f"t{k}", a.shape, a.dtype.name, quantization) for k, a in enumerate(arrays)
    )
    return open_decoder(model, specs)(list(arrays), Prepared([], placement))


# --- masks ---------------------------------------------------------------------------------


def numbers() -> Any:
    """Class 2 in the upper left quarter, class 1 in the lower right one, else 0."""
    made = np.zeros((40, 40), np.int64)
    made[:20, :20] = 2
    made[20:, 20:] = 1
    return made


def scores(activation: str, planar: bool) -> Any:
    chosen = numbers()
    likely = np.full((40, 40, 3), 0.1)
    np.put_along_axis(likely, chosen[..., None], 0.8, axis=2)
    if activation == "softmax":
        likely = np.log(likely)
    if activation == "sigmoid":
        likely = np.log(likely / (1 - likely))
    likely = likely.astype(np.float32)[None]
    return np.ascontiguousarray(likely.transpose(0, 3, 1, 2)) if planar else likely


LABELS = ("ground", "car", "tree")
QUARTERS = {
    "tree": {(0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5)},
    "car": {(0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0)},
}


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("axes", ["hw", "hw1", "1hw"])
def test_class_numbers(dtype: str, axes: str) -> None:
    made = numbers().astype(dtype)[None]
    made = {"hw": made, "hw1": made[..., None], "1hw": made[:, None]}[axes]
    told = run(package("mask", LABELS), made)
    assert {one.label: (one.score, one.share) for one in told} == {
        "ground": (1.0, 0.5), "car": (1.0, 0.25), "tree": (1.0, 0.25),
    }  # fmt: skip
    for one in told[1:]:
        assert set(one.polygons[0]) == QUARTERS[one.label]
    hidden = run(package("mask", LABELS, background=True), made)
    assert [one.label for one in hidden] == ["car", "tree"]


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
def test_scores_for_each_class(activation: str, planar: bool) -> None:
    told = run(package("mask", LABELS, activation=activation), scores(activation, planar))
    assert {one.label for one in told} == set(LABELS)
    for one in told:
        assert one.score == pytest.approx(0.8, abs=1e-3)
        if one.label in QUARTERS:
            assert set(one.polygons[0]) == QUARTERS[one.label]


def test_quantized_scores() -> None:
    made = np.rint(scores("none", False) * 100 + 20).astype(np.uint8)
    told = run(package("mask", LABELS), made, quantization=Quantization(0.01, 20))
    assert {one.label: round(one.score, 3) for one in told} == dict.fromkeys(LABELS, 0.8)


def test_classes_may_overlap_where_each_stands_for_itself() -> None:
    made = np.full((1, 10, 10, 2), 0.1, np.float32)
    made[0, :5, :, 0], made[0, :, :5, 1] = 0.9, 0.7
    told = run(package("mask", ("wet", "crack"), activation="none"), np.array(made))
    assert sum(one.share for one in told) == 1.0  # the best class takes each pixel
    logits = np.log(made / (1 - made)).astype(np.float32)
    told = run(package("mask", ("wet", "crack"), activation="sigmoid"), logits)
    assert [(one.label, one.share) for one in told] == [("wet", 0.5), ("crack", 0.5)]
    one_class = run(package("mask", ("wet",)), made[..., :1])
    assert [(one.label, one.share) for one in one_class] == [("wet", 0.5)]
    assert one_class[0].score == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("placement", "shares", "corner"),
    [
        # Rows 10 to 30 show the frame: half of the tree's and of the car's rows.
        (BOXED, {"tree": 0.25, "car": 0.25}, (0.5, 0.5)),
        (CROPPED, {"tree": 0.25, "car": 0.25}, (0.5, 0.5)),
    ],
)
def test_shares_of_what_was_seen(placement: Placement, shares: Any, corner: Any) -> None:
    told = run(package("mask", LABELS, background=True), numbers()[None], placement=placement)
    assert {one.label: one.share for one in told} == shares
    for one in told:
        assert any(point == pytest.approx(corner) for point in one.polygons[0])
    car = next(one for one in told if one.label == "car")
    xs = [x for x, _ in car.polygons[0]]
    assert max(xs) == pytest.approx(0.75 if placement is CROPPED else 1.0)


def test_specks_and_numbers_without_a_label_are_not_told() -> None:
    made = np.zeros((1, 100, 100), np.uint8)
    made[0, 5, 5], made[0, 50:60, 50:60] = 1, 255  # 255 marks what nobody labelled
    assert [one.label for one in run(package("mask", ("a", "b")), made)] == ["a"]
    told = run(package("mask", ("a", "b"), min_area=0.0), made)
    assert [one.label for one in told] == ["a", "b"]
    assert [one.label for one in run(package("mask"), made)] == ["class 0", "class 255"]


def test_masks_that_do_not_fit() -> None:
    with pytest.raises(PackageError, match="mask reads"):
        run(package("mask"), np.zeros((1, 5), np.float32))
    with pytest.raises(PackageError, match="mask reads one output"):
        run(package("mask"), np.zeros((1, 5, 5, 2), np.float32), np.zeros((1, 5, 5), np.float32))
    picked = package("mask", tensors={"mask": "t1"}, min_area=0)
    told = run(picked, np.zeros((1, 5, 5, 2), np.float32), np.ones((1, 5, 5), np.int32))
    assert told == [Mask("class 1", 1.0, 1.0, told[0].polygons)]
    with pytest.raises(InferenceError, match="class numbers"):
        run(package("mask"), np.full((1, 5, 5), -1, np.int32))
    with pytest.raises(InferenceError, match="NaN"):
        run(package("mask"), np.full((1, 5, 5, 2), math.nan, np.float32))
    with pytest.raises(InferenceError, match="no mask"):
        run(package("mask"), np.zeros((2, 5, 5, 2), np.float32))


# --- poses ---------------------------------------------------------------------------------

points = st.lists(
    st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.3, 1.0)),
    min_size=17, max_size=17,
)  # fmt: skip


@given(body=points)
@settings(deadline=None, max_examples=50)
def test_movenet_round_trip(body: Any) -> None:
    made = np.array([[[(y, x, score) for x, y, score in body]]], np.float32)
    (pose,) = run(package("movenet", threshold=0.2), made, placement=BOXED)
    assert isinstance(pose, Keypoints) and pose.label == "person"
    assert pose.score == pytest.approx(np.mean([score for _, _, score in body]), abs=1e-5)
    for (x, y, score), (u, v, sure) in zip(body, pose.points, strict=True):
        assert (u, v, sure) == pytest.approx((x, (y - 0.25) / 0.5, score), abs=1e-5)
    xs, ys = [point[0] for point in pose.points], [point[1] for point in pose.points]
    assert pose.box == (min(xs), min(ys), max(xs), max(ys))


def test_a_pose_that_is_not_sure() -> None:
    made = np.full((1, 1, 17, 3), 0.3, np.float32)
    assert run(package("movenet", threshold=0.31), made) == []
    made[0, 0, 3] = (0.9, 0.9, 0.2)  # not sure of: it does not widen the box
    (pose,) = run(package("movenet", threshold=0.28), made)
    assert pose.box == pytest.approx((0.3, 0.3, 0.3, 0.3))


def test_several_poses() -> None:
    made = np.zeros((1, 6, 56), np.float32)
    for k, score in ((2, 0.6), (4, 0.9), (5, 0.1)):
        made[0, k, :51] = np.tile([0.4, 0.6, 0.5], 17)
        made[0, k, 51:] = 0.1, 0.2, 0.7, 0.8, score
    told = run(package("movenet", ("worker",), threshold=0.3), made)
    assert [(one.label, round(one.score, 3)) for one in told] == [("worker", 0.9), ("worker", 0.6)]
    assert told[0].box == pytest.approx((0.2, 0.1, 0.8, 0.7))
    assert told[0].points[0] == pytest.approx((0.6, 0.4, 0.5))
    made[0, 4, 7] = math.nan
    decode = open_decoder(package("movenet"), (TensorSpec("t", made.shape, "float32"),))
    assert len(decode([made], Prepared([]))) == 1 and decode.dropped == 1
    with pytest.raises(InferenceError, match="every candidate"):
        decode([made * math.nan], Prepared([]))
    with pytest.raises(PackageError, match="movenet reads"):
        run(package("movenet"), np.zeros((1, 6, 57), np.float32))


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("activation", ["none", "sigmoid"])
@given(body=points)
@settings(deadline=None, max_examples=15)
def test_heat_maps(planar: bool, activation: str, body: Any) -> None:
    maps = np.zeros((1, 48, 64, 17), np.float32)
    for k, (x, y, score) in enumerate(body):
        row, column = int(y * 48), int(x * 64)
        maps[0, row, column, k] = score
        # A neighbour is a little warm on the side to which the point leans.
        maps[0, row, column + (1 if x * 64 - column > 0.5 else -1), k] = score / 2
        maps[0, row + (1 if y * 48 - row > 0.5 else -1), column, k] = score / 2
    if activation == "sigmoid":
        maps = np.log(np.clip(maps, 1e-4, 1 - 1e-4) / (1 - np.clip(maps, 1e-4, 1 - 1e-4)))
    made = np.ascontiguousarray(maps.transpose(0, 3, 1, 2)) if planar else maps
    model = package("heatmap", activation=activation, threshold=0.2)
    (pose,) = run(model, made.astype(np.float32))
    for (x, y, score), (u, v, sure) in zip(body, pose.points, strict=True):
        assert abs(u - x) <= 0.27 / 64 and abs(v - y) <= 0.27 / 48
        assert sure == pytest.approx(score, abs=1e-3)


@given(body=points)
@settings(deadline=None, max_examples=20)
def test_heat_maps_with_offsets(body: Any) -> None:
    """PoseNet: cells 16 pixels apart, the first and last on the picture's edges."""
    maps = np.full((1, 9, 17, 17), -5, np.float32)
    offsets = np.zeros((1, 9, 17, 34), np.float32)
    for k, (x, y, score) in enumerate(body):
        row, column = int(y * 129 // 16), int(x * 257 // 16)
        maps[0, row, column, k] = math.log(score / (1.0001 - score))
        offsets[0, row, column, [k, 17 + k]] = y * 129 - row * 16, x * 257 - column * 16
    keys: Any = {"activation": "sigmoid", "threshold": 0.2, "layout": "rows"}
    (pose,) = run(package("heatmap", **keys), maps, offsets)
    for (x, y, score), (u, v, sure) in zip(body, pose.points, strict=True):
        assert (u, v, sure) == pytest.approx((x, y, score), abs=1e-3)
    named = package("heatmap", tensors={"heatmaps": "t1", "offsets": "t0"}, **keys)
    assert run(named, offsets, maps) == [pose]


def test_heat_maps_that_do_not_fit() -> None:
    with pytest.raises(PackageError, match="heatmap reads maps"):
        run(package("heatmap"), np.zeros((1, 9), np.float32))
    with pytest.raises(InferenceError, match="NaN"):
        run(package("heatmap"), np.full((1, 9, 9, 17), math.nan, np.float32))
    wrong = package("heatmap", tensors={"heatmaps": "t0", "offsets": "t1"})
    with pytest.raises(InferenceError, match="answered offsets"):
        run(wrong, np.zeros((1, 9, 9, 17), np.float32), np.zeros((1, 9, 9, 17), np.float32))
    assert run(package("heatmap"), np.zeros((1, 9, 9, 17), np.float32)) == []


# --- vectors -------------------------------------------------------------------------------


@given(vector=st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=20))
@example(vector=[0.0, 7.293720208340815e-23])
@example(vector=[1e-45, 3e-45])
@settings(deadline=None, max_examples=50)
def test_vectors_have_length_one(vector: list[float]) -> None:
    made = np.array([vector], np.float32)
    if not made.any():
        with pytest.raises(InferenceError, match="no direction"):
            run(package("embed"), made)
        return
    (found,) = run(package("embed"), made)
    assert isinstance(found, Embedding)
    assert math.hypot(*found.vector) == pytest.approx(1.0, abs=1e-4)
    assert np.dot(found.vector, vector) == pytest.approx(np.linalg.norm(vector), rel=1e-4)


def test_the_nearest_of_a_gallery(tmp_path: Path) -> None:
    known = [
        Known("bolt", [10.0, 0.0, 0.0]), Known("nut", [0.0, 1.0, 0.0]),
        Known("bolt", [1.0, 1.0, 0.0]), Known("hook", [-1.0, 0.0, 0.0]),
    ]  # fmt: skip
    (tmp_path / "g.jsonl").write_bytes(gallery_text(known))
    model = package("embed", folder=str(tmp_path), gallery="g.jsonl", top=3)
    made = np.array([[2.0, 2.1, 0.0]], np.float32)
    decode = open_decoder(model, (TensorSpec("t", (1, 3), "float32"),))
    assert decode.labels == ("bolt", "nut", "hook", "unknown")
    *told, vector = decode([made], Prepared([]))
    assert [one.label for one in told] == ["bolt", "nut"]  # the hook's cosine is below 0
    assert told[0] == Label("bolt", pytest.approx(0.9997, abs=1e-4))
    assert told[1].score == pytest.approx(2.1 / math.hypot(2, 2.1), abs=1e-5)
    assert isinstance(vector, Embedding)
    stranger, _ = decode([np.array([[0.3, 0.0, 1.0]], np.float32)], Prepared([]))
    assert stranger == Label("unknown", pytest.approx(0.3 / math.hypot(0.3, 1), abs=1e-5))
    with pytest.raises(PackageError, match="3 values, the model's have 4"):
        open_decoder(model, (TensorSpec("t", (1, 4), "float32"),))


@given(
    vectors=st.lists(
        st.tuples(st.sampled_from("abc"), st.lists(st.integers(-5, 5), min_size=3, max_size=3)),
        min_size=1, max_size=10,
    ),
    asked=st.lists(st.integers(-5, 5), min_size=3, max_size=3).filter(any),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_a_gallery_against_a_loop(vectors: Any, asked: Any) -> None:
    vectors = [(label, vector) for label, vector in vectors if any(vector)]
    if not vectors:
        return
    cosines: dict[str, float] = {}
    for label, vector in vectors:
        cosine = np.dot(vector, asked) / math.hypot(*vector) / math.hypot(*asked)
        cosines[label] = max(cosines.get(label, -1.0), cosine)
    gallery = Gallery([Known(label, list(map(float, vector))) for label, vector in vectors])
    found = gallery.nearest(np.array(asked, np.float32) / np.float32(math.hypot(*asked)), 5)
    assert dict(found) == pytest.approx(cosines, abs=1e-5)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"no json", b'{"label": "a", "vector": []}', b'{"label": "a"}',
        b'{"label": "a", "vector": [0, 0]}',
        b'{"label": "a", "vector": [1]}\n{"label": "b", "vector": [1, 2]}',
    ],
)  # fmt: skip
def test_galleries_that_are_none(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "g.jsonl"
    file.write_bytes(text)
    with pytest.raises(PackageError, match="no gallery can be read"):
        read_gallery(file)
    with pytest.raises(PackageError, match="no gallery can be read"):
        read_gallery(tmp_path / "none")


# --- scores and quantities over time --------------------------------------------------------


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
def test_scores_over_several_samples(activation: str) -> None:
    rows = np.random.default_rng(2).normal(0, 1, (6, 3)).astype(np.float32)
    decode: Any = open_decoder(
        package("classify", ("a", "b", "c"), smooth=4, activation=activation),
        (TensorSpec("t", (1, 3), "float32"),),
    )
    plain = {
        "none": rows,
        "sigmoid": 1 / (1 + np.exp(-rows)),
        "softmax": np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True),
    }[activation]
    for k, row in enumerate(rows):
        told = decode([row[None]], Prepared([]))
        mean = plain[max(0, k - 3) : k + 1].mean(axis=0)
        assert {one.label: one.score for one in told} == pytest.approx(
            dict(zip("abc", mean.tolist(), strict=True)), abs=1e-5
        )
        assert [one.score for one in told] == sorted((one.score for one in told), reverse=True)
    decode.reset()
    assert decode([rows[:1]], Prepared([]))[0].score == pytest.approx(plain[0].max(), abs=1e-5)
    with pytest.raises(PackageError, match=r"output\.smooth"):
        run(package("classify", smooth=0), rows[:1])
    with pytest.raises(InferenceError, match="NaN"):
        decode([rows[:1] * math.nan], Prepared([]))


def test_scores_of_a_named_output() -> None:
    made = np.array([[0.1, 0.9]], np.float32), np.array([[0.7, 0.3]], np.float32)
    assert run(package("classify"), *made)[0].label == "class 1"
    assert run(package("classify", tensors={"scores": "t1"}), *made)[0].label == "class 0"


@pytest.mark.parametrize(
    ("how", "value"), [("mean", 4.0), ("median", 2.0), ("max", 9.0), ("last", 1.0)]
)
def test_one_quantity_of_a_series(how: str, value: float) -> None:
    made = np.array([[2.0, 9.0, 1.0]], np.float32)
    assert run(package("regress", reduce=how, name="flow"), made) == [Regression("flow", value)]
