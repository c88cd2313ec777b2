"""Marked pixels against masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.errors import InputError, UsageError
from edgeagent.evaluate.answers import Told
from edgeagent.evaluate.data import Case, Data, read_data
from edgeagent.evaluate.masks import Masks, fit, marked, read_mask
from edgeagent.manifest import Manifest, OutputSpec, Package


@pytest.mark.parametrize("seed", range(5))
def test_pixels_in_a_polygon(seed: int) -> None:
    """As OpenCV fills it, but for the line itself."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 1, (6, 2))
    size = 200
    drawn = np.zeros((size, size), np.uint8)
    cv2.fillPoly(drawn, [(corners * size - 0.5).round().astype(np.int32)], 1)
    edge = np.zeros_like(drawn)
    cv2.polylines(edge, [(corners * size - 0.5).round().astype(np.int32)], True, 1, 3)
    mine = marked([corners.tolist()], (size, size))
    assert not ((mine != drawn.astype(bool)) & (edge == 0)).any()
    assert not marked([], (4, 4)).any() and not marked([[[0, 0], [1, 1]]], (4, 4)).any()


def model() -> Package:
    output = OutputSpec("mask", background=True)
    return Package(Path("m"), Manifest("m", "1.0.0", "segment", output, [], []), ("bg", "a", "b"))


def case(tmp_path: Path, numbers: Any, name: str = "x") -> Case:
    file = tmp_path / f"{name}.png"
    cv2.imwrite(str(file), np.asarray(numbers, np.uint8))
    return Case(Path("x"), name, mask=file)


def square(x1: float, y1: float, x2: float, y2: float) -> list[list[float]]:
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def test_shares_of_what_is_there(tmp_path: Path) -> None:
    numbers = np.zeros((20, 20))
    numbers[:, :10] = 1
    numbers[:5, 15:] = 255  # nobody has judged these
    said = [{"label": "a", "score": 0.9, "polygons": [square(0, 0, 1.0, 1)]},
            {"label": "b", "score": 0.9, "polygons": [square(0.75, 0, 1, 0.25)]}]  # fmt: skip
    masks = Masks([Told(case(tmp_path, numbers), 0, said)], model())
    iou = {its["label"]: its["iou"] for its in masks.measured()["classes"]}
    assert iou["a"] == pytest.approx(200 / 375, abs=1e-4)
    assert iou["b"] == 0.0
    assert masks.measured()["metrics"]["picture_iou"] == pytest.approx(200 / 375, abs=1e-4)


def test_a_mask_must_hold_numbers(tmp_path: Path) -> None:
    file = tmp_path / "c.png"
    cv2.imwrite(str(file), np.full((4, 4, 3), (1, 2, 3), np.uint8))
    with pytest.raises(InputError, match="coloured"):
        read_mask(Case(Path("x"), "x", mask=file))
    with pytest.raises(UsageError, match="x has no mask"):
        fit(Data("d", [Case(Path("x"), "x")]))


def test_tables_name_masks(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,mask,light\na.jpg,m/a.png,dark\n")
    (first,) = read_data(tmp_path / "t.csv", "segment").cases
    assert first.mask == tmp_path / "m" / "a.png" and first.slices == {"light": "dark"}


@pytest.mark.assets
def test_deeplab_on_a_real_picture(invoke: Any, assets: Path, tmp_path: Path) -> None:
    """Pixel by pixel its bird has an IoU of 0.819 with this mask; outlines cost little of it."""
    package = tmp_path / "deeplab" / "1.0.0"
    package.mkdir(parents=True)
    shutil.copy(assets / "models" / "deeplabv3_mnv2_dm05_pascal_quant.tflite", package / "m.tflite")
    names = (assets / "labels" / "pascal_voc_segmentation_labels.txt").read_text().splitlines()
    (package / "labels.txt").write_text("\n".join(names[:21]) + "\n")
    (package / "model.toml").write_text(
        'name = "deeplab"\nversion = "1.0.0"\ntask = "segment"\nlicence = "Apache-2.0"\n'
        'labels = "labels.txt"\n[[input]]\nname = "image"\nkind = "image"\nfit = "stretch"\n'
        '[output]\ndecoder = "mask"\nbackground = true\n'
        '[[variant]]\nfile = "m.tflite"\nruntime = "litert"\n'
    )
    for folder, file in (("images", "bird_segmentation"), ("masks", "bird_segmentation_mask")):
        (tmp_path / "data" / folder).mkdir(parents=True)
        shutil.copy(assets / "images" / f"{file}.bmp", tmp_path / "data" / folder / "bird.bmp")
    report = tmp_path / "report.html"
    done = invoke("eval", package, tmp_path / "data", "--json", "--workers", "1",
                  "--report", report)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    bird = next(its for its in told["classes"] if its["label"] == "bird")
    assert bird["iou"] == pytest.approx(0.819, abs=0.03)
    assert "mIoU" in report.read_text()
