"""The four formats, read by those who would read them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent.batch.formats import format_of, open_format
from edgeagent.batch.formats.table import COLUMNS
from edgeagent.errors import UsageError
from edgeagent.manifest import Package, load_package

ROWS: list[dict[str, Any]] = [
    {
        "input": 'a "b",\n.jpg', "sample": 0, "model": "parts@1.0.0/int8", "size": [200, 100],
        "predictions": [
            {"label": "whole", "score": 0.9, "box": [0.1, 0.2, 0.5, 0.6]},
            {"label": "cracked", "score": 0.25, "box": [0.0, 0.0, 1.0, 1.0],
             "points": [[0.5, 0.5]]},
        ],
    },
    {"input": "clip.mp4", "sample": 0, "model": "m", "at_s": 0.0, "size": [64, 48],
     "predictions": []},
    {"input": "clip.mp4", "sample": 1, "model": "m", "at_s": 0.04, "size": [64, 48],
     "predictions": [{"label": "whole", "score": 0.5, "box": [0.0, 0.0, 0.5, 1.0]}]},
]  # fmt: skip


def written(name: str, package: Package, tmp_path: Path) -> Path:
    file = tmp_path / f"out.{name}"
    with file.open("wb") as out:
        open_format(name, package)((json.dumps(row).encode() + b"\n" for row in ROWS), out)
    return file


def test_the_format_is_named_or_follows_from_the_ending() -> None:
    assert format_of("", ".CSV") == "csv" and format_of("", ".json") == "coco"
    assert format_of("jsonl", ".txt") == "jsonl"
    with pytest.raises(UsageError, match=r"\.txt say no format"):
        format_of("", ".txt")
    with pytest.raises(UsageError, match="no format 'xml'"):
        format_of("xml", ".jsonl")


def test_json_lines_are_the_rows(parts: Package, tmp_path: Path) -> None:
    text = written("jsonl", parts, tmp_path).read_text()
    assert [json.loads(line) for line in text.splitlines()] == ROWS


def test_csv_has_a_prediction_a_row_and_survives_any_name(parts: Package, tmp_path: Path) -> None:
    text = written("csv", parts, tmp_path).read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["input"], row["rank"], row["label"]) for row in rows] == [
        ('a "b",\n.jpg', "1", "whole"), ('a "b",\n.jpg', "2", "cracked"),
        ("clip.mp4", "", ""), ("clip.mp4", "1", "whole"),
    ]  # fmt: skip
    assert float(rows[0]["x2"]) == 0.5 and rows[0]["more"] == ""
    assert json.loads(rows[1]["more"]) == {"points": [[0.5, 0.5]]}
    assert rows[3]["at_s"] == "0.04" and rows[0]["at_s"] == ""


def test_parquet_has_the_same_with_types(parts: Package, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    table = parquet.read_table(written("parquet", parts, tmp_path))
    assert table.column_names == list(COLUMNS)
    assert table.column("score").to_pylist() == [0.9, 0.25, None, 0.5]
    assert table.column("rank").to_pylist() == [1, 2, None, 1]
    assert table.column("at_s").to_pylist() == [None, None, 0.0, 0.04]


def test_coco_is_in_pixels_and_its_numbers_are_the_packages(parts: Package, tmp_path: Path) -> None:
    data = json.loads(written("coco", parts, tmp_path).read_text())
    assert [its["file_name"] for its in data["images"]] == [
        'a "b",\n.jpg', "clip.mp4#0", "clip.mp4#1",
    ]  # fmt: skip
    labels = {its["id"]: its["name"] for its in data["categories"]}
    assert list(labels.values()) == list(parts.labels)
    first, second, third = data["annotations"]
    assert first["bbox"] == [20.0, 20.0, 80.0, 40.0] and first["area"] == 3200.0
    assert labels[first["category_id"]] == "whole" and labels[second["category_id"]] == "cracked"
    assert second["keypoints"] == [100.0, 50.0, 2] and third["image_id"] == 3
    assert [its["id"] for its in data["annotations"]] == [1, 2, 3]


def test_coco_is_what_pycocotools_takes(parts: Package, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    file = written("coco", parts, tmp_path)
    dataset = coco.COCO(str(file))
    results = dataset.loadRes(json.loads(file.read_text())["annotations"])
    assert len(results.getAnnIds(imgIds=[1])) == 2


def test_what_has_no_place_is_not_coco(repository: Path) -> None:
    digits = load_package(sorted((repository / "models" / "digits").iterdir())[-1])
    with pytest.raises(UsageError, match="classify gives none"):
        open_format("coco", digits)
