"""Crossings counted by a real detector, the tracker and a line, against people's eyes.

The truth was counted by looking at every seventh frame around the line (every sixteenth of the
cars). FastestDet doubles people at its own NMS of 0.45, hence 0.3; it has never seen a car from
above and calls each by another name, hence one label for all and hardly any overlap.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agent.stages import stages_for
from edgeagent.config.model import Line, Pipeline, Privacy, RecordWhat, Rule
from edgeagent.manifest import Package, load_package
from edgeagent.prove.samples import read_samples

pytestmark = pytest.mark.assets

MANIFEST = """
name = "fastestdet"
version = "1.0.0"
task = "detect"
labels = "labels.txt"
[[input]]
name = "image"
kind = "image"
fit = "stretch"
colour = "bgr"
scale = [255]
[output]
decoder = "fastestdet"
nms = "any"
nms_iou = {nms}
threshold = {threshold}
[[variant]]
file = "FastestDet.onnx"
runtime = "onnx"
precision = "fp32"
"""

PATH = Line(((0.19, 0.25), (0.19, 0.62)))
"""Across the path on the left of vtest.avi; in = to the left."""
IN = (193, 215, 266, 549, 616, 724)
"""A light blue hood, a dark jacket, a grey-haired man, a red jacket, a second man, a blue
jacket: frames, give or take a second."""
OUT = (289, 629, 650, 742)
"""The grey-haired man turns round, the red jacket comes back, so does the second man, and a
blonde woman comes over the grass."""
MIDDLE = Line(((0.0, 0.5), (1.0, 0.5)), anchor="middle")
CARS_OUT, CARS_IN = (81, 214), (207, 334)
"""A white and a red car go up; a light blue and a white one come down."""


def package(folder: Path, assets: Path, labels: list[str], **keys: Any) -> Package:
    shutil.copyfile(assets / "models" / "FastestDet.onnx", folder / "FastestDet.onnx")
    (folder / "labels.txt").write_text("\n".join(labels) + "\n")
    (folder / "model.toml").write_text(MANIFEST.format(**keys))
    return load_package(folder)


def crossings(
    pack: Package, clip: Path, line: Line, label: str, parts: list[range]
) -> tuple[list[tuple[int, str]], dict[str, int]]:
    """Frames and ways that records tell, and the totals."""
    pipeline = Pipeline(
        pack.name, lines={"line": line}, rules=[Rule(f"label == '{label}'")],
        record=RecordWhat(events=True),
    )  # fmt: skip
    stages = stages_for("count", pack, pipeline, privacy=Privacy("never"))
    told: list[tuple[int, str]] = []
    before = {"in": 0, "out": 0}
    for number, sample in enumerate(read_samples(clip, pack)):
        if not any(number in part for part in parts):
            continue
        ready = stages.prepare(sample)
        predictions = stages.interpret(stages.session.run(ready.tensors), ready)
        predictions = stages.track(predictions, sample.when_ms)
        list(stages.decide(sample, [its for its in predictions if its.label == label]))  # type: ignore[union-attr]
        now = stages.standing()["lines"]["line"]
        told += [(number, way) for way in ("in", "out") for _ in range(now[way] - before[way])]
        before = now
    stages.session.close()
    return told, before


def expect(told: list[tuple[int, str]], way: str, frames: tuple[int, ...], within: int) -> None:
    found = [number for number, its in told if its == way]
    assert len(found) == len(frames), told
    for one, other in zip(found, frames, strict=True):
        assert abs(one - other) <= within, told


def test_pedestrians(assets: Path, tmp_path: Path, full: bool) -> None:
    names = (assets / "labels" / "coco80.names").read_text().split("\n")[:80]
    pack = package(tmp_path, assets, names, nms=0.3, threshold=0.65)
    clip = assets / "video" / "vtest.avi"
    # Nobody is near the line in between, which the whole run shows.
    parts = [range(795)] if full else [range(170, 310), range(525, 765)]
    told, totals = crossings(pack, clip, PATH, "person", parts)
    expect(told, "in", IN, 10)
    expect(told, "out", OUT, 10)
    assert totals == {"in": 6, "out": 4}


def test_cars(assets: Path, tmp_path: Path, full: bool) -> None:
    pack = package(tmp_path, assets, ["thing"] * 80, nms=0.1, threshold=0.4)
    clip = assets / "video" / "car-detection.mp4"
    parts = [range(377)] if full else [range(55, 105), range(185, 230), range(310, 350)]
    told, totals = crossings(pack, clip, MIDDLE, "thing", parts)
    expect(told, "out", CARS_OUT, 3)
    expect(told, "in", CARS_IN, 3)
    assert totals == {"in": 2, "out": 2}
