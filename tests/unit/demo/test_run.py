"""What is left for the visitor: pictures, commands to paste, a clean end."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgeagent.capture.synthetic import BeltScene
from edgeagent.demo import pictures, run
from edgeagent.demo.folders import Folders
from edgeagent.errors import NotFound


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    root = tmp_path / "my demo"
    made = Folders(root, root / "index.html")
    made.renew()
    (made.data / "blobs").mkdir()
    return made


def test_commands_survive_a_folder_with_a_blank(folders: Folders, tmp_path: Path) -> None:
    commands = [shlex.split(its.line) for its in run.what_next(folders, tmp_path / "none")]
    assert str(folders.data) in commands[0] and str(folders.data) in commands[1]
    assert f"{folders.pictures}/belt-*.jpg" in commands[2]
    assert not commands[2][0].startswith("PYTHONPATH=")


def test_a_fetched_runtime_is_on_the_path_of_the_command(folders: Folders, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    *_, infer = run.what_next(folders, site)
    assert shlex.split(infer.line)[0] == f"PYTHONPATH={site}"


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        (".venv/bin/edgeagent", ".venv/bin/edgeagent"),
        ("/home/x/.cache/pipx/0a1b/bin/edgeagent", "pipx run edgeagent"),
        ("/src/edgeagent/cli/__main__.py", f"{sys.executable} -m edgeagent.cli"),
    ],
)
def test_the_program_is_called_as_it_was(
    monkeypatch: pytest.MonkeyPatch, called: str, expected: str
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert run.program_name() == expected


def test_on_the_path_its_name_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "edgeagent"
    program.touch()
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setattr("shutil.which", lambda name: str(program))
    assert run.program_name() == "edgeagent"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_in_order_and_are_given_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught, run._orderly_end():
        os.kill(os.getpid(), number)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is before


def _kept(folders: Folders, told: Any, number: int, label: str) -> None:
    """An event with a picture among the agent's evidence."""
    name = f"{number:064x}"
    picture = cv2.imencode(".jpg", BeltScene(5, fault_rate=0.5).render(number * 40)[0])[1]
    (folders.data / "blobs" / name).write_bytes(picture.tobytes())
    blob = {"sha256": name, "bytes": 1, "type": "image/jpeg"}
    told.event("belt", label, (number, number + 1), blobs=[blob])


def test_pictures_get_names_for_people(folders: Folders, told: Any) -> None:
    _kept(folders, told, 1, "cracked")
    told.event(
        "belt", "whole", (5, 6), blobs=[{"sha256": "gone", "bytes": 1, "type": "image/jpeg"}]
    )
    found = pictures.collect(folders, told.arrivals().events())
    assert [its.name for its in found.values()] == ["belt-e-1-cracked.jpg"]
    assert found[f"{1:064x}"].read_bytes()[:2] == b"\xff\xd8"


def test_the_best_picture_is_annotated(folders: Folders, told: Any, tmp_path: Path) -> None:
    _kept(folders, told, 1, "cracked")
    arrivals = told.arrivals()
    shots = pictures.collect(folders, arrivals.events())
    target = tmp_path / "docs" / "belt.jpg"
    pictures.save_best(arrivals, shots, target)
    (shot,) = shots.values()
    annotated, plain = cv2.imread(str(target)), cv2.imread(str(shot))
    assert annotated.shape == plain.shape
    assert cv2.absdiff(annotated, plain).max() > 60


def test_without_a_fault_there_is_no_best_picture(folders: Folders, told: Any) -> None:
    _kept(folders, told, 1, "whole")
    arrivals = told.arrivals()
    shots = pictures.collect(folders, arrivals.events())
    with pytest.raises(NotFound, match="no fault"):
        pictures.save_best(arrivals, shots, folders.root / "best.jpg")
