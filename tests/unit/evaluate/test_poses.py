"""Poses by the likeness of their points, and boxes as YOLO's tools write them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import InputError, NotFound, UsageError
from edgeagent.evaluate.answers import Told
from edgeagent.evaluate.data import Case, Data, Thing, read_data

pytest.importorskip("pycocotools", reason="pycocotools is not installed (the extra eval)")


def pose(x: float, y: float, size: float) -> list[tuple[float, float]]:
    rng = np.random.default_rng(4)
    return [(x + dx * size, y + dy * size) for dx, dy in rng.uniform(0, 1, (17, 2))]


def told(off: float) -> list[Told]:
    """Two bodies a picture; what is said lies off by a share of the body."""
    found = []
    for number in range(8):
        things, said = [], []
        for x, size in ((0.1, 0.3), (0.55, 0.2)):
            points = pose(x, 0.2 + number / 40, size)
            box = (x, 0.2 + number / 40, x + size, 0.2 + number / 40 + size)
            seen = tuple((px, py, 2 if at % 5 else 0) for at, (px, py) in enumerate(points))
            things.append(Thing("person", box, points=seen, share=size * size))
            shifted = [[px + off * size, py, 0.9] for px, py in points]
            said.append({"label": "person", "score": 0.8, "box": list(box), "points": shifted})
        case = Case(Path("x"), str(number), things=things)
        found.append(Told(case, 0, said, (640, 480)))
    return found


def test_the_farther_off_the_worse() -> None:
    from edgeagent.evaluate.poses import Poses

    maps = [Poses(told(off), ("person",), 0.3).measured()["metrics"]["map"]
            for off in (0.0, 0.05, 0.1, 0.5)]  # fmt: skip
    assert maps[0] == 1.0 and maps[0] > maps[1] > maps[2] > maps[3] == 0.0


def test_the_likeness_is_cocos() -> None:
    """OKS = mean of exp(−d² / (2 area (2σ)²)) over the points that are marked."""
    from edgeagent.evaluate.poses import _COCO_SIGMAS, Poses

    off = 0.05
    its = Poses(told(off), ("person",), 0.3)
    got = its.evaluated.ious[(1, 1)].max(axis=0)
    for place, size in enumerate((0.3, 0.2)):
        away = (off * size * 640) ** 2
        area = size * size * 640 * 480
        each = [np.exp(-away / (2 * area * (2 * sigma) ** 2))
                for at, sigma in enumerate(_COCO_SIGMAS) if at % 5]  # fmt: skip
        assert got[place] == pytest.approx(np.mean(each), rel=1e-3)


def test_points_that_are_not_the_same_ones() -> None:
    from edgeagent.evaluate.poses import Poses, fit

    answers = told(0.0)
    for its in answers:
        its.predictions[0]["points"].pop()
    with pytest.raises(UsageError, match="tells 16 points and the data has 17"):
        Poses(answers, ("person",), 0.3)
    with pytest.raises(UsageError, match="no keypoints"):
        fit(Data("d", [Case(Path("x"), "x", things=[Thing("person", (0, 0, 1, 1))])]), ("person",))


@pytest.mark.assets
def test_movenet_on_a_real_picture(invoke: Any, assets: Path, tmp_path: Path) -> None:
    """The truth is what the model's makers print for that picture."""
    package = tmp_path / "movenet" / "1.0.0"
    package.mkdir(parents=True)
    shutil.copy(
        assets / "models" / "movenet_single_pose_lightning_ptq.tflite", package / "m.tflite"
    )
    (package / "model.toml").write_text(
        'name = "movenet"\nversion = "1.0.0"\ntask = "pose"\nlicence = "Apache-2.0"\n'
        '[[input]]\nname = "image"\nkind = "image"\nfit = "stretch"\n'
        '[output]\ndecoder = "movenet"\nthreshold = 0.2\n'
        '[[variant]]\nfile = "m.tflite"\nruntime = "litert"\n'
    )
    from edgeagent.capture.pictures import read_picture

    height, width = read_picture(assets / "images" / "squat.bmp").shape[:2]
    with (assets / "labels" / "movenet_single_pose_lightning_ptq_reference.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["keypoint_id"]))
    flat = [value for row in rows for value in
            (float(row["keypoint_x"]) * width, float(row["keypoint_y"]) * height, 2)]  # fmt: skip
    shutil.copy(assets / "images" / "squat.bmp", tmp_path)

    def judged(points: list[float]) -> float:
        xs, ys = points[0::3], points[1::3]
        box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
        note = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "keypoints": points,
                "num_keypoints": 17, "area": box[2] * box[3]}  # fmt: skip
        truth = {"images": [{"id": 1, "file_name": "squat.bmp", "width": width, "height": height}],
                 "annotations": [note], "categories": [{"id": 1, "name": "person"}]}  # fmt: skip
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        done = invoke("eval", package, tmp_path / "truth.json", "--json", "--workers", "1")
        assert done.exit_code == 0, done.stderr
        return float(json.loads(done.stdout)["metrics"]["map"])

    right = judged(flat)
    moved = [its + width * 0.2 if at % 3 == 0 else its for at, its in enumerate(flat)]
    assert right > 0.7 and judged(moved) < 0.1


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "labels" / "a").mkdir(parents=True)
    for name in ("1", "2"):
        (tmp_path / "images" / "a" / f"{name}.png").write_bytes(b"")
    (tmp_path / "labels" / "a" / "1.txt").write_text("1 0.5 0.5 0.2 0.4\n\n0 0.1 0.1 0.2 0.2\n")
    (tmp_path / "classes.txt").write_text("whole\ncracked\n")
    return tmp_path


def test_yolos_files(yolo: Path) -> None:
    data = read_data(yolo, "detect")
    first, second = data.cases
    assert first.name == "a/1.png" and second.things == []
    assert [its.label for its in first.things] == ["cracked", "whole"]
    assert first.things[0].box == pytest.approx((0.4, 0.3, 0.6, 0.7))


@pytest.mark.parametrize(
    "line", ["7 0.5 0.5 0.2 0.4", "x 0.5 0.5 0.2 0.4", "1 0.5 0.5 0.2", "0 a b c d"]
)
def test_a_line_that_is_none_is_named(yolo: Path, line: str) -> None:
    (yolo / "labels" / "a" / "1.txt").write_text(f"0 0.5 0.5 0.2 0.4\n{line}\n")
    with pytest.raises(InputError, match=r"1\.txt:2"):
        read_data(yolo, "detect")


def test_numbers_need_names(yolo: Path) -> None:
    (yolo / "classes.txt").unlink()
    with pytest.raises(NotFound, match="class numbers") as caught:
        read_data(yolo, "detect")
    assert "classes.txt" in caught.value.remedy
