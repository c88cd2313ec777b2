"""Rows as a flat table, a prediction each, and the same as CSV (RFC 4180)."""

from __future__ import annotations

import csv as standard
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from edgeagent.batch.formats import Writer

if TYPE_CHECKING:
    from edgeagent.manifest import Package

COLUMNS: dict[str, type] = {
    "input": str, "sample": int, "at_s": float, "width": int, "height": int, "model": str,
    "rank": int, "label": str, "score": float,
    "x1": float, "y1": float, "x2": float, "y2": float,
    "value": float, "unit": str, "threshold": float, "share": float, "more": str,
}  # fmt: skip
"""``rank`` counts a sample's predictions from 1, best first; a sample of which nothing is said
has one row without. ``label`` is also the name of a measured quantity and the text that was read.
``more`` is JSON of what has no column (points, polygons, vectors, regions)."""
_TAKEN = {"label", "name", "text", "score", "box", "value", "unit", "threshold", "share"}


def flat(row: bytes) -> Iterator[dict[str, Any]]:
    """The table's rows of one sample."""
    told = msgspec.json.decode(row)
    width, height = told.get("size", (None, None))
    common = {key: told.get(key) for key in ("input", "sample", "at_s", "model")}
    common |= {"width": width, "height": height}
    if not told["predictions"]:
        yield common
    for rank, its in enumerate(told["predictions"], 1):
        box = its.get("box", (None,) * 4)
        more = {key: value for key, value in its.items() if key not in _TAKEN}
        yield {
            **common, "rank": rank,
            "label": its.get("label", its.get("name", its.get("text"))),
            **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
            **{key: its.get(key) for key in ("score", "value", "unit", "threshold", "share")},
            "more": msgspec.json.encode(more).decode() if more else None,
        }  # fmt: skip


def csv(package: Package) -> Writer:
    """Comma-separated values with a heading; UTF-8, lines end in CR LF as the standard says."""
    del package

    def write(rows: Iterator[bytes], file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        table = standard.DictWriter(text, list(COLUMNS))
        table.writeheader()
        for row in rows:
            table.writerows(flat(row))
        text.detach()

    return write
