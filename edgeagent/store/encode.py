"""A record as the JSON of the contract (§2), encoded once, when it is committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from zlib import crc32

import msgspec

from edgeagent import clock
from edgeagent.errors import InputError
from edgeagent.types import BlobRef

KINDS = (
    "result", "window", "anomaly", "health", "blob", "event", "deployment", "gap",
)  # fmt: skip
"""Known kinds; the index is what the column ``record.kind`` holds. Others are 255."""
KIND_NUMBER = {kind: number for number, kind in enumerate(KINDS)}
OTHER_KIND = 255
EVENT, DEPLOYMENT, GAP = KIND_NUMBER["event"], KIND_NUMBER["deployment"], KIND_NUMBER["gap"]
URGENT = frozenset({"event", "deployment", "gap", "blob"})
"""Kinds that are committed within ``durability.events``; their numbers are neighbours."""
URGENT_NUMBERS = min(map(KIND_NUMBER.__getitem__, URGENT)), max(KIND_NUMBER.values())


class Clock(Protocol):
    """Where time comes from; `edgeagent.clock` itself is one."""

    def wall_ns(self) -> int: ...
    def mono_ms(self) -> float: ...
    def synced(self) -> bool: ...


class Was(msgspec.Struct, frozen=True):
    """The number that a record carried into this epoch had in its former one."""

    epoch: str
    seq: int


class Record(msgspec.Struct, omit_defaults=True, gc=False):
    """A record on the wire, in the contract's order. Empty fields are left out."""

    seq: int
    kind: str
    pipeline: str = ""
    at: str = ""
    clock: str = ""
    boot: str = ""
    mono_ms: int = 0
    model: str = ""
    config: str = ""
    source: str = ""
    frame: int = 0
    data: dict[str, Any] = {}
    blobs: tuple[BlobRef, ...] = ()
    test: bool = False
    was: Was | None = None


class GapRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """A told loss. ``epoch`` empty = of this epoch; of another one `to` and `count` may be
    unknown (null)."""

    seq: int
    kind: str
    first: int = msgspec.field(name="from")
    to: int | None
    count: int | None
    reason: str
    epoch: str = ""
    dropped: str = ""
    at: str = ""
    clock: str = ""
    boot: str = ""
    mono_ms: int = 0


UNWRITABLE = (TypeError, ValueError, msgspec.MsgspecError, RecursionError, OverflowError)
"""What encoding raises for values that JSON does not know."""
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, TypeError, RecursionError)
"""What decoding raises for bytes that a medium has changed."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_formatted = (-1, "")


def rfc3339(ns: int) -> str:
    """`clock.rfc3339`, with the formatted second kept: records come in order of time."""
    global _formatted
    second, rest = divmod(ns, 1_000_000_000)
    known, prefix = _formatted
    if second != known:
        prefix = clock.rfc3339(second * 1_000_000_000)[:-4]
        _formatted = (second, prefix)
    return f"{prefix}{rest // 1_000_000:03d}Z"


def encoded(record: Record | GapRecord) -> bytes:
    """Raises InputError for values that JSON does not know."""
    try:
        return _encode(record)
    except UNWRITABLE as error:
        raise InputError(f"a {record.kind} record can't be written as JSON: {error}") from error


def decoded(body: bytes) -> dict[str, Any]:
    """A record body as a dictionary, order kept. Raises InputError."""
    try:
        found = _decode(body)
    except UNREADABLE as error:
        raise InputError(f"a stored record is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError("a stored record is not an object")
    return found


def checksum(seq: int, body: bytes) -> int:
    """What stands in ``record.crc``: the CRC-32 of the body, begun with its number."""
    return crc32(body, seq & 0xFFFF_FFFF)


def intact(seq: int, crc: object, body: object) -> bool:
    """Whether the medium gave back what was written. One changed byte would spoil the whole
    message that a record goes into, or tell something that nobody decided."""
    # `checksum` once more: this is done for every record on its way out.
    return isinstance(body, bytes) and crc32(body, seq & 0xFFFF_FFFF) == crc


def all_intact(seqs: Sequence[int], crcs: Sequence[object], bodies: Sequence[object]) -> bool:
    """`intact` of all. False where something is not even of its type: look at each then."""
    try:
        return tuple(map(crc32, bodies, seqs)) == crcs  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False


def kind_of(body: bytes) -> str:
    """The kind of an encoded record, without decoding it: the second field, after ``seq``."""
    return body[: body.find(b'"', body.find(b'"kind":"') + 8)].rpartition(b'"')[2].decode()


def encoded_again(record: dict[str, Any]) -> bytes:
    """The inverse of `decoded`."""
    return _encode(record)
