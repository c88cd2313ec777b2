"""The picture that is kept with a record."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgeagent.errors import NotFound
from edgeagent.store.export import evidence_file, one, records

JPEG = "image/jpeg"


class Kept(Struct, frozen=True):
    """A picture as it left the pipeline: redacted."""

    record: dict[str, Any]
    data: bytes
    """JPEG."""

    @property
    def file(self) -> str:
        """A name for it."""
        return f"{self.record.get('seq', 0)}.jpg"


def kept(folder: Path, wanted: str) -> Kept:
    """The picture of a record, or of a later one of its event.

    Args:
        folder: the data folder.
        wanted: id of an event (``e-1041``) or number of a record.

    Raises: NotFound, StoreError and its kinds.
    """
    name = wanted.removeprefix("e-")
    itself = one(folder, int(name)) if name.isdecimal() else None
    later = (its for its, _ in records(folder) if (its.get("data") or {}).get("id") == f"e-{name}")
    for its in chain([itself] if itself else [], later):
        for blob in its.get("blobs", ()):
            file = evidence_file(folder, blob["sha256"])
            if blob["type"] == JPEG and file.is_file():
                return Kept(its, file.read_bytes())
    raise NotFound(
        f"{folder}: no picture is kept of record {wanted!r}",
        remedy="See which there are with: edgeagent outbox peek",
    )
