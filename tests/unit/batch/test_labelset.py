"""Folders to be labelled: what libraries read, each sample once, however often they are written."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.agent.pooling import _npy, _wav
from edgeagent.batch.labelset import Labelled, write_set
from edgeagent.evaluate.data import read_data
from edgeagent.types import Window

BOX = {"label": "crack", "score": 0.52, "box": [0.1, 0.2, 0.5, 0.6]}


def sample(id_: str = "p000001aaaa", body: bytes = b"jpeg", **more: Any) -> Labelled:
    meta = {
        "id": id_, "type": "image/jpeg", "device": "door-7", "site": "hall 2",
        "reason": "uncertain", "why": "doubt 0.96", "model": "parts@1.0.0/int8",
        "pipeline": "door", "frame": 7,
        "at": "2026-11-25T10:00:00Z", "size": [200, 100], "labels": ["whole", "crack"],
        "predictions": [BOX], **more,
    }  # fmt: skip
    return Labelled.of(meta, body)


def test_pycocotools_reads_pictures_boxes_and_why_they_are_there(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    report = write_set([sample(), sample("p000002bbbb", b"other", predictions=[])], tmp_path)
    assert (report.samples, report.images, report.annotations) == (2, 2, 1)
    made = coco.COCO(str(tmp_path / "instances.json"))
    (note,) = made.loadAnns(made.getAnnIds())
    assert note["bbox"] == [20.0, 20.0, 80.0, 40.0]
    assert note["score"] == 0.52
    (category,) = made.loadCats([note["category_id"]])
    assert category == {"id": 2, "name": "crack"}
    (image,) = made.loadImgs([note["image_id"]])
    assert image["attributes"]["site"] == "hall 2"
    assert image["attributes"]["reason"] == "uncertain"
    assert (tmp_path / image["file_name"]).read_bytes() == b"jpeg"
    data = read_data(tmp_path / "instances.json", "detect")
    assert [len(case.things) for case in data.cases] == [1, 0]
    assert data.cases[0].path.exists()


def test_written_again_it_is_the_same(tmp_path: Path) -> None:
    write_set([sample(), sample("p000002bbbb", b"other")], tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    (tmp_path / "images" / "door-7-p000001aaaa.jpg").write_bytes(b"jp")
    again = [sample(), sample(), sample("p000002bbbb", b"other"), sample("p000003cccc", b"jpeg")]
    report = write_set(again, tmp_path)
    assert (report.samples, report.new) == (2, 1)
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before


def test_pictures_keep_their_numbers_when_others_come(tmp_path: Path) -> None:
    write_set([sample()], tmp_path)
    first = json.loads((tmp_path / "instances.json").read_text())["images"][0]
    write_set([sample("p000000zzzz", b"earlier"), sample()], tmp_path)
    images = json.loads((tmp_path / "instances.json").read_text())["images"]
    assert first in images
    assert len({its["id"] for its in images}) == 2


def test_sound_and_sensor_values_lie_beside_their_lines(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 400, dtype=np.float32)[:, None]
    sound = _wav(Window("mic", 1, values, 16_000.0, ("left",), 0, 0.0))
    numbers = _npy(Window("imu", 1, values, 100.0, ("x",), 0, 0.0))
    told = [{"label": "yes", "score": 0.51}]
    report = write_set(
        [sample("p1", sound[1], type=sound[0], predictions=told),
         sample("p2", numbers[1], type=numbers[0], predictions=told),
         sample("p3", b"?", type="text/plain")],
        tmp_path,
    )  # fmt: skip
    assert report.unreadable == ["p3: text/plain"]
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["predictions"] for line in lines] == [told, told]
    with wave.open(str(tmp_path / lines[0]["file"])) as file:
        assert (file.getframerate(), file.getnframes()) == (16_000, 400)
    back = np.load(io.BytesIO((tmp_path / lines[1]["file"]).read_bytes()))
    np.testing.assert_array_equal(back, values)
    assert not (tmp_path / "instances.json").exists()


def test_names_from_elsewhere_stay_in_the_folder(tmp_path: Path) -> None:
    write_set([sample("../../p1", device="/etc/x")], tmp_path / "set")
    assert [file.name for file in tmp_path.rglob("*.jpg")] == ["_etc_x-______p1.jpg"]


def test_what_a_classifier_said_stands_with_its_picture(tmp_path: Path) -> None:
    write_set([sample(predictions=[{"label": "cat", "score": 0.4}])], tmp_path)
    told = json.loads((tmp_path / "instances.json").read_text())
    assert told["annotations"] == []
    assert told["images"][0]["attributes"]["label"] == "cat"
