"""Records of one kind for those who look on: the newest ones, and what has come since."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from edgeagent.errors import InputError
from edgeagent.store.encode import KIND_NUMBER, decoded, intact
from edgeagent.store.reading import Reading

_FAR_BACK = 200_000
"""So many numbers are looked through for the newest of a kind."""


class Cursor(Struct, frozen=True):
    """How far somebody has read."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The inverse of ``str``; None for anything else."""
        epoch, _, seq = text.rpartition("-")
        plain = seq.isascii() and seq.isdigit() and len(seq) < 19
        return cls(epoch, int(seq)) if epoch and plain else None


def newest(reading: Reading, kind: str, most: int) -> tuple[list[dict[str, Any]], Cursor]:
    """The last ``most`` records of a kind, oldest first, and where to go on. Raises StoreError."""
    last = _last(reading)
    rows = reading.rows(
        "SELECT seq, crc, body FROM record WHERE seq > ? AND seq <= ? AND kind = ?"
        " ORDER BY seq DESC LIMIT ?",
        (last - _FAR_BACK, last, KIND_NUMBER[kind], most),
    )
    return _records(rows[::-1]), Cursor(reading.epoch, last)


def following(
    reading: Reading, kind: str, cursor: Cursor, most: int
) -> tuple[list[dict[str, Any]], Cursor]:
    """At most ``most`` records of a kind after ``cursor``, and where to go on; in another epoch
    from its beginning. Raises StoreError."""
    last = _last(reading)
    after = cursor.seq if reading.epoch == cursor.epoch else 0
    rows = reading.rows(
        "SELECT seq, crc, body FROM record WHERE seq > ? AND seq <= ? AND kind = ?"
        " ORDER BY seq LIMIT ?",
        (after, last, KIND_NUMBER[kind], most),
    )
    at = int(rows[-1][0]) if len(rows) == most else last
    return _records(rows), Cursor(reading.epoch, at)


def _last(reading: Reading) -> int:
    return int(reading.value("SELECT coalesce(max(seq), 0) FROM record"))


def _records(rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    found = []
    for seq, crc, body in rows:
        if intact(seq, crc, body):
            try:
                found.append(decoded(body))
            except InputError:
                continue  # `outbox verify` tells of damage; here it is only not shown
    return found
