"""Real faces: what a face detector finds in the film it finds in no picture that was kept.

The demo's clip of a man in a car is used where it has been fetched already.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import carve
import cv2
import film
import numpy as np
import pytest

from edgeagent.agent.stages import stages_for
from edgeagent.capture.files import VideoSource
from edgeagent.config.model import (
    Clip,
    Pipeline,
    Privacy,
    Redact,
    Rule,
    VideoConfig,
)
from edgeagent.manifest import Package, load_package
from edgeagent.pipeline import Pipeline as Running
from edgeagent.prove.predict import Predictor
from edgeagent.testing.capture import Alone
from edgeagent.types import Draft, Frame

pytestmark = pytest.mark.assets

MANIFEST = """
name = "face"
version = "1.0.0"
task = "detect"
labels = ["face"]
[[input]]
name = "image"
kind = "image"
fit = "letterbox"
mean = [127.5]
scale = [127.5]
[output]
decoder = "blazeface"
threshold = 0.6
[[variant]]
file = "face.tflite"
runtime = "litert"
precision = "fp16"
"""


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Package:
    folder = tmp_path_factory.mktemp("face")
    model = assets / "models" / "face_detection_short_range.tflite"
    shutil.copyfile(model, folder / "face.tflite")
    (folder / "model.toml").write_text(MANIFEST)
    return load_package(folder)


@pytest.fixture(params=["a portrait that drifts by", "a man in a car"])
def clip(request: Any, tmp_path: Path, assets: Path) -> Path:
    if request.param.startswith("a portrait"):
        return film.pan(tmp_path, assets)
    kept = Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache")
    file = kept / "edgeagent" / "demo" / "clip.mp4"
    if not file.is_file():
        pytest.skip("the demo has not fetched its clip on this machine")
    return file


class Kept:
    """An outbox that keeps drafts."""

    seq = None

    def __init__(self) -> None:
        self.drafts: list[Draft] = []

    def append(self, draft: Draft) -> Kept:
        self.drafts.append(draft)
        return self


def kept_pictures(face: Package, clip: Path, redact: Redact | None) -> list[Any]:
    """Every picture of the events of a clip, decoded."""
    pipeline = Pipeline(
        "face", on=1, redact=redact, clip=Clip(before="2 s", after="10 s", fps=30),
        rules=[Rule("label == 'face'", ["snapshot", "clip"])],
    )  # fmt: skip
    unit = Alone("cam", VideoSource("cam", VideoConfig(path=str(clip))),
                       VideoConfig(path=str(clip)))  # fmt: skip
    kept = Kept()
    stages = stages_for("face", face, pipeline, privacy=Privacy("events"))
    running = Running("face", unit.subscribe(), kept, lambda: stages)
    unit.start()
    running.run()
    evidence = [its for draft in kept.drafts for its in draft.evidence]
    assert {its.type for its in evidence} == {"image/jpeg", "video/x-msvideo"}
    return [picture for its in evidence for _, picture in carve.pictures(its.data)]


def faces(face: Package, pictures: list[Any]) -> list[float]:
    """The best face of each picture: its score, 0 = none."""
    best = []
    with Predictor(face, threshold=0.3) as predictor:
        for number, pixels in enumerate(pictures):
            found = predictor(Frame("kept", number, pixels, 0, 0.0)).predictions
            best.append(max((its.score for its in found), default=0.0))  # type: ignore[union-attr]
    return best


def test_no_face_is_left(face: Package, clip: Path) -> None:
    shown = faces(face, kept_pictures(face, clip, None))
    assert len(shown) > 30 and np.mean(np.array(shown) > 0.6) > 0.8
    hidden = faces(face, kept_pictures(face, clip, Redact(["face"], margin=0.25)))
    assert len(hidden) > 20
    # Six times six colours are no face to anybody, though they faintly look like one to a model.
    assert max(hidden) < 0.6 and np.mean(hidden) < 0.3, [
        round(score, 2) for score in hidden if score
    ]


def test_every_picture_is_covered_where_the_face_was(face: Package, clip: Path) -> None:
    """By pixels: under the boxes of the original nothing of the original is left."""
    pictures = kept_pictures(face, clip, Redact(["face"], method="fill", margin=0.0))
    black = [float((cv2.cvtColor(its, cv2.COLOR_BGR2GRAY) < 12).mean()) for its in pictures]
    assert min(black) > 0.01, "there is a picture in which nothing is hidden"
