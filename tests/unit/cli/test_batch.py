"""``edgeagent batch`` as a person calls it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgeagent.capture.synthetic import BeltScene, VibrationScene
from edgeagent.manifest import load_package


@pytest.fixture
def belt(tmp_path: Path) -> Path:
    """Six pictures, some of them in folders below."""
    folder = tmp_path / "belt"
    (folder / "monday" / "early").mkdir(parents=True)
    (folder / "tuesday").mkdir()
    scene = BeltScene(5, (320, 240), fault_rate=0.5)
    for number, place in enumerate((".", ".", "monday", "monday/early", "tuesday", "tuesday")):
        cv2.imwrite(str(folder / place / f"{number}.png"), scene.render(number * 40)[0])
    (folder / "notes.txt").write_text("not a sample")
    return folder


def test_a_folder_with_all_below_it_as_csv_and_what_was_skipped(
    invoke: Any, belt: Path, tmp_path: Path
) -> None:
    (belt / "tuesday" / "broken.jpg").write_text("no picture")
    out = tmp_path / "all.csv"
    done = invoke("batch", "parts", belt, "--out", out, "--json", "--workers", 1)
    assert done.exit_code == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["inputs"] == 7 and told["samples"] == 6 and told["workers"] == 1
    assert [Path(its["input"]).name for its in told["skipped"]] == ["broken.jpg"]
    assert "is a text file, not a picture" in told["skipped"][0]["reason"]
    with out.open(newline="") as file:
        names = [Path(row["input"]).name for row in csv.DictReader(file)]
    assert list(dict.fromkeys(names)) == [f"{n}.png" for n in range(6)]


def test_a_list_and_a_recording_and_a_second_run(
    invoke: Any, tmp_path: Path, repository: Path
) -> None:
    package = load_package(sorted((repository / "models" / "bearing").iterdir())[-1])
    spec = package.manifest.input[0]
    values = VibrationScene(3, rate_hz=spec.rate_hz).block(0, spec.length * 3)[:, 0]
    name = spec.channels[0] if spec.channels else "x"
    recording = tmp_path / "machine.csv"
    recording.write_text(f"{name}\n" + "".join(f"{float(value)}\n" for value in values))
    listed = tmp_path / "list.txt"
    listed.write_text(f"{recording}\n")
    out = tmp_path / "out.jsonl"
    done = invoke("batch", "bearing", f"@{listed}", "--out", out)
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) >= 3 and all(row["predictions"][0]["label"] == "anomaly" for row in rows)
    assert rows[1]["at_s"] > rows[0]["at_s"]
    again = invoke("batch", "bearing", f"@{listed}", "--out", out)
    assert again.exit_code == 2 and "--replace" in again.stderr


def test_what_can_not_work_is_said_before_any_work(invoke: Any, belt: Path, tmp_path: Path) -> None:
    no_format = invoke("batch", "parts", belt, "--out", tmp_path / "a.txt")
    assert no_format.exit_code == 2 and "--format" in no_format.stderr
    no_place = invoke("batch", "digits", belt, "--out", tmp_path / "a.json")
    assert no_place.exit_code == 2 and "COCO" in no_place.stderr
    nothing = invoke("batch", "parts", tmp_path / "none*", "--out", tmp_path / "a.csv")
    assert nothing.exit_code == 3 and "no file matches" in nothing.stderr
    no_folder = invoke("batch", "parts", belt, "--out", tmp_path / "x" / "a.csv")
    assert no_folder.exit_code == 3 and "Make its folder first" in no_folder.stderr
    assert not list(tmp_path.glob("*.part"))
