"""``edgeagent models install …`` where no agent runs: the same states, on the files."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from edgeagent.prove.lint import lint


@pytest.fixture
def package(tmp_path: Path, repository: Path) -> Path:
    place = tmp_path / "stick" / "parts" / "1.1.0"
    shutil.copytree(repository / "models" / "parts" / "1.0.0", place)
    file = place / "model.toml"
    text = file.read_text().replace('version = "1.0.0"', 'version = "1.1.0"')
    file.write_text(f"{text}\n[budget.default]\np95_ms = 1000\npss_mb = 1000\n")
    assert not [its for its in lint(place, fix=True) if its.level == "error"]
    return place


@pytest.fixture
def at(tmp_path: Path) -> list[str]:
    file = tmp_path / "agent.toml"
    file.write_text(f'[trust]\nroot = "{tmp_path}/none.json"\n')
    return ["--config", str(file), "--data-dir", str(tmp_path / "data")]


def test_from_an_archive_to_the_next_start_and_back(
    invoke: Any, package: Path, at: list[str], tmp_path: Path
) -> None:
    archive = tmp_path / "parts.tar.gz"
    with tarfile.open(archive, "w:gz") as out:
        out.add(package, "parts/1.1.0")
    done = invoke("models", "install", archive, "--activate", "--json", *at)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["state"], report["version"]) == ("committed", "1.1.0")
    listed = json.loads(invoke("models", "list", "--json", *at).stdout)
    states = {its["version"]: its["state"] for its in listed if its["name"] == "parts"}
    assert states == {"1.1.0": "runs", "1.0.0": "previous"}
    back = invoke("models", "rollback", "parts", *at)
    assert "parts runs 1.0.0 again" in back.stdout
    listed = json.loads(invoke("models", "list", "--json", *at).stdout)
    states = {its["version"]: its["state"] for its in listed if its["name"] == "parts"}
    assert states["1.0.0"] == "runs"
    assert states.get("1.1.0", "failed") == "failed"


def test_what_does_not_prove_itself_is_told_and_leaves_nothing(
    invoke: Any, package: Path, at: list[str], tmp_path: Path
) -> None:
    (package / "parts-int8.tflite").write_bytes(b"no model at all")
    (package / "parts-int8.onnx").write_bytes(b"nor this one")
    lint(package, fix=True)
    done = invoke("models", "install", package, "--activate", *at)
    assert done.exit_code == 1
    assert "parts 1.1.0 failed (prove:" in done.stderr
    assert not (tmp_path / "data" / "models" / "parts" / "1.1.0").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("install", "/nowhere/at/all"), 3, "no such folder"),
        (("install", "parts"), 2, "names no version"),
        (("activate", "parts@9.9.9"), 3, "no version 9.9.9"),
        (("rollback", "parts"), 3, "no version of parts to go back to"),
        (("remove", "parts@1.0.0"), 3, "was not installed here"),
        (("hold", "nothing"), 3, "no model 'nothing'"),
    ],
)
def test_what_makes_no_sense(
    invoke: Any, at: list[str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = invoke("models", *arguments, *at)
    assert done.exit_code == code
    assert said in done.stderr


def test_a_hold_is_shown_and_taken_back(invoke: Any, at: list[str]) -> None:
    assert invoke("models", "hold", "parts", "--reason", "audit", *at).exit_code == 0
    assert "parts is held by" in invoke("models", "list", *at).stderr
    assert "may be changed again" in invoke("models", "unhold", "parts", *at).stdout
    assert "was not held" in invoke("models", "unhold", "parts", *at).stdout
