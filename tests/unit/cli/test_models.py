"""``edgeagent models`` on real packages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def parts(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a shipped package that may be spoilt."""
    (source,) = (repository / "models" / "parts").iterdir()
    copy = tmp_path / "models" / "parts" / source.name
    shutil.copytree(source, copy)
    monkeypatch.chdir(tmp_path)
    return copy


def test_list_names_what_is_shipped(invoke: Any) -> None:
    models = {its["name"]: its for its in json.loads(invoke("models", "list", "--json").stdout)}
    assert {"parts", "bearing", "digits"} <= set(models)
    assert models["parts"]["task"] == "detect" and models["parts"]["error"] is None
    assert "parts" in invoke("models", "list").stdout


def test_a_broken_package_is_listed_as_broken(invoke: Any, parts: Path) -> None:
    data = parts.parent.parent.parent
    (parts / "model.toml").write_text("name = ")
    done = invoke("models", "list", "--json", "--data-dir", data)
    (broken,) = [its for its in json.loads(done.stdout) if its["folder"] == str(parts)]
    assert broken["error"]
    people = invoke("models", "list", "--data-dir", data)
    assert "broken" in people.stderr and people.exit_code == 0


def test_show_tells_inputs_and_variants(invoke: Any) -> None:
    people = invoke("models", "show", "parts").stdout
    assert "image 96×96" in people and "parts-int8.tflite" in people
    assert json.loads(invoke("models", "show", "parts", "--json").stdout)["labels"] == [
        "whole", "cracked", "missing",
    ]  # fmt: skip


def test_lint_finds_a_changed_file_and_mends_the_list(invoke: Any, parts: Path) -> None:
    labels = parts / "labels.txt"
    labels.write_text("whole\ncracked\nmissing\nbent\n")
    done = invoke("models", "lint", parts, "--json")
    assert done.exit_code == 1
    findings = json.loads(done.stdout)["findings"]
    assert any("labels" in f"{its['place']} {its['problem']}" for its in findings)
    assert "errors" in invoke("models", "lint", parts).stdout


def test_golden_answers_are_written_and_then_hold(invoke: Any, parts: Path) -> None:
    import cv2

    from edgeagent.capture.synthetic import BeltScene

    shutil.rmtree(parts / "golden", ignore_errors=True)
    samples = parts.parent / "samples"
    samples.mkdir()
    for number in range(2):
        picture = BeltScene(5, (320, 240)).render(number * 50)[0]
        cv2.imwrite(str(samples / f"{number}.png"), picture)
    written = invoke("models", "golden", parts, "--samples", samples)
    assert written.exit_code == 0, written.output
    assert (parts / "golden" / "expected.json").is_file()
    done = invoke("models", "golden", parts, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0 and report["passed"] and report["samples"] == 2
    blank = samples / "0.png"
    cv2.imwrite(str(parts / "golden" / blank.name), cv2.imread(str(blank)) * 0)
    assert invoke("models", "golden", parts).exit_code == 1


def test_init_makes_a_package_that_runs(invoke: Any, parts: Path, tmp_path: Path) -> None:
    done = invoke(
        "models", "init", parts / "parts-int8.tflite", "--name", "mine", "--into", tmp_path / "new"
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "new" / "mine" / "0.1.0" / "model.toml").is_file()
    again = invoke(
        "models", "init", parts / "parts-int8.tflite", "--name", "mine", "--into", tmp_path / "new"
    )
    assert again.exit_code == 2 and "exists already" in again.stderr


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Twelve pictures of a belt, a broken one and a text."""
    cv2 = pytest.importorskip("cv2")
    from edgeagent.capture.synthetic import BeltScene

    folder = tmp_path / "Good Parts"
    folder.mkdir()
    scene = BeltScene(4, fault_rate=0.0)
    for number in range(12):
        cv2.imwrite(str(folder / f"{number}.png"), scene.render(61 * number)[0])
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("nothing to see")
    return folder


def test_init_of_good_pictures(invoke: Any, good: Path, tmp_path: Path) -> None:
    done = invoke("models", "init", "--anomaly", good, "--into", tmp_path / "models", "--json")
    assert done.exit_code == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["folder"] == str(tmp_path / "models" / "good-parts" / "0.1.0")
    assert made["pictures"] == 12 and made["threshold"] > made["usual"] > 0
    assert any("broken.jpg" in note for note in made["notes"])
    assert invoke("models", "lint", made["folder"]).exit_code == 0
    assert invoke("models", "golden", made["folder"]).exit_code == 0
    again = invoke("models", "init", "--anomaly", good, "--into", tmp_path / "models")
    assert again.exit_code == 2 and "exists already" in again.stderr
    people = invoke(
        "models", "init", "--anomaly", good, "--into", tmp_path / "models", "--version", "0.2.0",
        "--backbone", made["folder"],
    )  # fmt: skip
    told = " ".join(people.stdout.split())
    assert people.exit_code == 0 and "made of 12 good pictures, described by good-parts" in told


def test_init_of_pictures_that_are_none(invoke: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, code, what in (
        (tmp_path / "none", 3, "no such folder"),
        (empty, 3, "it is empty"),
    ):
        done = invoke("models", "init", "--anomaly", folder, "--into", tmp_path / "models")
        assert done.exit_code == code and what in done.stderr
    assert not (tmp_path / "models").exists()


def test_init_wants_a_file_or_a_folder(invoke: Any, repository: Path, good: Path) -> None:
    file = repository / "models/parts/1.0.0/parts-int8.tflite"
    for words in ((), (file, "--anomaly", good), (file, "--backbone", "parts")):
        done = invoke("models", "init", *words)
        assert done.exit_code == 2
        assert "either a model file or --anomaly" in done.stderr


def test_init_with_a_licence_leaves_nothing_wrong(
    invoke: Any, repository: Path, tmp_path: Path
) -> None:
    file = repository / "models/digits/1.0.0/digits-int8.tflite"
    done = invoke(
        "models", "init", file, "--licence", "MIT", "--into", tmp_path / "m", "--json"
    )  # fmt: skip
    made = json.loads(done.stdout)
    assert made["family"] == "classify" and made["confidence"] == "likely" and made["reasons"]
    found = json.loads(invoke("models", "lint", made["folder"], "--json").stdout)["findings"]
    assert not [its for its in found if its["level"] == "error"]
