"""The whole path on one sample: real models, real pictures, verified answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.capture.pictures import read_picture
from edgeagent.config.model import Runtime
from edgeagent.errors import InputError, NotFound, PackageError
from edgeagent.manifest import Package, load_package
from edgeagent.prove.init import propose
from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import first_sample, read_samples, readable, wanted_by
from edgeagent.types import Anomaly, Frame, Label, Window


def frame(path: Path) -> Frame:
    return Frame("test", 1, read_picture(path), 0, 0.0, str(path))


def digit(package: Package, number: int) -> Frame:
    return frame(package.folder / "golden" / f"{number}.png")


def test_digits(package: Package) -> None:
    with Predictor(package) as predictor:
        assert predictor.model == "digits@1.0.0/int8"
        assert predictor.labels == tuple("0123456789")
        for number in range(8):
            answer = predictor(digit(package, number))
            best = answer.predictions[0]
            assert isinstance(best, Label)
            assert (best.label, best.score > 0.9) == (str(number), True)
            stages = (answer.prepare_ms, answer.infer_ms, answer.interpret_ms)
            assert min(stages) > 0
            assert answer.total_ms == pytest.approx(sum(stages))


def test_a_new_stream_begins_without_the_scores_of_the_last(package: Package) -> None:
    output = msgspec.structs.replace(package.manifest.output, smooth=4)
    manifest = msgspec.structs.replace(package.manifest, output=output)
    with Predictor(Package(package.folder, manifest, package.labels)) as predictor:
        for _ in range(4):
            predictor(digit(package, 3))
        assert predictor(digit(package, 7)).predictions[0].label == "3"  # the mean of four
        predictor.reset()
        assert predictor(digit(package, 7)).predictions[0].label == "7"


def test_the_configured_variant(package: Package) -> None:
    with Predictor(package, Runtime(variant="onnx")) as predictor:
        assert predictor.receipt.runtime.startswith("onnxruntime")
        assert predictor(digit(package, 7)).predictions[0].label == "7"


def test_samples_that_do_not_fit(package: Package) -> None:
    import numpy as np

    with Predictor(package) as predictor:
        window = Window("t", 1, np.zeros((8, 1), np.float32), 1.0, ("x",), 0, 0.0)
        with pytest.raises(InputError):
            predictor(window)
        assert predictor(digit(package, 1)).predictions[0].label == "1"


def test_a_description_that_does_not_fit_closes_the_session(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeagent.infer.litert import LiteRtSession

    closed: list[Any] = []
    monkeypatch.setattr(LiteRtSession, "close", lambda session: closed.append(session))
    package.manifest.output.decoder = "ssd"
    with pytest.raises(PackageError, match="ssd reads 4 outputs"):
        Predictor(package)
    assert len(closed) == 1


@pytest.mark.assets
@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("street_people_dog_cars.jpg", [("person", 0.824), ("person", 0.809), ("car", 0.680)]),
        ("pets.jpg", [("dog", 0.816), ("dog", 0.738)]),
        ("cat_720p.jpg", [("cat", 0.719)]),
        ("squat.bmp", [("person", 0.824)]),
        ("table.jpg", []),
    ],
)
def test_ssd_finds_what_is_there(
    assets: Path, picture: str, expected: list[tuple[str, float]]
) -> None:
    package = propose(assets / "models/coco_ssd_mobilenet_v1_quant.tflite").package
    package.manifest.output.label_offset = 1
    package.manifest.input[0].resample = "area"
    lines = (assets / "labels/coco_ssd_labelmap_90.txt").read_text().splitlines()
    labelled = Package(package.folder, package.manifest, tuple(lines))
    with Predictor(labelled, threshold=0.5) as predictor:
        answer = predictor(frame(assets / "images" / picture))
    got = [(one.label, one.score) for one in answer.predictions]  # type: ignore[union-attr]
    assert len(got) >= len(expected)
    for (label, score), (name, wanted) in zip(got, expected, strict=False):
        assert label == name
        assert score == pytest.approx(wanted, abs=0.03)
    assert bool(got) == bool(expected)


@pytest.mark.assets
def test_a_threshold_of_the_site(assets: Path) -> None:
    package = propose(assets / "models/face_detection_short_range.tflite").package
    portrait = frame(assets / "images/grace_hopper.bmp")
    with Predictor(package) as predictor:
        (face,) = predictor(portrait).predictions
    with Predictor(package, threshold=0.99) as predictor:
        assert predictor(portrait).predictions == []
    with Predictor(package, threshold=face.score - 0.01) as predictor:  # type: ignore[union-attr]
        assert len(predictor(portrait).predictions) == 1


def test_our_bearing_hears_the_difference(repository: Path) -> None:
    package = load_package(max((repository / "models/bearing").iterdir()))
    with Predictor(package) as predictor:
        for file in sorted((package.folder / "golden").glob("*.csv")):
            (anomaly,) = predictor(first_sample(file, package)).predictions
            assert isinstance(anomaly, Anomaly)
            assert anomaly.alarming == file.name.startswith("damaged"), file.name


# --- samples from files --------------------------------------------------------------------


def test_what_a_package_wants_of_a_source(repository: Path, package: Package) -> None:
    bearing = load_package(max((repository / "models/bearing").iterdir()))
    wanted = wanted_by(bearing)
    assert (wanted.channels, wanted.rate_hz, wanted.length, wanted.hop) == (("x",), 8000, 1024, 512)
    assert wanted_by(package).length is None


def test_samples_of_files(repository: Path, package: Package, tmp_path: Path) -> None:
    bearing = load_package(max((repository / "models/bearing").iterdir()))
    recording = tmp_path / "long.csv"
    rows = (bearing.folder / "golden/sound-1.csv").read_text().splitlines()
    recording.write_text("\n".join([rows[0], *rows[1:] * 3]) + "\n")
    windows = list(read_samples(recording, bearing))
    assert [window.values.shape for window in windows] == [(1024, 1)] * 5  # type: ignore[union-attr]
    (picture,) = read_samples(package.folder / "golden/0.png", package)
    assert isinstance(picture, Frame)
    assert picture.pixels.shape == (8, 8, 3)


def test_files_that_hold_no_sample(repository: Path, package: Package, tmp_path: Path) -> None:
    bearing = load_package(max((repository / "models/bearing").iterdir()))
    short = tmp_path / "short.csv"
    short.write_text("x\n1\n2\n")
    with pytest.raises(InputError, match=r"short\.csv"):
        first_sample(short, bearing)
    with pytest.raises(InputError, match=r"ending in \.xls are no samples"):
        first_sample(tmp_path / "a.xls", package)
    with pytest.raises(InputError, match="ending in nothing"):
        first_sample(tmp_path / "a", package)
    with pytest.raises(NotFound):
        first_sample(tmp_path / "gone.png", package)
    assert readable(Path("A.PNG"))
    assert readable(Path("a.wav"))
    assert not readable(Path("expected.json"))
