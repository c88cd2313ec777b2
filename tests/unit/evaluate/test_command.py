"""``edgeagent eval`` with the models that are shipped."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeagent.capture.synthetic import VibrationScene
from edgeagent.manifest import load_package


@pytest.fixture(scope="module")
def newest(repository: Path) -> Any:
    return lambda name: sorted((repository / "models" / name).iterdir())[-1]


def self_contained(page: str) -> bool:
    """Nothing in it is loaded from anywhere."""
    loads = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')>\s]+)""", page)
    return all(its.startswith("data:image/jpeg;base64,") for its in loads)


def test_labels_with_slices_calibration_and_a_report(
    invoke: Any, digits: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    done = invoke(
        "eval", "digits", digits / "data.csv", "--images", digits / "data", "--report", report,
        "--json", "--workers", 1,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["metrics"]["samples"] == 144 and 0.8 < told["metrics"]["accuracy"] < 1
    assert sum(map(sum, told["confusion"]["matrix"])) == 144
    right = sum(row[place] for place, row in enumerate(told["confusion"]["matrix"]))
    assert right / 144 == pytest.approx(told["metrics"]["accuracy"], abs=1e-4)
    by_noise = {its["value"]: its for its in told["slices"]}
    assert by_noise["5"]["accuracy"] > by_noise["140"]["accuracy"]
    assert by_noise["140"]["worse"] and not by_noise["5"]["worse"]
    assert told["threshold"]["suggested"]["precision"] >= 0.95
    assert 0 < told["calibration"]["ece"] == told["metrics"]["ece"] < 0.5
    assert all(its["said"] != its["truth"] for its in told["worst"])
    page = report.read_text()
    assert self_contained(page) and page.count("<img") == len(told["worst"]) > 5
    assert "noise 140" in page


def test_a_second_version_is_judged_with_a_test(
    invoke: Any, digits: Path, newest: Any, tmp_path: Path, full: bool
) -> None:
    folder = tmp_path / "digits" / "1.0.1"
    shutil.copytree(newest("digits"), folder)
    text = (folder / "model.toml").read_text()
    # Light and dark change places: what a wrong description of the input does.
    text = text.replace("mean = [0]\nscale = [255]", "mean = [255]\nscale = [-255]")
    (folder / "model.toml").write_text(text.replace('version = "1.0.0"', 'version = "1.0.1"'))
    done = invoke("eval", "digits", digits / "data", "--against", folder, "--json", "--workers", 1)
    assert done.exit_code == 1, done.stderr
    compared = json.loads(done.stdout)["compared"]
    assert compared["measure"] == "accuracy" and compared["verdict"] == "worse"
    assert compared["before"] > compared["after"]
    assert compared["only_first_right"] > compared["only_second_right"]
    if full:
        same = invoke("eval", "digits", digits / "data", "--against", "digits")
        assert same.exit_code == 0
        assert "can't be told from" in " ".join(same.stdout.split())


def test_boxes_by_part_of_the_data_and_a_worse_detector(
    invoke: Any, belt: Path, blind: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed (the extra eval)")
    report = tmp_path / "report.html"
    done = invoke(
        "eval", "parts", belt / "truth.json", "--slices", belt / "slices.csv", "--against", blind,
        "--report", report, "--json", "--workers", 1,
    )  # fmt: skip
    assert done.exit_code == 1, done.stderr
    told = json.loads(done.stdout)
    light = {its["value"]: its["map50"] for its in told["slices"]}
    assert light["day"] > 0.5 > 0.2 > light["dark"]
    metrics = told["metrics"]
    assert metrics["found"] + metrics["missed"] == metrics["things"]
    assert told["compared"]["significant"] and told["compared"]["difference"] < 0
    page = report.read_text()
    assert self_contained(page) and 'class="truth"' in page and "is worse than" in page


def test_unusual_machines_are_told_from_usual_ones(
    invoke: Any, newest: Any, tmp_path: Path
) -> None:
    spec = load_package(newest("bearing")).manifest.input[0]
    name = spec.channels[0] if spec.channels else "x"
    for label, faulty in (("normal", False), ("worn", True)):
        folder = tmp_path / "data" / label
        folder.mkdir(parents=True)
        scene = VibrationScene(3, rate_hz=spec.rate_hz)
        for number in range(3):
            values = scene.block(number * spec.length * 3, spec.length * 3)[:, 0].astype(float)
            if faulty:
                values[::40] += 8 * values.std()
            rows = "".join(f"{value}\n" for value in values)
            (folder / f"{number}.csv").write_text(f"{name}\n{rows}")
    report = tmp_path / "report.html"
    done = invoke("eval", "bearing", tmp_path / "data", "--json", "--report", report,
                  "--workers", 1)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["metrics"]["auc"] > 0.95 and told["metrics"]["unusual"] > 0
    assert self_contained(report.read_text())


def test_what_could_not_be_used_is_listed(invoke: Any, digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits / "data" / "0", tmp_path / "data" / "0")
    (tmp_path / "data" / "0" / "broken.png").write_text("no picture")
    done = invoke("eval", "digits", tmp_path / "data", "--json", "--workers", 1)
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert [its["input"] for its in told["skipped"]] == ["0/broken.png"]
    assert told["metrics"]["samples"] == 18
    nothing = invoke("eval", "parts", tmp_path / "data")
    assert nothing.exit_code == 2 and "COCO" in nothing.stderr
