"""A block: rows of one input, as workers send them and the log keeps them.

A line of JSON (`Head`), then ``bytes`` bytes: rows, one JSON document a line. The checksum tells
a torn block from a whole one, so the log needs no journal beside it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from edgeagent.errors import EdgeAgentError

LONGEST_HEAD = 4096


class Head(Struct, frozen=True):
    """What a block holds."""

    input: int
    """Index of the job."""
    first: int
    """Number of its first sample."""
    rows: int
    end: bool
    """Nothing of this input follows."""
    bytes: int
    crc: int
    skipped: bool = False
    """The last row says why the input, or the rest of it, can't be used."""


class Block(Struct, frozen=True):
    head: Head
    payload: bytes

    def encoded(self) -> bytes:
        """As it stands in a log and in a pipe."""
        return msgspec.json.encode(self.head) + b"\n" + self.payload


def make(index: int, first: int, rows: list[bytes], *, end: bool, skipped: bool = False) -> Block:
    """A block of encoded rows. ``rows`` counts samples: the one about skipping is none."""
    payload = b"".join(row + b"\n" for row in rows)
    count = len(rows) - skipped
    head = Head(index, first, count, end, len(payload), zlib.crc32(payload), skipped)
    return Block(head, payload)


def refusal(name: str, problem: EdgeAgentError) -> bytes:
    """The row that says why an input, or the rest of it, can't be used."""
    told = {"skipped": str(problem), "input": name}
    if problem.remedy:
        told["remedy"] = problem.remedy
    return msgspec.json.encode(told)


class Torn(Exception):
    """What follows is no block."""


class Parser:
    """Blocks out of a stream of bytes, however it is cut."""

    def __init__(self) -> None:
        self._data = b""

    @property
    def rest(self) -> int:
        """Bytes that are not yet a block."""
        return len(self._data)

    def feed(self, data: bytes) -> Iterator[Block]:
        """The blocks that are complete now. Raises Torn."""
        data, at = self._data + data, 0
        try:
            while True:
                cut = data.find(b"\n", at, at + LONGEST_HEAD)
                if cut < 0:
                    if len(data) - at >= LONGEST_HEAD:
                        raise Torn("a head without an end")
                    return
                head = _head(data[at:cut])
                whole = cut + 1 + head.bytes
                if len(data) < whole:
                    return
                payload = data[cut + 1 : whole]
                if zlib.crc32(payload) != head.crc:
                    raise Torn("the checksum is wrong")
                at = whole
                yield Block(head, payload)
        finally:
            self._data = data[at:]


def _head(line: bytes) -> Head:
    try:
        return msgspec.json.decode(line, type=Head)
    except msgspec.DecodeError as error:
        raise Torn(str(error)) from error
