"""``edgeagent explain`` on a file, a recording and a record."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from edgeagent.capture.synthetic import BeltScene
from edgeagent.device.identity import machine_hash
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.types import Draft, Evidence


def picture(tmp_path: Path) -> Path:
    file = tmp_path / "belt.png"
    cv2.imwrite(str(file), BeltScene(9003, (320, 240), fault_rate=0.4).render(400)[0])
    return file


def test_numbers_and_a_picture(invoke: Any, tmp_path: Path) -> None:
    file, out = picture(tmp_path), tmp_path / "map.jpg"
    done = invoke("explain", "parts", file, "--runs", 200, "--save", out, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["label"] in ("whole", "cracked", "missing") and told["method"] == "masks"
    assert told["inside"] > told["area"] and np.array(told["heat"]).max() == 1.0
    before, after = cv2.imread(str(file)).astype(int), cv2.imread(str(out)).astype(int)
    assert before.shape == after.shape
    x1, y1, x2, y2 = told["box"]
    inside = np.s_[int(y1 * 240) : int(y2 * 240), int(max(0, x1) * 320) : int(x2 * 320)]
    assert np.abs(before - after)[inside].mean() > np.abs(before - after).mean()


def test_a_record_is_explained_by_its_picture(invoke: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    outbox = Outbox.open(folder, device="d", settings=OutboxSettings(), boot="b",
                         machine=machine_hash())  # fmt: skip
    jpeg = cv2.imencode(".jpg", cv2.imread(str(picture(tmp_path))))[1].tobytes()
    outbox.append(
        Draft("event", "belt", time.time_ns(), 0.0, {"phase": "new", "label": "whole"},
              event="1", evidence=(Evidence("image/jpeg", jpeg),))
    )  # fmt: skip
    outbox.close(5.0)
    done = invoke("explain", "parts", "--record", "e-1", "--data-dir", folder, "--runs", 50)
    assert done.exit_code == 0, done.stderr
    assert "of what matters lies inside its box" in " ".join(done.stdout.split())
    missing = invoke("explain", "parts", "--record", "e-77", "--data-dir", folder)
    assert missing.exit_code == 3 and "no picture is kept of record 'e-77'" in missing.stderr
    for none in ("9" * 19, "9" * 30, "²"):
        assert invoke("explain", "parts", "--record", none, "--data-dir", folder).exit_code == 3
    both = invoke("explain", "parts")
    assert both.exit_code == 2 and "--record" in both.stderr


def test_a_recording_has_numbers_and_a_chart(invoke: Any, tmp_path: Path, repository: Path) -> None:
    golden = sorted((repository / "models" / "bearing").iterdir())[-1] / "golden"
    file = next(its for its in sorted(golden.iterdir()) if its.suffix == ".csv")
    wrong = invoke("explain", "bearing", file, "--save", tmp_path / "why.png")
    assert wrong.exit_code == 2 and ".svg" in wrong.stderr
    out = tmp_path / "why.svg"
    done = invoke("explain", "bearing", file, "--save", out, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    drawn = ElementTree.parse(out).getroot()
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(told["channels"])
    texts = {its.text for its in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert set(told["channels"]) <= texts
    # The darkest stretch is the one that is told.
    cells = [its for its in drawn.findall("{http://www.w3.org/2000/svg}rect")
             if its.get("fill") == "#c0392b"]  # fmt: skip
    darkest = max(cells, key=lambda its: float(its.get("fill-opacity", 0)))
    begin = (float(darkest.get("x", 0)) - 110) / 900 * told["span_s"]
    assert abs(begin - told["strongest"]["from_s"]) < 0.02 * told["span_s"]
