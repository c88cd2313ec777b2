"""Second models and galleries on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgeagent.capture.synthetic import BeltScene
from edgeagent.interpret.embed import read_gallery


@pytest.fixture
def belt(tmp_path: Path) -> Path:
    """A folder with pictures of a belt."""
    folder = tmp_path / "belt"
    folder.mkdir()
    scene = BeltScene(5, (320, 240), fault_rate=0.5)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), scene.render(number * 40)[0])
    return folder


@pytest.fixture
def likeness(repository: Path, tmp_path: Path) -> Path:
    """A package that embeds: the ten scores of `digits` as a vector."""
    folder = tmp_path / "likeness"
    shutil.copytree(repository / "models" / "digits" / "1.0.0", folder)
    text = (folder / "model.toml").read_text().split("[golden]")[0]
    for old, new in [('name = "digits"', 'name = "likeness"'), ('"classify"', '"embed"'),
                     ('labels = "labels.txt"', ""), ("top = 3", "")]:  # fmt: skip
        text = text.replace(old, new)
    (folder / "model.toml").write_text(text)
    return folder


def lines_of(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_infer_with_a_second_model(invoke: Any, belt: Path, tmp_path: Path) -> None:
    done = invoke("infer", "parts", belt, "--json", "--refine", "digits=cracked,missing",
                  "--save", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = [its for line in lines_of(done) for its in line["predictions"]]
    assert {its["label"] for its in found} >= {"whole"}
    for its in found:
        assert ("refined" in its) == (its["label"] != "whole")
        for answer in its.get("refined", {}).values():
            assert set(answer) == {"label", "score"}
    assert any("refined" in its for its in found)
    assert all(line["ms"]["refine"] >= 0 for line in lines_of(done))
    people = invoke("infer", "parts", belt, "--refine", "digits")
    assert "digits: " in people.stdout


def test_infer_names_what_is_wrong(invoke: Any, belt: Path, tmp_path: Path) -> None:
    done = invoke("infer", "parts", belt, "--refine", "no-such")
    assert done.exit_code == 2 and "no-such" in done.stderr
    done = invoke("infer", "parts", belt, "--refine", "digits=holes")
    assert done.exit_code == 78 and "holes" in done.stderr
    done = invoke("infer", "parts", belt, "--gallery", tmp_path / "none.jsonl")
    assert done.exit_code == 78 and "compared with nothing" in done.stderr


def test_a_gallery_is_made_and_searched(
    invoke: Any, belt: Path, likeness: Path, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    (known / "early").mkdir(parents=True)
    shutil.copy(belt / "0.png", known / "early" / "a.png")
    shutil.copy(belt / "0.png", known / "early" / "b.png")
    shutil.copy(belt / "2.png", known / "late.png")
    file = tmp_path / "g.jsonl"
    done = invoke("models", "gallery", likeness, known, "--out", file, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["labels"] == {"early": 2, "late": 1}
    assert read_gallery(file).labels == ("early", "late")
    done = invoke("infer", likeness, belt, "--gallery", file, "--threshold", "0.999", "--json")
    best = [line["predictions"][0] for line in lines_of(done)]
    assert best[0]["label"] == "early" and best[2]["label"] == "late"
    assert best[0]["score"] == pytest.approx(1, abs=1e-3)
    cut = invoke("models", "gallery", likeness, known, "--out", file, "--find", "parts")
    assert cut.exit_code == 0, cut.stderr
    assert "3 vectors in" in cut.stderr
    (known / "empty.png").write_bytes(b"no picture")
    done = invoke("models", "gallery", likeness, known, "--out", file)
    assert done.exit_code == 1 and "empty.png" in done.stderr
    assert len(file.read_bytes().splitlines()) == 3
    done = invoke("models", "gallery", likeness, tmp_path / "nowhere", "--out", file)
    assert done.exit_code == 3
    done = invoke("models", "gallery", "digits", known, "--out", file)
    assert done.exit_code == 2 and "no vectors" in done.stderr
