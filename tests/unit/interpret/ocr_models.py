"""PP-OCRv4's models as packages, and pictures with text.

The models are those of the wheel rapidocr-onnxruntime 1.4.4 (Apache-2.0), which nobody
commits: `find_wheel` takes it from ``EDGEAGENT_OCR_WHEEL`` (the wheel, or the folder that it
was installed to), from this environment, or, with ``EDGEAGENT_TESTS=full``, from the index.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WHEEL = "rapidocr_onnxruntime-1.4.4-py3-none-any.whl"
_FIND, _READ = "ch_PP-OCRv4_det_infer", "ch_PP-OCRv4_rec_infer"
SHA256 = {
    f"{_FIND}.onnx": "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    f"{_READ}.onnx": "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
}

DETECT = """
name = "text-find"
version = "4.0.0"
task = "detect"
licence = "Apache-2.0"
labels = ["text"]
[[input]]
name = "x"
kind = "image"
colour = "bgr"
size = {size}
fit = "{fit}"
mean = [127.5]
scale = [127.5]
[output]
decoder = "db"
threshold = 0.5
[[variant]]
file = "ch_PP-OCRv4_det_infer.onnx"
runtime = "onnx"
"""
READ = """
name = "text-read"
version = "4.0.0"
task = "classify"
licence = "Apache-2.0"
labels = "letters.txt"
[[input]]
name = "x"
kind = "image"
colour = "bgr"
size = [320, 48]
fit = "line"
mean = [127.5]
scale = [127.5]
pad = [127.5]
[output]
decoder = "ctc"
threshold = 0.5
[[variant]]
file = "ch_PP-OCRv4_rec_infer.onnx"
runtime = "onnx"
"""


def find_models(scratch: Path) -> Path | str:
    """A folder with the two models, or why there is none."""
    given = os.environ.get("EDGEAGENT_OCR_WHEEL", "")
    if given and Path(given).is_dir():
        return Path(given)
    wheel = Path(given) if given else None
    spec = importlib.util.find_spec("rapidocr_onnxruntime") if wheel is None else None
    if spec is not None and spec.origin:
        return Path(spec.origin).parent / "models"
    if wheel is None and os.environ.get("EDGEAGENT_TESTS") == "full":
        wheel = scratch / WHEEL
        asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                 "--dest", str(scratch), "rapidocr-onnxruntime==1.4.4"]  # fmt: skip
        subprocess.run(asked, check=False, capture_output=True, timeout=300)
    if wheel is None or not wheel.is_file():
        return (
            "PP-OCR's models are not here: set EDGEAGENT_OCR_WHEEL to the wheel "
            "rapidocr-onnxruntime 1.4.4, or EDGEAGENT_TESTS=full to download it"
        )
    with zipfile.ZipFile(wheel) as archive:
        for name in SHA256:
            (scratch / name).write_bytes(archive.read(f"rapidocr_onnxruntime/models/{name}"))
    return scratch


def write_packages(models: Path, into: Path, *, size: Any = (736, 736), fit: str = "whole") -> None:
    """Both packages; the letters stand in the recogniser's own metadata."""
    import onnxruntime

    for file, folder, text in [
        (f"{_FIND}.onnx", "text-find", DETECT.format(size=list(size), fit=fit)),
        (f"{_READ}.onnx", "text-read", READ),
    ]:
        package = into / folder / "4.0.0"
        package.mkdir(parents=True)
        data = (models / file).read_bytes()
        assert hashlib.sha256(data).hexdigest() == SHA256[file]
        (package / file).write_bytes(data)
        (package / "model.toml").write_text(text)
        if folder == "text-read":
            session = onnxruntime.InferenceSession(data)
            letters = session.get_modelmeta().custom_metadata_map["character"]
            (package / "letters.txt").write_text(letters, encoding="utf-8")


# --- pictures ------------------------------------------------------------------------------


def _write(picture: Any, text: str, at: tuple[int, int], size: float, colour: Any, font: int = 0,
           thick: int = 3) -> None:  # fmt: skip
    cv2.putText(picture, text, at, font, size, colour, thick, cv2.LINE_AA)


def sign() -> Any:
    """Four lines of different sizes and colours."""
    picture = np.full((480, 640, 3), 235, np.uint8)
    _write(picture, "LOT 4711-B", (60, 120), 2.0, (20, 20, 20), thick=4)
    _write(picture, "EXP 2027-03-15", (60, 220), 1.6, (30, 30, 140), cv2.FONT_HERSHEY_DUPLEX)
    _write(picture, "Do not open while moving", (60, 320), 1.1, (0, 90, 0), thick=2)
    _write(picture, "230 V", (420, 430), 1.8, (0, 0, 0), thick=4)
    return picture


def tilted() -> Any:
    """Two lines that climb by 12 degrees."""
    picture = np.full((600, 800, 3), (200, 190, 170), np.uint8)
    _write(picture, "GATE 17", (180, 200), 2.6, (255, 255, 255), thick=6)
    _write(picture, "Keep clear", (200, 330), 2.0, (10, 10, 60), cv2.FONT_HERSHEY_DUPLEX)
    turn = cv2.getRotationMatrix2D((400, 300), 12, 1.0)
    return cv2.warpAffine(picture, turn, (800, 600), borderMode=cv2.BORDER_REPLICATE)


def dark() -> Any:
    """Light letters on a noisy dark picture."""
    noise = np.random.default_rng(5).normal(45, 8, (540, 960, 3))
    picture = noise.clip(0, 255).astype(np.uint8)
    _write(picture, "WB-1048-KX", (300, 280), 2.2, (230, 230, 230), thick=5)
    _write(picture, "12:45:07", (40, 500), 1.0, (0, 220, 255), cv2.FONT_HERSHEY_DUPLEX, 2)
    return picture


SCENES = {"sign": sign, "tilted": tilted, "dark": dark}
