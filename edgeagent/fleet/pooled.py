"""Samples that devices sent to be labelled, out of a collector's database into a folder.

All that is needed stands in the database, each record and each piece of evidence once, so the
folder can be written at any time, again, and after whatever was killed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.batch.labelset import Labelled, write_set
from edgeagent.errors import NotFound, NotPermitted, StoreFull, UsageError, in_words
from edgeagent.fleet.database import Database
from edgeagent.fleet.evidence import HERE

log = logging.getLogger(__name__)

_EVERY_S = 5.0
_ANYWAY_S = 60.0
"""Others may have brought the last piece of a sample."""


class _Data(msgspec.Struct):
    pool: dict[str, Any] | None = None


class _Record(msgspec.Struct):
    data: _Data


def samples(db: Database, devices: Collection[str] = (), reason: str = "") -> Iterator[Labelled]:
    """All that are here whole, by device and the order in which they were sent.

    Raises what `Database` does.
    """
    decoder = msgspec.json.Decoder(_Record)
    rows = db.rows(
        "SELECT s.device, r.body, b.sha256, b.bytes FROM evidence e"
        " JOIN blob b ON b.sha256 = e.sha256"
        " JOIN record r ON r.stream = e.stream AND r.seq = e.seq"
        " JOIN stream s ON s.id = e.stream"
        f" WHERE b.state = {HERE} AND r.kind = 'result' ORDER BY s.device, s.id, r.seq"
    )
    for device, body, sha256, size in rows:
        if devices and device not in devices:
            continue
        try:
            meta = decoder.decode(body).data.pool
        except msgspec.MsgspecError:
            continue  # a result of another sort
        if meta and "id" in meta and reason in ("", meta.get("reason")):
            # Who sent it is known better than what the record says of it.
            yield Labelled({**meta, "device": device}, sha256, size, partial(_content, db, sha256))


def _content(db: Database, sha256: str) -> bytes:
    """Raises NotFound: it was deleted meanwhile."""
    for (data,) in db.rows(f"SELECT data FROM blob WHERE sha256 = ? AND state = {HERE}", (sha256,)):
        return bytes(data)
    raise NotFound(f"evidence {sha256} is not in {db.name} any more")


class Standing:
    """A folder that follows a database, written by the thread that collects."""

    def __init__(self, db: Database, folder: Path) -> None:
        self._db = db
        self._folder = folder
        self._seen = -1
        self._written_at = float("-inf")
        self._said = ""

    def turn(self, evidence: int) -> None:
        """Write it where something may have come; ``evidence`` = pieces that became whole here.

        Raises what `Database` does.
        """
        passed = time.monotonic() - self._written_at
        if passed < _EVERY_S or (evidence == self._seen and passed < _ANYWAY_S):
            return
        if self.write():
            self._seen = evidence

    def write(self) -> bool:
        """Now. A folder that can't be written keeps nobody from collecting: it is said once, and
        tried again. Raises what `Database` does."""
        self._written_at = time.monotonic()
        try:
            write_set(samples(self._db), self._folder)
        except (NotFound, NotPermitted, StoreFull, UsageError) as error:
            if str(error) != self._said:
                log.error("samples to be labelled: %s", in_words(error))
            self._said = str(error)
            return False
        self._said = ""
        return True
