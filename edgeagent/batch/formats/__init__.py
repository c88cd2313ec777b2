"""How the result of a batch is written: a format each module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from edgeagent.errors import UsageError

if TYPE_CHECKING:
    from edgeagent.manifest import Package

Writer = Callable[[Iterator[bytes], BinaryIO], None]
"""Writes encoded rows, one JSON document with its line end each, to a file."""

FORMATS = {
    "jsonl": "edgeagent.batch.formats.lines:jsonl",
    "csv": "edgeagent.batch.formats.table:csv",
    "parquet": "edgeagent.batch.formats.parquet:parquet",
    "coco": "edgeagent.batch.formats.coco:coco",
}
_BY_ENDING = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet",
              ".json": "coco"}  # fmt: skip


def format_of(name: str, suffix: str) -> str:
    """The format that is meant: by name, else by the ending of the file. Raises UsageError."""
    chosen = name or _BY_ENDING.get(suffix.lower(), "")
    if chosen in FORMATS:
        return chosen
    if name:
        raise UsageError(f"there is no format {name!r}; known: {', '.join(FORMATS)}")
    raise UsageError(
        f"files ending in {suffix or 'nothing'} say no format",
        remedy=f"Name one with --format: {', '.join(FORMATS)}.",
    )


def open_format(name: str, package: Package) -> Writer:
    """The writer of a format for what a model says.

    Raises:
        UsageError: the format can't hold it.
        RuntimeMissing: a library that it needs is not installed.
    """
    from importlib import import_module

    module, attribute = FORMATS[name].split(":")
    make: Callable[[Package], Writer] = getattr(import_module(module), attribute)
    return make(package)
