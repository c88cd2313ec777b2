"""What a pipeline step costs beside the bare runtime, alternating in one process.

Two rows: keyword spotting without prepare (only dispatch, interpret, track, decide), and SSD with a
1080p frame prepared. Both need the shared assets; without them our own `parts` stands in.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeagent.agent.stages import stages_for
from edgeagent.config.model import Pipeline as PipelineConfig
from edgeagent.manifest import load_package
from edgeagent.pipeline import Pipeline
from edgeagent.types import Draft, Frame, Prepared

ROOT = Path(__file__).resolve().parent.parent
ASSETS = Path(os.environ.get("EDGEAGENT_ASSETS") or ROOT.parent / "shared" / "assets")

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


class Nowhere:
    """An outbox that keeps nothing: appending has a benchmark of its own."""

    seq = None

    def append(self, draft: Draft) -> Nowhere:
        del draft
        return self


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


def alternate(
    one: Callable[[], float], other: Callable[[], float], rounds: int
) -> dict[str, float]:
    """Medians in µs of two timed calls that take turns, and their ratio and difference."""
    for _ in range(20):
        one(), other()
    ours, bare = [], []
    for _ in range(rounds):
        ours.append(one())
        bare.append(other())
    a, b = statistics.median(ours) * 1e6, statistics.median(bare) * 1e6
    return {"ours_us": round(a, 1), "bare_us": round(b, 1), "ratio": round(a / b, 4),
            "overhead_us": round(a - b, 1)}  # fmt: skip


def row(pack: Any, sample: Any, *, prepared: bool, rounds: int) -> dict[str, float]:
    """One comparison. ``prepared``: the tensor is made in each step; else it is given."""
    from benchmarks.bare import interpreter

    stages = stages_for("bench", pack, PipelineConfig(model=pack.name, source="s"))
    pipeline = Pipeline("bench", None, Nowhere(), lambda: stages)  # type: ignore[arg-type]
    bare = interpreter(str(pack.path(pack.manifest.variant[0].file)))
    entry = bare.get_input_details()[0]["index"]
    outs = [out["index"] for out in bare.get_output_details()]
    if prepared:
        tensor = stages.prepare(sample).tensors[0].copy()
    else:
        tensor = sample
        given = Prepared([tensor])
        stages.prepare = lambda _sample: given
        sample = Frame("s", 1, np.zeros((1, 1, 3), np.uint8), time.time_ns(), 0.0)

    def ours() -> float:
        began = time.perf_counter()
        pipeline.step(stages, sample)
        return time.perf_counter() - began

    def theirs() -> float:
        began = time.perf_counter()
        bare.set_tensor(entry, tensor)
        bare.invoke()
        for out in outs:
            bare.get_tensor(out)
        return time.perf_counter() - began

    try:
        return alternate(ours, theirs, rounds)
    finally:
        stages.session.close()


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """All rows."""
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 255, (1080, 1920, 3), np.uint8)
    sample = Frame("s", 1, frame, time.time_ns(), 0.0)
    rows: dict[str, dict[str, float]] = {}
    parts = load_package(sorted((ROOT / "models" / "parts").iterdir())[-1])
    rows["parts, 1080p frame"] = row(parts, sample, prepared=True, rounds=1500)
    if not (ASSETS / "models").is_dir():
        return rows
    labels = (ASSETS / "labels" / "kws_labels.txt").read_text().split()
    kws = package(folder / "kws", KWS.format(labels=labels), "kws_ref_model.tflite")
    features = np.fromfile(ASSETS / "audio" / "kws01_mfcc_int8_1000x490.bin", np.int8)
    tensor = features[:490].reshape(1, 49, 10, 1)
    rows["keyword, without prepare"] = row(kws, tensor, prepared=False, rounds=5000)
    model, names = "coco_ssd_mobilenet_v1_quant.tflite", "coco_ssd_labelmap_90.txt"
    ssd = package(folder / "ssd", SSD, model, names)
    rows["ssd, 1080p frame"] = row(ssd, sample, prepared=True, rounds=200)
    rows["ssd, without prepare"] = row(
        ssd, rng.integers(0, 255, (1, 300, 300, 3), np.uint8), prepared=False, rounds=200
    )
    return rows
