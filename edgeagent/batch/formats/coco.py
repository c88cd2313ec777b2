"""COCO: a dataset that annotation tools open, its annotations with a score each.

The format of https://cocodataset.org/#format-data: boxes are x, y, width, height in pixels of the
picture. ``annotations`` alone is what ``pycocotools`` takes as results (``loadRes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from edgeagent.batch.formats import Writer
from edgeagent.errors import UsageError

if TYPE_CHECKING:
    from edgeagent.manifest import Package

_TASKS = ("detect", "pose", "segment")


def coco(package: Package) -> Writer:
    """One JSON document; a category's number is the label's line in the package, from 1. Raises
    UsageError for models that give no places."""
    task = package.manifest.task
    if task not in _TASKS:
        raise UsageError(
            f"COCO holds things with a place, and a model that does {task} gives none",
            remedy="Choose --format jsonl, csv or parquet.",
        )

    def write(rows: Iterator[bytes], file: BinaryIO) -> None:
        # Annotations are written as they come: only pictures and labels are kept in memory.
        categories = {label: place for place, label in enumerate(package.labels, 1)}
        images: list[dict[str, Any]] = []
        count = 0
        file.write(b'{"info":{"description":"predictions by edgeagent"},"annotations":[')
        for row in rows:
            told = msgspec.json.decode(row)
            images.append(_image(told, len(images) + 1))
            for its in told["predictions"]:
                kind = categories.setdefault(its["label"], len(categories) + 1)
                note = {"id": count + 1, "category_id": kind, **annotation(its, images[-1])}
                file.write((b",\n" if count else b"\n") + msgspec.json.encode(note))
                count += 1
        named = [{"id": kind, "name": label} for label, kind in categories.items()]
        file.write(b'\n],"categories":' + msgspec.json.encode(named))
        file.write(b',"images":' + msgspec.json.encode(images) + b"}\n")

    return write


def _image(told: dict[str, Any], number: int) -> dict[str, Any]:
    width, height = told["size"]
    name = f"{told['input']}#{told['sample']}" if "at_s" in told else told["input"]
    return {"id": number, "file_name": name, "width": width, "height": height}


def annotation(its: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """A prediction with a place (`decide.data.as_data`), without ``id`` and ``category_id``.

    ``image`` has ``id``, ``width`` and ``height``.
    """
    width, height = image["width"], image["height"]
    note: dict[str, Any] = {"image_id": image["id"], "score": its["score"], "iscrowd": 0}
    if "polygons" in its:
        note["segmentation"] = [
            [round(edge, 2) for x, y in polygon for edge in (x * width, y * height)]
            for polygon in its["polygons"]
        ]
    x1, y1, x2, y2 = its.get("box") or _around(its["polygons"])
    box = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
    note["bbox"] = [round(edge, 2) for edge in box]
    note["area"] = round(its["share"] * width * height if "share" in its else box[2] * box[3], 2)
    if its.get("points"):
        points = [(x, y, *rest) for x, y, *rest in its["points"]]
        note["keypoints"] = [
            value for x, y, *_ in points for value in (round(x * width, 2), round(y * height, 2), 2)
        ]
        note["num_keypoints"] = len(points)
    return note


def _around(polygons: list[list[list[float]]]) -> tuple[float, float, float, float]:
    """The box around all points; nothing where there are none."""
    points = [point for polygon in polygons for point in polygon] or [[0.0, 0.0]]
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)
