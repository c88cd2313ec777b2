"""The detector that most tests with pictures use, as a package: SSD MobileNet of COCO, 8 bit."""

from __future__ import annotations

import shutil
from pathlib import Path

MODEL = "coco_ssd_mobilenet_v1_quant.tflite"
MANIFEST = f"""
name = "{{name}}"
version = "1.0.0"
task = "detect"
labels = "labels.txt"
[[input]]
name = "image"
kind = "image"
fit = "stretch"
{{image}}
[output]
decoder = "ssd"
label_offset = 1
{{output}}
[[variant]]
file = "{MODEL}"
runtime = "litert"
precision = "uint8"
"""


def ssd(models: Path, assets: Path, name: str, *, image: str = "", output: str = "") -> Path:
    """Put it into a folder of models.

    Args:
        models: made where it is not there.
        assets: of the tests; model and labels are copied.
        image, output: further lines of these two tables of its manifest.

    Returns:
        The package's folder.
    """
    folder = models / name / "1.0.0"
    folder.mkdir(parents=True)
    shutil.copyfile(assets / "models" / MODEL, folder / MODEL)
    labels = assets / "labels" / "coco_ssd_labelmap_90.txt"
    shutil.copyfile(labels, folder / "labels.txt")
    (folder / "model.toml").write_text(MANIFEST.format(name=name, image=image, output=output))
    return folder
