"""Labelled data as people have it, and what is wrong with it in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeagent.errors import InputError, NotFound, UsageError
from edgeagent.evaluate.data import add_slices, read_data
from edgeagent.evaluate.labels import fit


def test_folders_are_labels_and_what_lies_below_counts(digits: Path) -> None:
    data = read_data(digits / "data", "classify")
    assert len(data.cases) == 144
    assert all(case.name.startswith(f"{case.label}/") for case in data.cases)


def test_a_table_has_files_labels_and_slices(digits: Path) -> None:
    data = read_data(digits / "data.csv", "classify", images=digits / "data")
    assert {case.slices["noise"] for case in data.cases} == {"5", "60", "140"}
    assert all(case.path.exists() for case in data.cases)


def test_coco_becomes_boxes_in_parts_of_the_picture(belt: Path) -> None:
    data = read_data(belt / "truth.json", "detect")
    add_slices(data, belt / "slices.csv")
    assert len(data.cases) == 45 and all(case.path.exists() for case in data.cases)
    boxes = [thing.box for case in data.cases for thing in case.things]
    assert boxes and all(0 <= edge <= 1.0001 for box in boxes for edge in box)
    assert {case.slices["light"] for case in data.cases} == {"dark", "day"}


def test_labels_are_called_as_the_model_does_and_others_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("file,label\na.png,CAT\nb.png,Dog\nc.png,cow\n")
    data = read_data(file, "classify")
    fit(data, ["cat", "dog"])
    assert [case.label for case in data.cases] == ["cat", "dog"]
    assert "1 inputs of labels that the model does not know are left out: cow" in data.notes[0]
    with pytest.raises(UsageError, match="none of its labels"):
        fit(read_data(file, "classify"), ["tree"])


@pytest.mark.parametrize(
    ("name", "text", "task", "said"),
    [
        ("a.csv", "name,label\nx,1\n", "classify", "no column says a file"),
        ("a.csv", "file,other\nx,1\n", "classify", "no column says the truth"),
        ("a.csv", "file,value\nx,wide\n", "regress", "a.csv:2: value: 'wide' is no number"),
        ("a.json", "{}", "detect", "can't be read as COCO"),
        ("a.json", json.dumps({"images": [], "categories": [], "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}]}), "detect",
         r"annotations\[0\] is of a picture or a category that is not there"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, name: str, text: str, task: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_data(tmp_path / name, task)


def test_data_that_does_not_fit_the_task(tmp_path: Path, belt: Path) -> None:
    with pytest.raises(UsageError, match="where things are"):
        read_data(belt / "truth.json", "classify")
    with pytest.raises(UsageError, match="not where"):
        read_data(belt, "detect")
    with pytest.raises(NotFound, match="no such file or folder"):
        read_data(tmp_path / "none", "classify")
    with pytest.raises(NotFound, match="no folders"):
        read_data(tmp_path, "classify")
