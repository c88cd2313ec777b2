"""JSON lines: the rows as they are, as `edgeagent infer --json` prints them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from edgeagent.batch.formats import Writer

if TYPE_CHECKING:
    from edgeagent.manifest import Package


def jsonl(package: Package) -> Writer:
    """One sample a line."""
    del package

    def write(rows: Iterator[bytes], file: BinaryIO) -> None:
        file.writelines(rows)

    return write
