"""Golden answers: written, checked on every kernel here, and seen to fail when they should."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config.model import Runtime
from edgeagent.errors import InputError, NotFound, PackageError
from edgeagent.manifest import Package, load_package
from edgeagent.prove.golden import check_golden, read_expected, write_golden


def rewrite(package: Package, change: Callable[[dict[str, Any]], None]) -> None:
    file = package.folder / "golden" / "expected.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def edit(package: Package, old: str, new: str) -> Package:
    file = package.folder / "model.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return load_package(package.folder)


def test_what_is_written(package: Package) -> None:
    content = json.loads((package.folder / "golden" / "expected.json").read_text())
    assert content["v"] == 1
    assert content["reference"].split()[0] in ("litert", "tflite-runtime")
    assert [sample["file"] for sample in content["samples"]] == [f"{n}.png" for n in range(8)]
    for number, sample in enumerate(content["samples"]):
        best = sample["predictions"][0]
        assert best["kind"] == "label"
        assert best["label"] == str(number)
        assert best["score"] > 0.9


@pytest.mark.parametrize(
    "runtime",
    [
        Runtime(),
        Runtime(variant="litert", delegate="none"),
        Runtime(variant="litert", threads=2),
        Runtime(variant="onnx"),
    ],
)
def test_every_kernel_here_passes(package: Package, runtime: Runtime) -> None:
    report = check_golden(package, runtime)
    assert report.passed, report.faults
    assert (report.samples, report.same_top) == (8, 8)
    assert report.model == "digits@1.0.0/int8"
    # The newest onnxruntime for Python 3.10 can't tell where its operators run.
    assert report.receipt.placement or report.receipt.runtime.startswith("onnxruntime 1.23")


def test_a_wrong_scaling_is_caught(package: Package) -> None:
    spoilt = edit(package, "scale = [255]", "scale = [2550]")
    report = check_golden(spoilt)
    assert not report.passed
    assert any("best label right in" in fault for fault in report.faults)


def test_a_wrong_order_of_labels_is_caught(package: Package) -> None:
    (package.folder / "labels.txt").write_text("1\n0\n" + "\n".join("23456789") + "\n")
    report = check_golden(load_package(package.folder))
    assert report.same_top == 6
    assert [fault.split(":")[0] for fault in report.faults[:2]] == ["0.png", "0.png"]


def test_top1_is_a_share(package: Package) -> None:
    def swap(content: dict[str, Any]) -> None:
        content["samples"][0]["predictions"] = content["samples"][1]["predictions"]

    rewrite(package, swap)
    lenient = edit(
        package, "tolerance = { score = 0.05, top1 = 1 }", "tolerance = { score = 1, top1 = 0.8 }"
    )
    assert check_golden(lenient).passed
    assert check_golden(lenient).same_top == 7
    strict = edit(lenient, "top1 = 0.8", "top1 = 0.9")
    assert not check_golden(strict).passed


def test_a_missing_or_broken_sample_is_a_fault_not_an_end(package: Package) -> None:
    (package.folder / "golden" / "0.png").unlink()
    (package.folder / "golden" / "1.png").write_text("no picture")
    report = check_golden(package)
    assert report.samples == 8
    assert [fault.split(":")[0] for fault in report.faults[:2]] == ["0.png", "1.png"]
    assert "6 of 8" in report.faults[-1]


def test_samples_are_copied_in(package: Package, tmp_path: Path) -> None:
    shutil.rmtree(package.folder / "golden")
    with pytest.raises(NotFound, match="golden"):
        read_expected(package)
    with pytest.raises(NotFound, match="holds no samples"):
        write_golden(package)
    folder = tmp_path / "new"
    folder.mkdir()
    source = Path(__file__).resolve().parents[3] / "models/digits/1.0.0/golden"
    files = [shutil.copy(source / f"{n}.png", folder / f"d{n}.png") for n in (3, 5)]
    expected = write_golden(package, [Path(file) for file in files])
    assert [sample.file for sample in expected.samples] == ["d3.png", "d5.png"]
    assert check_golden(package).passed
    # Again from the same files, which lie there already.
    write_golden(package, [package.folder / "golden" / "d3.png"])
    assert check_golden(package).samples == 2


def test_a_sample_that_is_no_picture_is_refused_when_writing(package: Package) -> None:
    (package.folder / "golden" / "9.png").write_text("no picture")
    with pytest.raises(InputError, match=r"9\.png"):
        write_golden(package)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "can't be read"),
        (b"{", "can't be read"),
        (b'{"v":1,"samples":[]}', "reference"),
        (b'{"v":2,"reference":"x","samples":[]}', "version 2"),
        (
            b'{"v":1,"reference":"x","samples":[{"file":"../../x","predictions":[]}]}',
            "lies outside",
        ),
    ],
)
def test_a_file_that_is_no_expectation(package: Package, content: bytes, words: str) -> None:
    (package.folder / "golden" / "expected.json").write_bytes(content)
    with pytest.raises(PackageError, match=words):
        check_golden(package)


def test_predictions_that_are_none(package: Package) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["samples"][0]["predictions"] = [{"kind": "label"}]

    rewrite(package, spoil)
    report = check_golden(package)
    assert any("does not describe predictions" in fault for fault in report.faults)


def test_an_unknown_tolerance(package: Package) -> None:
    spoilt = edit(package, "tolerance = { score", "tolerance = { scor")
    with pytest.raises(PackageError, match=r"golden\.tolerance\.scor is unknown; known: score"):
        check_golden(spoilt)


@pytest.mark.parametrize("name", ["parts", "bearing", "digits"])
def test_our_own_packages(repository: Path, tmp_path: Path, name: str) -> None:
    """With golden answers made here: what is compared is this machine's kernels."""
    source = max((repository / "models" / name).iterdir())
    folder = tmp_path / name / source.name
    shutil.copytree(source, folder)
    package = load_package(folder)
    expected = write_golden(package)
    assert len(expected.samples) >= 5
    assert all(sample.predictions for sample in expected.samples)
    for runtime in (Runtime(variant="litert", delegate="none"), Runtime(variant="onnx")):
        report = check_golden(package, runtime)
        assert report.passed, report.faults
