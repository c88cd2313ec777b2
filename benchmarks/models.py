"""What is measured: five published models and two of ours, each as a package that a person would
have, and the sample that goes through it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeagent.config.model import Runtime
from edgeagent.manifest import Package, load_package
from edgeagent.prove.init import propose, write_package

ROOT = Path(__file__).resolve().parent.parent
ASSETS = Path(os.environ.get("EDGEAGENT_ASSETS") or ROOT.parent / "shared" / "assets")
SSD_FILE = "coco_ssd_mobilenet_v1_quant.tflite"
CLIP = ASSETS / "video" / "one-by-one-person-detection.mp4"

KWS = """
name = "kws"
version = "1.0.0"
task = "keyword"
labels = {labels}
[[input]]
name = "mfcc"
kind = "tensor"
[output]
decoder = "classify"
[[variant]]
file = "kws_ref_model.tflite"
runtime = "litert"
precision = "int8"
"""
SSD = """
name = "ssd"
version = "1.0.0"
task = "detect"
labels = "labels.txt"
[[input]]
name = "image"
kind = "image"
fit = "stretch"
[output]
decoder = "ssd"
label_offset = 1
[[variant]]
file = "coco_ssd_mobilenet_v1_quant.tflite"
runtime = "litert"
precision = "uint8"
"""


@dataclass(frozen=True)
class Subject:
    """A model in one runtime."""

    title: str
    runtime: str
    """``litert`` or ``onnx``."""
    open: Callable[[Path], Package]
    """Make its package in a folder."""
    rounds: int
    """Steps that are measured in the short form."""
    picture: Callable[[], NDArray[np.uint8]]
    """What it sees."""
    tensor: NDArray[Any] | None = None
    """Given instead of a picture that is prepared."""
    prepared: bool = False
    """Measured once more, with a 1080p picture prepared in each step."""

    @property
    def choice(self) -> Runtime:
        return Runtime(variant=self.runtime)


def package(folder: Path, text: str, model: str, labels: str = "") -> Any:
    """A package around a model of the assets, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.toml").write_text(text)
    target = folder / model
    if not target.exists():
        shutil.copyfile(ASSETS / "models" / model, target)
    if labels:
        (folder / "labels.txt").write_text((ASSETS / "labels" / labels).read_text())
    return load_package(folder)


def ssd(folder: Path) -> Package:
    """SSD MobileNet v1."""
    made: Package = package(folder, SSD, SSD_FILE, "coco_ssd_labelmap_90.txt")
    return made


def own(name: str) -> Package:
    """The newest version of one of our models."""
    return load_package(sorted((ROOT / "models" / name).iterdir())[-1])


def _keyword(folder: Path) -> Package:
    labels = (ASSETS / "labels" / "kws_labels.txt").read_text().split()
    made: Package = package(folder, KWS.format(labels=labels), "kws_ref_model.tflite")
    return made


def _proposed(file: str) -> Callable[[Path], Package]:
    """What `edgeagent models init` makes of a file."""

    def make(folder: Path) -> Package:
        return write_package(propose(ASSETS / "models" / file), folder)

    return make


def yunet(folder: Path) -> Package:
    """A detector of 320 × 320."""
    return _proposed("yunet_n_320_320.onnx")(folder)


def subjects() -> list[Subject]:
    """All that can be measured here: ours, and the published ones where the assets are."""
    found = [
        Subject("digits, ours, 8 × 8", runtime, lambda _: own("digits"), 3000, belt)
        for runtime in ("litert", "onnx")
    ] + [
        Subject("parts, ours, 96 × 96 detector", runtime, lambda _: own("parts"), 1000, belt)
        for runtime in ("litert", "onnx")
    ]  # fmt: skip
    if not (ASSETS / "models").is_dir():
        return found
    features = np.fromfile(ASSETS / "audio" / "kws01_mfcc_int8_1000x490.bin", np.int8)
    spoken = features[:490].reshape(1, 49, 10, 1)
    noise = np.random.default_rng(1).integers(0, 255, (1, 300, 300, 3), np.uint8)
    resnet, person = _proposed("ic_resnet8_int8.tflite"), _proposed("vww_96_int8.tflite")
    small, large = "image, ResNet-8 32 × 32", "image, MobileNet v2 224 × 224"
    imagenet = _proposed("mobilenet_v2_1.0_224_quant.tflite")
    imagenet_onnx = _proposed("mobilenetv2-12-int8.onnx")
    return [
        Subject("keyword, DS-CNN", "litert", _keyword, 4000, street, spoken),
        Subject(small, "litert", resnet, 2500, street),
        Subject(large, "litert", imagenet, 200, street),
        Subject(large, "onnx", imagenet_onnx, 200, street),
        Subject("person, MobileNet v1 96 × 96", "litert", person, 1500, street),
        Subject("SSD MobileNet v1 300 × 300", "litert", ssd, 120, street, prepared=True),
        Subject("SSD MobileNet v1, on noise", "litert", ssd, 120, street, noise),
        Subject("YuNet 320 × 320 detector", "onnx", yunet, 120, street, prepared=True),
        *found,
    ]


def street() -> NDArray[np.uint8]:
    """1080p BGR: people, a dog and cars."""
    import cv2

    seen = cv2.imread(str(ASSETS / "images" / "street_people_dog_cars.jpg"))
    assert seen is not None
    return np.asarray(cv2.resize(seen, (1920, 1080), interpolation=cv2.INTER_AREA), np.uint8)


def belt() -> NDArray[np.uint8]:
    """1080p BGR: parts on a conveyor belt."""
    from edgeagent.capture.synthetic import BeltScene

    return BeltScene(3, size=(1920, 1080)).render(40)[0]
