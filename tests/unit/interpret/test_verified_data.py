"""What is known of the recordings and files themselves, and that nothing known goes untested.

Rows about a model's answers stand in `test_verified`; here is what is known without decoding.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.capture.replay import ReplaySource
from edgeagent.capture.source import Wanted
from edgeagent.config.model import CsvConfig, ReplayConfig
from edgeagent.errors import SourceEnded
from edgeagent.interpret.embed import Gallery, Known
from edgeagent.manifest import InputSpec, OutputSpec

pytestmark = pytest.mark.assets

NOT_HERE = ("ic_resnet8_float.tflite", "ic_resnet8_int8.tflite", "vww_96_float.tflite")
"""Their pictures may not be passed on (note 1), and nothing else is known of them."""


def test_every_verified_file_is_tested(assets: Path) -> None:
    lines = (assets / "SOURCES.md").read_text(encoding="utf-8").splitlines()
    named = [re.split(r"\*\*", line)[1].rsplit("/", 1)[1] for line in lines if "verified: " in line]
    assert len(named) >= 60
    tests = "".join(
        file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_verified*.py")
    )
    missing = [name for name in named if name not in tests and name not in NOT_HERE]
    assert not missing


# --- models, without a decoder -------------------------------------------------------------


def test_the_features_of_a_thousand_keywords(assets: Path) -> None:
    stored = np.fromfile(assets / "audio/kws01_mfcc_int8_1000x490.bin", np.int8)
    assert stored.size == 490_000
    rows = list(csv.reader((assets / "labels/kws01_y_labels.csv").open()))
    counts = np.bincount([int(row[2]) for row in rows], minlength=12)
    assert counts.tolist() == [92, 92, 81, 89, 70, 84, 75, 78, 84, 89, 80, 86]


def test_float_and_int8_keywords_agree(assets: Path, opened: Any, window: Any) -> None:
    stored = np.fromfile(assets / "audio/kws01_mfcc_int8_1000x490.bin", np.int8)
    real = (stored.reshape(1000, 49, 10).astype(np.float32) - 83) * np.float32(0.5847029089927673)
    best = [
        [model(window(features)).predictions[0].label for features in real]
        for file in ("kws_ref_model.tflite", "kws_ref_model_float32.tflite")
        for model in [
            opened(file, InputSpec("mfcc", "window", length=49),
                   OutputSpec("classify", top=1), "kws_labels.txt")
        ]
    ]  # fmt: skip
    assert np.mean([a == b for a, b in zip(*best, strict=True)]) == pytest.approx(0.984, abs=0.005)


def test_yunet_takes_pictures_of_other_sizes(opened: Any) -> None:
    model = opened(
        "yunet_n_dynamic.onnx", InputSpec("image", "image", colour="bgr", size=(512, 352)),
        OutputSpec("yunet"),
    )  # fmt: skip
    outputs = model.session.run([np.zeros((1, 3, 352, 512), np.float32)])
    shapes = {
        spec.name: out.shape for spec, out in zip(model.session.outputs, outputs, strict=True)
    }
    assert shapes["cls_8"] == (1, 2816, 1)


def test_the_iris_model_is_sound_though_it_gives_no_tensors(assets: Path) -> None:
    """So what `test_verified` sees refused is its form, and not a damaged file."""
    library = pytest.importorskip("onnxruntime")
    session = library.InferenceSession(str(assets / "models/logreg_iris.onnx"))
    given = {"float_input": np.array([[1, 2], [3, 4], [5, 6]], np.float32)}
    labels, shares = session.run(None, given)
    assert labels.tolist() == [0, 0, 0]
    assert shares[0][0] == pytest.approx(0.9506, abs=1e-4)


# --- recordings, through the sources that read them ----------------------------------------


def values_of(name: str, config: ReplayConfig, length: int) -> Any:
    """All whole windows of a recording, one below the other."""
    source = ReplaySource(name, config, Wanted(rate_hz=config.rate_hz, length=length, hop=length))
    source.open()
    parts = []
    try:
        while True:
            parts.append(source.read().values)
    except SourceEnded:
        return np.concatenate(parts)
    finally:
        source.close()


@pytest.mark.parametrize(
    ("name", "rows", "low", "high", "mean", "windows", "inside"),
    [
        ("nab_ambient_temperature_system_failure.csv", 7267, 57.46, 86.22, 71.24, 2, 726),
        ("nab_machine_temperature_system_failure.csv", 22695, 2.085, 108.511, 85.926, 4, 2268),
    ],
)
def test_temperatures(
    assets: Path, name: str, rows: int, low: float, high: float, mean: float,
    windows: int, inside: int,
) -> None:  # fmt: skip
    file = assets / "sensor" / name
    config = CsvConfig(path=str(file), channels=["value"], rate_hz=1.0)
    values = values_of(name, config, 1)
    assert values.shape == (rows, 1)
    told = values.min(), values.max(), values.mean(dtype=np.float64)
    assert told == pytest.approx((low, high, mean), abs=0.006)
    marked = json.loads((assets / "labels/nab_combined_windows.json").read_text())
    spans = marked[f"realKnownCause/{name.removeprefix('nab_')}"]
    times = [line.split(",")[0] for line in file.read_text().splitlines()[1:]]
    assert len(spans) == windows
    assert sum(any(a[:19] <= time <= b[:19] for a, b in spans) for time in times) == inside


def motions(assets: Path, tmp_path: Path, part: str) -> tuple[Any, list[str]]:
    """(40, 100, 6) series, read as JSON lines by our source, and their labels."""
    text = (assets / f"sensor/BasicMotions_{part}.ts").read_text().split("@data\n")[1]
    series, labels = [], []
    for line in text.strip().splitlines():
        *channels, label = line.split(":")
        table = np.array([[float(value) for value in one.split(",")] for one in channels])
        series.append(table.T)
        labels.append(label)
    names = ["ax", "ay", "az", "gx", "gy", "gz"]
    file = tmp_path / f"{part}.jsonl"
    with file.open("w") as out:
        for row in np.concatenate(series):
            out.write(json.dumps(dict(zip(names, row.tolist(), strict=True))) + "\n")
    config = ReplayConfig(path=str(file), channels=names, rate_hz=10.0)
    return values_of(part, config, 100).reshape(-1, 100, 6), labels


def test_motions_of_a_wrist(assets: Path, tmp_path: Path) -> None:
    """BasicMotions_TRAIN.ts and BasicMotions_TEST.ts: how far plain statistics tell them apart."""
    known, names = motions(assets, tmp_path, "TRAIN")
    asked, truth = motions(assets, tmp_path, "TEST")
    assert known.shape == asked.shape == (40, 100, 6)

    def described(series: Any) -> Any:
        return np.concatenate([series.mean(axis=1), series.std(axis=1)], axis=1)

    middle, spread = described(known).mean(axis=0), described(known).std(axis=0)
    one, other = ((described(its) - middle) / spread for its in (known, asked))
    away = np.linalg.norm(other[:, None] - one[None], axis=2)
    assert sum(names[k] == label for k, label in zip(away.argmin(axis=1), truth, strict=True)) == 37
    kinds = sorted(set(names))
    centres = np.array([one[[label == kind for label in names]].mean(axis=0) for kind in kinds])
    nearest = np.linalg.norm(other[:, None] - centres[None], axis=2).argmin(axis=1)
    assert sum(kinds[k] == label for k, label in zip(nearest, truth, strict=True)) == 36
    # A gallery of the same vectors, which compares directions, does no worse.
    gallery = Gallery(
        [Known(label, vector.tolist()) for label, vector in zip(names, one, strict=True)]
    )
    told = [gallery.nearest((v / np.linalg.norm(v)).astype(np.float32), 1)[0][0] for v in other]
    assert sum(a == b for a, b in zip(told, truth, strict=True)) >= 36
