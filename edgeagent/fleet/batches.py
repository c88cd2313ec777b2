"""A device's batch, read for the database: whatever arrives, nothing but InputError leaves.

All encodings of the contract (§2) are told by their first bytes: JSON or MessagePack, plain,
zlib or (where Python or the package ``zstandard`` knows it) zstd. Records are kept as the JSON
that came; only what the account and the columns need is read.
"""

from __future__ import annotations

import binascii
import importlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, Union

import msgspec

from edgeagent import clock
from edgeagent.errors import InputError
from edgeagent.fleet.account import BLOCK
from edgeagent.store.ranges import unpack
from edgeagent.sync.topics import is_id
from edgeagent.types import BlobRef

UNPACKED_MAX_BYTES = 8 * 1024 * 1024
"""What a batch may grow to: a device sends 64 KiB packed, a carried export 1 MiB unpacked."""
LARGEST_SEQ = 2**53 - 1
"""Beyond it JSON readers lose digits."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EPOCH = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECOND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_FRACTION = re.compile(r"\.[0-9]{3}Z")


class Row(NamedTuple):
    """One record for the table."""

    seq: int
    kind: str
    pipeline: str
    at: str
    """RFC 3339, UTC, milliseconds, valid; empty = unknown."""
    test: bool
    body: str
    """The record as JSON."""


class Gap(NamedTuple):
    """A told loss. ``epoch`` empty = of the batch's own; ``last`` None = its end is unknown."""

    seq: int
    epoch: str
    first: int
    last: int | None
    bits: int | None
    """Bit k = first + k; None = the whole range."""
    reason: str


class Copy(NamedTuple):
    """Record ``seq`` had the number ``old_seq`` in a former epoch."""

    seq: int
    epoch: str
    old_seq: int


class Ref(NamedTuple):
    """Record ``seq`` refers to evidence."""

    seq: int
    blob: BlobRef


class Lost(NamedTuple):
    """Evidence that will not come."""

    sha256: str
    reason: str


@dataclass(slots=True)
class Arrival:
    """A batch as read: seqs ascend, each once."""

    device: str
    epoch: str
    rows: list[Row] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    refs: list[Ref] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    refused: list[tuple[bytes, str]] = field(default_factory=list)
    """Records that can't be read, and why."""

    @property
    def seqs(self) -> list[int]:
        return [row.seq for row in self.rows]


class _Envelope(msgspec.Struct):
    device: str
    epoch: str
    records: list[msgspec.Raw]


class _Was(msgspec.Struct):
    epoch: str
    seq: int


class _Head(msgspec.Struct):
    """What is read of a record."""

    seq: int
    kind: str
    pipeline: str = ""
    at: str = ""
    test: bool = False
    blobs: list[BlobRef] = []
    was: Union[_Was, None] = None
    data: msgspec.Raw = msgspec.Raw(b"{}")
    epoch: str = ""
    first: int = msgspec.field(default=0, name="from")
    to: Union[int, None] = None
    reason: str = ""
    dropped: str = ""


class _Loss(msgspec.Struct):
    sha256: str
    reason: str = ""


_envelope = msgspec.json.Decoder(_Envelope).decode
_head = msgspec.json.Decoder(_Head).decode
_loss = msgspec.json.Decoder(_Loss).decode
_SPECIAL = frozenset({"gap", "blob"})
_READ_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError, TypeError)


def read(payload: bytes, device: str = "") -> Arrival:
    """Read one batch. ``device``: from whose topic it came; another's name in it is refused.

    Raises:
        InputError: nothing of it can be used.
    """
    try:
        text = unpacked(payload)
        text.decode("utf-8")  # Strings that are skipped are not checked otherwise.
        envelope = _envelope(text)
    except (*_READ_ERRORS, MemoryError) as error:
        raise InputError(f"the batch can't be read: {error}") from error
    if not is_id(envelope.device) or not _EPOCH.fullmatch(envelope.epoch):
        raise InputError("the batch names no usable device and epoch")
    if device and envelope.device != device:
        raise InputError(f"the batch of device {device} says that it is from {envelope.device}")
    arrival = Arrival(envelope.device, envelope.epoch)
    for raw in envelope.records:
        body = bytes(raw)
        try:
            _take(arrival, body, _head(raw))
        except (*_READ_ERRORS, InputError) as error:
            arrival.refused.append((body, str(error)))
    _sort(arrival)
    return arrival


def unpacked(payload: bytes) -> bytes:
    """The JSON in a payload. Raises InputError, and what msgspec raises."""
    if payload[:1] == b"\x78":
        payload = _inflated(payload)
    elif payload[:4] == b"\x28\xb5\x2f\xfd":
        payload = _unzstd(payload)
    if len(payload) > UNPACKED_MAX_BYTES:
        raise InputError(f"the batch is larger than {UNPACKED_MAX_BYTES} bytes")
    if payload[:1] == b"{":
        return payload
    return msgspec.json.encode(msgspec.msgpack.decode(payload))


def _inflated(payload: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(payload, UNPACKED_MAX_BYTES)
    except zlib.error as error:
        raise InputError(f"the batch can't be inflated: {error}") from error
    if not inflater.eof:
        raise InputError(f"the batch is cut short, or larger than {UNPACKED_MAX_BYTES} bytes")
    return text


def _unzstd(payload: bytes) -> bytes:
    for name, extract in (("compression.zstd", _by_stdlib), ("zstandard", _by_package)):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        try:
            return extract(module, payload)
        except module.ZstdError as error:
            raise InputError(f"the batch can't be read as zstd: {error}") from error
    raise InputError(
        "the batch is compressed with zstd, which is not supported here",
        remedy="Install the package zstandard, or use Python 3.14.",
    )


def _by_stdlib(module: Any, payload: bytes) -> bytes:
    reader = module.ZstdDecompressor()
    text: bytes = reader.decompress(payload, UNPACKED_MAX_BYTES)
    if not reader.eof:
        raise InputError(f"the batch is cut short, or larger than {UNPACKED_MAX_BYTES} bytes")
    return text


def _by_package(module: Any, payload: bytes) -> bytes:
    # A frame may announce any size: only as much as is allowed is ever asked for.
    with module.ZstdDecompressor(max_window_size=1 << 23).stream_reader(payload) as reader:
        text: bytes = reader.read(UNPACKED_MAX_BYTES + 1)
    return text


def _take(arrival: Arrival, body: bytes, head: _Head) -> None:
    """Raises InputError for a record that can't be accounted for."""
    seq = head.seq
    if not 0 < seq <= LARGEST_SEQ:
        raise InputError(f"seq {seq} is not a number that a record can have")
    row = Row(
        seq, _clean(head.kind), _clean(head.pipeline), time_of(head.at), head.test, body.decode()
    )
    if head.kind in _SPECIAL or head.blobs or head.was is not None:
        _take_special(arrival, head)
    arrival.rows.append(row)


def _take_special(arrival: Arrival, head: _Head) -> None:
    """What else a record tells: all of it, or InputError and nothing."""
    copy = _copy(head.seq, head.was, arrival.epoch) if head.was is not None else None
    gap = _gap(head) if head.kind == "gap" else None
    refs = [Ref(head.seq, _checked(blob)) for blob in head.blobs]
    lost = _loss(head.data) if head.kind == "blob" else None
    if copy is not None:
        arrival.copies.append(copy)
    if gap is not None:
        arrival.gaps.append(gap)
    if lost is not None and _SHA256.fullmatch(lost.sha256):
        arrival.lost.append(Lost(lost.sha256, _clean(lost.reason)))
    arrival.refs += refs


def _copy(seq: int, was: _Was, epoch: str) -> Copy | None:
    if not _EPOCH.fullmatch(was.epoch) or not 0 < was.seq <= LARGEST_SEQ:
        raise InputError("the record names no usable former number")
    return Copy(seq, was.epoch, was.seq) if was.epoch != epoch else None


def _gap(head: _Head) -> Gap | None:
    if head.epoch and not _EPOCH.fullmatch(head.epoch):
        raise InputError("the gap names an unusable epoch")
    if head.to is None:
        if not head.epoch:
            raise InputError("the gap has no end, but is of this epoch")
        return Gap(head.seq, head.epoch, max(1, head.first), None, None, _clean(head.reason))
    if not 0 < head.first <= head.to <= LARGEST_SEQ or head.to - head.first >= BLOCK:
        raise InputError(f"the gap covers {head.first} to {head.to}, which no gap can")
    bits: int | None = None
    if head.dropped:
        try:
            bits = unpack(binascii.a2b_base64(head.dropped))
        except binascii.Error as error:
            raise InputError(f"the gap's bitmap is not base64: {error}") from error
        bits &= (1 << (head.to - head.first + 1)) - 1
    return Gap(head.seq, head.epoch, head.first, head.to, bits, _clean(head.reason))


def _checked(blob: BlobRef) -> BlobRef:
    if not _SHA256.fullmatch(blob.sha256) or not 0 <= blob.bytes < 2**40:
        raise InputError("the record refers to evidence by something else than a sha256")
    return BlobRef(blob.sha256, blob.bytes, _clean(blob.type))


def _sort(arrival: Arrival) -> None:
    rows = arrival.rows
    if all(a.seq < b.seq for a, b in pairwise(rows)):
        return
    first: dict[int, Row] = {}
    for row in rows:
        first.setdefault(row.seq, row)
    arrival.rows = [first[seq] for seq in sorted(first)]


def _clean(text: str) -> str:
    """Text that every database takes."""
    return text.replace("\0", "\ufffd")[:1000] if "\0" in text or len(text) > 1000 else text


def time_of(text: str) -> str:
    """A time as it is compared in the database; empty for what is none."""
    if _good_second(text[:19]) and _FRACTION.fullmatch(text, 19):
        return text
    try:
        ns = clock.parse_rfc3339(text) if text else -1
        return clock.rfc3339(ns) if ns >= 0 else ""
    except (ValueError, OverflowError):
        return ""


@lru_cache(maxsize=4096)
def _good_second(prefix: str) -> bool:
    """Whether ``2026-11-24T18:29:49`` is a time. Records come in order: few are asked twice."""
    try:
        return bool(_SECOND.fullmatch(prefix)) and clock.parse_rfc3339(prefix + "Z") >= 0
    except (ValueError, OverflowError):
        return False


def total(arrivals: Sequence[Arrival]) -> int:
    """How many records."""
    return sum(len(arrival.rows) for arrival in arrivals)
