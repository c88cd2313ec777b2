"""Variants of real float models, made by the real tools, and judged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeagent.errors import InputError, PackageError, UsageError
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package, Variant, load_package
from edgeagent.prove.bench.labelled import is_right, labelled_files
from edgeagent.prove.init import propose, write_package
from edgeagent.prove.lint import lint, write_files
from edgeagent.prove.optimize import tflite
from edgeagent.prove.optimize.kinds import BY_NAME, KINDS, Kept
from edgeagent.prove.optimize.variants import Judged, Wish, mark_front, optimize, spoken
from edgeagent.prove.tomltext import table_text

pytest.importorskip("ai_edge_litert")

PERSONS = ("grace_hopper.bmp", "messi5.jpg", "squat.bmp", "face.jpg", "pose_image3.jpeg",
           "street_people_dog_cars.jpg")  # fmt: skip
NOBODY = ("cat_720p.jpg", "fox.jpeg", "table.jpg", "pets.jpg", "bird_segmentation.bmp")


@pytest.fixture
def tools() -> None:
    for module in ("ai_edge_quantizer", "onnx", "onnxsim"):
        pytest.importorskip(module, reason="pip install 'edgeagent[optimize]'")


@pytest.fixture
def persons(assets: Path, tmp_path: Path) -> Package:
    """Whether a person is in the picture, with float weights."""
    folder = tmp_path / "source" / "person" / "1.2.3"
    folder.mkdir(parents=True)
    shutil.copy(assets / "models" / "vww_96_float.tflite", folder / "person.tflite")
    manifest = Manifest(
        "person", "1.2.3", "classify", OutputSpec("classify"),
        [InputSpec("image", "image", size=(96, 96), fit="stretch", scale=[255.0] * 3)],
        [Variant("person.tflite", "litert", "fp32")], labels=["none", "person"],
        licence="Apache-2.0",
    )  # fmt: skip
    (folder / "model.toml").write_text(table_text(manifest))
    write_files(load_package(folder))
    return load_package(folder)


@pytest.fixture
def sorted_(assets: Path, tmp_path: Path) -> Path:
    for label, names in (("person", PERSONS), ("none", NOBODY)):
        (tmp_path / "sorted" / label).mkdir(parents=True)
        for name in names:
            shutil.copy(assets / "images" / name, tmp_path / "sorted" / label)
    return tmp_path / "sorted"


@pytest.mark.usefixtures("tools")
def test_a_float_model_becomes_four_variants(
    persons: Package, sorted_: Path, tmp_path: Path
) -> None:
    labelled = labelled_files(sorted_)
    files = [file for its in labelled.values() for file in its]
    made = optimize(persons, tmp_path / "models", Wish(KINDS, files, labelled, loss=0.1))
    source, dynamic, int8, wide, half = made.variants
    assert made.package == "person@1.2.4" and made.measured_by == "accuracy"
    assert source.samples == 11 and source.right is not None and source.right >= 9
    assert all(its.written and its.quality and its.quality >= 0.8 for its in made.variants)
    # The graph: what really runs on integers.
    assert source.kept == Kept(0, 0, 28)
    assert dynamic.kept == Kept(0, 28, 0)
    assert int8.kept == wide.kept == Kept(28, 0, 0)
    assert int8.bytes < half.bytes < source.bytes and int8.bytes < 0.4 * source.bytes
    assert any(its.front for its in made.variants)
    assert "Calibrated on 11 samples only" in made.notes[0]
    # The new version is a package like any other, and the old one is as it was.
    folder = Path(made.folder)
    assert not [its for its in lint(folder) if its.level == "error"]
    package = load_package(folder)
    assert package.version == "1.2.4"
    assert [its.precision for its in package.manifest.variant] == [
        "fp32", "dynamic", "int8", "int16x8", "fp16",
    ]  # fmt: skip
    assert package.manifest.provenance["optimized_from"] == "person@1.2.3"
    assert len(load_package(persons.folder).manifest.variant) == 1
    # What is wrong is shown with what a person says of it.
    assert all(one.label for one in source.worst) and len(source.worst) == 11 - source.right


@pytest.mark.usefixtures("tools", "in_full")
def test_a_detector_in_onnx_loses_what_it_may_not_lose(assets: Path, tmp_path: Path) -> None:
    package = write_package(propose(assets / "models" / "FastestDet.onnx", "det"), tmp_path / "s")
    files = [assets / "images" / name for name in (*PERSONS, *NOBODY)]
    wish = Wish([BY_NAME["int8"], BY_NAME["fp16"]], files)
    made = optimize(package, tmp_path / "models", wish)
    source, int8, half = made.variants
    assert made.measured_by == "agreement" and source.quality == 1.0
    assert int8.kept is not None and int8.kept.whole > 60
    assert half.written and half.bytes < 0.6 * source.bytes
    assert not int8.written and "is below 98.0%" in int8.why and int8.worst
    assert not (Path(made.folder) / int8.file).exists()


def test_what_is_quantized_already_is_refused(assets: Path, tmp_path: Path) -> None:
    """Its inputs are float, its weights are not."""
    file = assets / "models" / "kws_ref_model_float32.tflite"
    package = write_package(propose(file, "kws"), tmp_path / "source")
    with pytest.raises(PackageError, match=r"is quantized already \(0 of 10 int8, 5 with int8"):
        optimize(package, tmp_path / "models", Wish(KINDS, [file]))
    assert not (tmp_path / "models" / "kws" / "0.1.1").exists()


def test_a_package_without_a_float_variant_is_refused(repository: Path, tmp_path: Path) -> None:
    package = load_package(repository / "models" / "digits" / "1.0.0")
    with pytest.raises(PackageError, match="no float variant to start from") as caught:
        optimize(package, tmp_path, Wish(KINDS, []))
    assert 'precision = "fp32"' in caught.value.remedy


def test_a_version_that_is_there_is_not_overwritten(persons: Package, tmp_path: Path) -> None:
    there = persons.folder.parent.parent
    with pytest.raises(UsageError, match="exists already"):
        optimize(persons, there, Wish(KINDS, [], version="1.2.3"))
    with pytest.raises(UsageError, match="looks like"):
        optimize(persons, there, Wish(KINDS, [], version="new"))
    with pytest.raises(InputError, match="no sample to calibrate"):
        optimize(persons, tmp_path / "models", Wish(KINDS, []))


@pytest.mark.parametrize(
    ("name", "kept"),
    [("vww_96_int8.tflite", Kept(28, 0, 0)), ("vww_96_float.tflite", Kept(0, 0, 28)),
     ("ic_resnet8_int8.tflite", Kept(10, 0, 0))],
)  # fmt: skip
def test_convolutions_are_counted(assets: Path, name: str, kept: Kept) -> None:
    assert tflite.kept(assets / "models" / name) == kept


def judged(name: str, ms: float, right: int) -> Judged:
    return Judged(name, "litert", name, ms=ms, right=right, samples=10)


def test_the_pareto_front() -> None:
    figures = {"a": (4.0, 10), "b": (2.0, 9), "c": (3.0, 8), "d": (1.0, 5), "e": (4.5, 10)}
    variants = [judged(name, *its) for name, its in figures.items()]
    variants.append(Judged("failed", "litert", "int8"))
    mark_front(variants)
    assert [its.file for its in variants if its.front] == ["a", "b", "d"]


def test_predictions_in_words() -> None:
    told = [{"kind": "label", "label": "cat", "score": 0.41},
            {"kind": "label", "label": "dog", "score": 0.93}]  # fmt: skip
    assert spoken(told) == "dog 0.93, cat 0.41"
    assert spoken([]) == "nothing"


@pytest.mark.parametrize(
    ("label", "said", "task", "right"),
    [
        ("dog", [{"label": "dog", "score": 0.9}, {"label": "cat", "score": 0.1}], "classify", True),
        (
            "cat",
            [{"label": "dog", "score": 0.9}, {"label": "cat", "score": 0.1}],
            "classify",
            False,
        ),
        ("cat", [{"label": "dog", "score": 0.9}, {"label": "cat", "score": 0.1}], "detect", True),
        ("none", [], "detect", True),
        ("none", [{"label": "dog", "score": 0.9}], "detect", False),
        ("good", [{"score": 0.5, "threshold": 1.0}], "anomaly", True),
        ("worn", [{"score": 0.5, "threshold": 1.0}], "anomaly", False),
        ("worn", [{"score": 1.5, "threshold": 1.0}], "anomaly", True),
    ],
)
def test_right_and_wrong(label: str, said: list, task: str, right: bool) -> None:
    assert is_right(label, said, task) is right
