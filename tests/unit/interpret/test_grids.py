"""Detectors on tensors made from known boxes: what goes in comes out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.decoder import open_decoder
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package
from edgeagent.types import Placement, Prepared, Quantization, TensorSpec

PLACEMENT = Placement(0.1, 0.2, 0.8, 0.6)
LABELS = ("a", "b", "c")
SIZE = (96, 64)
"""Width and height of the input: 12 × 8, 6 × 4 and 3 × 2 cells."""


def package(decoder: str, labels: tuple[str, ...] = LABELS, folder: str = "m", **keys: Any) -> Any:
    manifest = Manifest(
        "m", "1.0.0", "detect", OutputSpec(decoder, **keys),
        [InputSpec("x", "image", size=SIZE)], [],
    )  # fmt: skip
    return Package(Path(folder), manifest, labels)


def specs(*arrays: Any, names: tuple[str, ...] = ()) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(names[k] if names else f"out{k}", a.shape, a.dtype.name)
        for k, a in enumerate(arrays)
    )


def decoded(model: Any, *arrays: Any, threshold: float | None = None) -> list[Any]:
    decode = open_decoder(model, specs(*arrays), threshold)
    return decode(list(arrays), Prepared([], PLACEMENT))


def expect(found: list[Any], things: list[Any], within: float = 1e-4) -> None:
    """Each thing is found once with its label, score and box, the best first."""
    want = sorted(things, key=lambda thing: -thing[1])
    assert [one.label for one in found] == [LABELS[number] for number, _, _ in want]
    for one, (_, score, box) in zip(found, want, strict=True):
        assert one.score == pytest.approx(score, abs=within)
        assert one.box == pytest.approx(PLACEMENT.to_frame(box), abs=within)


# Things far enough apart that none suppresses another, with scores that differ.
@st.composite
def things(draw: Any) -> list[tuple[int, float, tuple[float, float, float, float]]]:
    count = draw(st.integers(0, 5))
    places = draw(st.permutations([(x, y) for x in (0, 1, 2) for y in (0, 1)]))[:count]
    scores = draw(st.permutations([0.95, 0.88, 0.77, 0.66, 0.55]))
    made = []
    for (column, row), score in zip(places, scores, strict=False):
        x = (column + draw(st.floats(0.3, 0.7))) / 3
        y = (row + draw(st.floats(0.3, 0.7))) / 2
        w, h = draw(st.floats(0.03, 0.18)), draw(st.floats(0.05, 0.28))
        made.append((draw(st.integers(0, 2)), score, (x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
    return made


def middle(box: Any) -> tuple[float, float, float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def cell(box: Any, stride: int) -> tuple[int, float, float, float, float]:
    """Number of the cell in its grid; offsets and sizes in strides."""
    x, y, w, h = (value * side / stride for value, side in zip(middle(box), SIZE * 2, strict=True))
    columns = math.ceil(SIZE[0] / stride)
    return int(y) * columns + int(x), x - int(x), y - int(y), w, h


CELLS = {8: 96, 16: 24, 32: 6}


@given(known=things(), stride=st.sampled_from([8, 16, 32]))
@settings(deadline=None, max_examples=60)
def test_yolox_round_trip(known: Any, stride: int) -> None:
    table = np.zeros((1, sum(CELLS.values()), 8), np.float32)
    start = sum(count for other, count in CELLS.items() if other < stride)
    for number, score, box in known:
        at, x, y, w, h = cell(box, stride)
        table[0, start + at, :5] = x, y, math.log(w), math.log(h), score / 0.9
        table[0, start + at, 5 + number] = 0.9
    # Two middles may fall into one coarse cell: then only the last one is there.
    cells = [cell(box, stride)[0] for _, _, box in known]
    if len(set(cells)) == len(cells):
        expect(decoded(package("yolox"), table), known)


@given(known=things())
@settings(deadline=None, max_examples=60)
def test_fastestdet_round_trip(known: Any) -> None:
    columns, rows = 6, 4
    grid = np.full((1, 8, rows, columns), 0.01, np.float32)
    for number, score, (x1, y1, x2, y2) in known:
        x, y, w, h = middle((x1, y1, x2, y2))
        column, row = int(x * columns), int(y * rows)
        offsets = math.atanh(x * columns - column), math.atanh(y * rows - row)
        sizes = math.log(w / (1 - w)), math.log(h / (1 - h))
        class_score = 0.96
        grid[0, :5, row, column] = (score / class_score**0.4) ** (1 / 0.6), *offsets, *sizes
        grid[0, 5 + number, row, column] = class_score
    expect(decoded(package("fastestdet"), grid), known)
    expect(decoded(package("fastestdet"), np.ascontiguousarray(grid.transpose(0, 2, 3, 1))), known)


@given(known=things(), order=st.permutations(range(12)))
@settings(deadline=None, max_examples=40)
def test_yunet_round_trip_in_any_order_of_the_outputs(known: Any, order: Any) -> None:
    arrays = []
    for count in CELLS.values():
        arrays += [np.zeros((1, count, n), np.float32) for n in (1, 1, 4, 10)]
    marks = {}
    for k, (_, score, box) in enumerate(known):
        at, x, y, w, h = cell(box, 8)
        arrays[0][0, at], arrays[1][0, at] = score**2 / 0.98, 0.98
        arrays[2][0, at] = x, y, math.log(w), math.log(h)
        arrays[3][0, at] = np.arange(10) / 10 + k
        marks[score] = (at, k)
    found = decoded(package("yunet", ("face",)), *(arrays[k] for k in order))
    expect_faces = [(0, score, box) for _, score, box in known]
    want = sorted(expect_faces, key=lambda thing: -thing[1])
    assert [one.label for one in found] == ["face"] * len(known)
    for one, (_, score, box) in zip(found, want, strict=True):
        assert one.score == pytest.approx(score, abs=1e-4)
        assert one.box == pytest.approx(PLACEMENT.to_frame(box), abs=1e-4)
        at, k = marks[score]
        for p, point in enumerate(one.points):
            x = (at % 12 + 2 * p / 10 + k) * 8 / SIZE[0]
            y = (at // 12 + (2 * p + 1) / 10 + k) * 8 / SIZE[1]
            assert point == pytest.approx(PLACEMENT.to_frame((x, y, 0, 0))[:2], abs=1e-4)


# --- SSD without suppression ----------------------------------------------------------------


@given(known=things(), background=st.booleans(), activation=st.sampled_from(["none", "sigmoid"]))
@settings(deadline=None, max_examples=60)
def test_ssd_of_boxes_that_are_boxes(known: Any, background: bool, activation: str) -> None:
    boxes = np.zeros((1, 40, 4), np.float32)
    scores = np.full((1, 40, 3 + background), 1e-4, np.float32)
    if background:
        scores[..., 0] = 0.999  # "nothing" is the likeliest of all, and is not told
    for place, (number, score, box) in enumerate(known):
        boxes[0, 7 * place] = box
        scores[0, 7 * place, number + background] = score
    if activation == "sigmoid":
        scores = np.log(scores / (1 - scores)).astype(np.float32)
    # With four columns of scores the shapes do not tell which is which.
    keys: Any = {"background": background, "boxes": "xyxy", "activation": activation}
    keys["tensors"] = {"scores": "out0"} if background else {}
    model = package("ssd", ("nothing", *LABELS) if background else LABELS, **keys)
    expect(decoded(model, scores, boxes), known)
    nameless = package("ssd", label_offset=-background, **keys)
    expect(decoded(nameless, scores, boxes), known)
    if background:
        with pytest.raises(PackageError, match="reads boxes"):
            decoded(package("ssd", boxes="xyxy", label_offset=-1), scores, boxes)
    assert open_decoder(model, specs(scores, boxes)).labels == LABELS


ANCHORS: dict[str, dict[str, Any]] = {
    "ssd": {"kind": "ssd", "strides": [16, 32]},
    "pyramid": {"kind": "pyramid", "levels": [4, 6]},
    "another order": {"kind": "pyramid", "levels": [4, 5], "order": "xywh", "scales": [9, 8, 7, 6]},
}


def encoded(anchors: Any, table: dict[str, Any], box: Any) -> tuple[int, list[float]]:
    """The anchor nearest to a box, and the correction from it to the box, by the definition."""
    x, y, w, h = middle(box)
    gap = np.abs(anchors - [x, y, w, h]).sum(axis=1)
    at = int(gap.argmin())
    ax, ay, aw, ah = anchors[at].tolist()
    sy, sx, sh, sw = table.get("scales", [10, 10, 5, 5] if table["kind"] == "ssd" else [1] * 4)
    dx, dy = (x - ax) / aw * sx, (y - ay) / ah * sy
    dw, dh = math.log(w / aw) * sw, math.log(h / ah) * sh
    return at, [dx, dy, dw, dh] if table.get("order") == "xywh" else [dy, dx, dh, dw]


@pytest.mark.parametrize("kind", ANCHORS)
@given(known=things())
@settings(deadline=None, max_examples=30)
def test_ssd_of_corrected_anchors(kind: str, known: Any) -> None:
    from edgeagent.interpret.anchors import Anchors

    table = ANCHORS[kind]
    model = package("ssd", anchors=table)
    anchors = Anchors(model).boxes(SIZE)
    boxes = np.zeros((1, len(anchors), 4), np.float32)
    scores = np.zeros((1, len(anchors), 3), np.float32)
    taken = set()
    for number, score, box in known:
        at, correction = encoded(anchors, table, box)
        if at in taken:
            return
        taken.add(at)
        boxes[0, at], scores[0, at, number] = correction, score
    expect(decoded(model, boxes, scores), known)


def test_anchors_by_hand() -> None:
    from edgeagent.interpret.anchors import Anchors

    found = Anchors(package("ssd", anchors={"kind": "ssd", "strides": [32, 64]})).boxes((64, 64))
    # 2 × 2 cells of 3, one cell of 6; scales 0.2 and 0.95.
    assert found.shape == (2 * 2 * 3 + 6, 4)
    assert found[0] == pytest.approx([0.25, 0.25, 0.1, 0.1])
    assert found[4] == pytest.approx([0.75, 0.25, 0.2 * math.sqrt(2), 0.2 / math.sqrt(2)])
    assert found[12] == pytest.approx([0.5, 0.5, 0.95, 0.95])
    assert found[17] == pytest.approx([0.5, 0.5, math.sqrt(0.95), math.sqrt(0.95)])
    pyramid = {"kind": "pyramid", "levels": [5, 5], "scale": 3.0}
    found = Anchors(package("ssd", anchors=pyramid)).boxes((64, 64))
    assert found.shape == (4 * 9, 4)
    assert found[0] == pytest.approx([0.25, 0.25, 1.5, 1.5])
    assert found[4] == pytest.approx(
        [0.25, 0.25, 1.5 * 2 ** (1 / 3) * math.sqrt(2), 1.5 * 2 ** (1 / 3) / math.sqrt(2)]
    )


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
def test_ssd_of_a_map_for_each_layer(planar: bool, labelled: bool) -> None:
    """EfficientDet as it is trained: two maps a level, told apart by their channels."""
    from edgeagent.interpret.anchors import Anchors

    table = {"kind": "pyramid", "levels": [4, 5]}
    keys: dict[str, Any] = {"layout": "columns"} if planar else {}
    labels = ("a", "b", "c", "d", "e") if labelled else ()
    model = package("ssd", labels, anchors=table, **keys)
    anchors = Anchors(model).boxes(SIZE)
    box = (0.55, 0.3, 0.75, 0.8)
    at, correction = encoded(anchors, table, box)
    arrays = []
    for start, (rows, columns) in ((0, (4, 6)), (4 * 6 * 9, (2, 3))):
        count = rows * columns * 9
        boxes, scores = np.zeros((count, 4), np.float32), np.zeros((count, 5), np.float32)
        if start <= at < start + count:
            boxes[at - start], scores[at - start, 4] = correction, 0.8
        for flat in (scores, boxes):
            grid = flat.reshape(1, rows, columns, -1)
            arrays.append(np.ascontiguousarray(grid.transpose(0, 3, 1, 2)) if planar else grid)
    (found,) = decoded(model, *arrays)
    assert found.label == ("e" if labelled else "class 4")
    assert found.score == pytest.approx(0.8)
    assert found.box == pytest.approx(PLACEMENT.to_frame(box), abs=1e-4)


def test_ssd_quantized_and_softmax() -> None:
    boxes = np.zeros((1, 9, 4), np.uint8)
    scores = np.full((1, 9, 3), 100, np.uint8)
    boxes[0, 4], scores[0, 4] = (25, 50, 75, 100), (90, 100, 140)
    tensors = (
        TensorSpec("s", scores.shape, "uint8", Quantization(0.1, 100)),
        TensorSpec("b", boxes.shape, "uint8", Quantization(0.01, 0)),
    )
    model = package("ssd", boxes="xyxy", background=True, activation="softmax",
                    labels=("nothing", "b", "c"))  # fmt: skip
    (found,) = open_decoder(model, tensors)([scores, boxes], Prepared([]))
    total = math.exp(-1) + 1 + math.exp(4)
    assert (found.label, found.score) == ("c", pytest.approx(math.exp(4) / total, rel=1e-4))
    assert found.box == pytest.approx((0.25, 0.5, 0.75, 1.0))


def test_ssd_names_its_tensors() -> None:
    """With four classes the shapes are the same: the package says which is which."""
    one = np.zeros((1, 9, 4), np.float32)
    other = np.zeros((1, 9, 4), np.float32)
    one[0, 0], other[0, 0] = (0.1, 0.9, 0.2, 0.0), (0.25, 0.5, 0.75, 1.0)
    names = ("first", "second")
    model = package("ssd", ("p", "q", "r", "s"), boxes="xyxy", tensors={"boxes": "second"})
    (found,) = open_decoder(model, specs(one, other, names=names))([one, other], Prepared([]))
    assert (found.label, found.box) == ("q", pytest.approx((0.25, 0.5, 0.75, 1.0)))
    for tensors, says in (
        ({"boxes": "third"}, "first, second"),
        ({"box": "first"}, "boxes, scores"),
    ):
        wrong = package("ssd", ("p", "q", "r", "s"), tensors=tensors)
        with pytest.raises(PackageError) as caught:
            open_decoder(wrong, specs(one, other, names=names))
        assert says in f"{caught.value} {caught.value.remedy}"


# --- what does not fit ----------------------------------------------------------------------


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("keys", "arrays", "says"),
    [
        ({"decoder": "yolox"}, [zeros(1, 100, 8)], "126 cells"),
        ({"decoder": "yolox"}, [zeros(1, 126, 9)], "labels: 3 classes"),
        ({"decoder": "yolox"}, [zeros(1, 126)], "yolox reads one tensor"),
        ({"decoder": "yolox", "anchors": {"strides": [0]}}, [zeros(1, 126, 8)], "output.anchors"),
        ({"decoder": "yolox", "anchors": {"stride": [8]}}, [zeros(1, 126, 8)], "output.anchors"),
        ({"decoder": "fastestdet"}, [zeros(1, 9, 4, 6)], "labels: 3 classes"),
        ({"decoder": "fastestdet"}, [zeros(1, 8, 4)], "fastestdet reads one map"),
        ({"decoder": "yunet"}, [zeros(1, 96, 1)] * 4, "yunet reads class"),
        ({"decoder": "ssd"}, [zeros(1, 9, 3), zeros(1, 9, 3)], "reads boxes"),
        ({"decoder": "ssd"}, [zeros(1, 9, 4), zeros(1, 9, 5)], "labels: 3 labels"),
        ({"decoder": "ssd", "anchors": {"kind": "grid"}}, [zeros(1, 9, 4)], "output.anchors"),
        ({"decoder": "ssd", "anchors": {"kind": "ssd", "min_scale": 0}}, [], "output.anchors"),
        ({"decoder": "ssd", "anchors": {"kind": "pyramid", "levels": [5, 4]}}, [], "levels"),
        ({"decoder": "ssd", "anchors": {"kind": "file", "file": "no.csv"}}, [], "no.csv"),
        (
            {"decoder": "ssd", "anchors": {"kind": "ssd"}}, [zeros(1, 9, 4), zeros(1, 9, 3)],
            "anchors, the model has 9",
        ),
        (
            {"decoder": "ssd", "background": True, "labels": ("a",)},
            [zeros(1, 9, 4), zeros(1, 9, 1)], "output.background",
        ),
    ],
)  # fmt: skip
def test_packages_that_do_not_fit(keys: Any, arrays: Any, says: str) -> None:
    arrays = arrays or [zeros(1, 9, 4), zeros(1, 9, 3)]
    with pytest.raises((PackageError, InferenceError)) as caught:
        decoded(package(**keys), *arrays)
    assert says in str(caught.value)
    assert caught.value.remedy or "output." in str(caught.value)


def test_a_file_of_anchors(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0.5,0.25,0.2,0.1\n0.5,0.75,0.4,0.3\n")
    table = {"kind": "file", "file": "a.csv", "scales": [1, 1, 1, 1]}
    boxes, scores = zeros(1, 2, 4), zeros(1, 2, 3)
    scores[0, 1, 2] = 0.9
    (found,) = decoded(package("ssd", folder=str(tmp_path), anchors=table), boxes, scores)
    assert found.box == pytest.approx(PLACEMENT.to_frame((0.6, 0.3, 0.9, 0.7)), abs=1e-5)
    (tmp_path / "a.csv").write_text("0.5,0.25,0.2\n")
    with pytest.raises(PackageError, match="3 numbers a line"):
        decoded(package("ssd", folder=str(tmp_path), anchors=table), boxes, scores)


@pytest.mark.parametrize("decoder", ["yolox", "fastestdet", "ssd", "yunet"])
def test_what_is_no_number_is_left_out_and_counted(decoder: str) -> None:
    if decoder == "fastestdet":
        arrays = [zeros(1, 8, 4, 6)]
        good, bad = arrays[0][0, :, 0, 0], arrays[0][0, :, 3, 5]
    elif decoder == "yolox":
        arrays = [zeros(1, 126, 8)]
        good, bad = arrays[0][0, 0], arrays[0][0, 9]
    elif decoder == "ssd":
        arrays = [zeros(1, 9, 4), zeros(1, 9, 3)]
        good, bad = arrays[1][0, 0], arrays[1][0, 3]
    else:
        arrays = [zeros(1, n, k) for n in (96, 24, 6) for k in (1, 1, 4, 10)]
        good, bad = arrays[0][0, 0], arrays[0][0, 5]
        arrays[1][:] = 1
    good[:], bad[:] = 0.9, math.nan
    model = package(decoder, ("face",) if decoder == "yunet" else LABELS)
    decode = open_decoder(model, specs(*arrays))
    assert len(decode(arrays, Prepared([]))) == 1
    assert decode.dropped == 1
    for array in arrays:
        array[:] = math.nan
    with pytest.raises(InferenceError, match="every candidate"):
        decode(arrays, Prepared([]))
