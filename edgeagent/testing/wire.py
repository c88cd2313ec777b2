"""Protocol Buffers without their library: enough to change an ONNX file.

Format: https://protobuf.dev/programming-guides/encoding/. A message is a list of fields as they
stand in the file, so what is not touched stays byte for byte as it was.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Union

Value = Union[int, bytes]
Field = tuple[int, int, Value]
"""Number, wire type, value (int for varints and fixed numbers, else bytes)."""

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def fields(data: bytes) -> list[Field]:
    """The fields of a message. Raises ValueError where it is none."""
    return list(_fields(data))


def message(content: Iterable[Field]) -> bytes:
    """The inverse of `fields`."""
    out = bytearray()
    for number, kind, value in content:
        out += _varint(number << 3 | kind)
        if isinstance(value, bytes):
            out += _varint(len(value)) + value
        elif kind == _VARINT:
            out += _varint(value)
        else:
            out += value.to_bytes(8 if kind == _EIGHT else 4, "little")
    return bytes(out)


def text(number: int, value: str) -> Field:
    return number, _BYTES, value.encode()


def block(number: int, value: bytes) -> Field:
    return number, _BYTES, value


def integer(number: int, value: int) -> Field:
    return number, _VARINT, value


def real(number: int, value: float) -> Field:
    return number, _FOUR, struct.unpack("<I", struct.pack("<f", value))[0]


def _fields(data: bytes) -> Iterator[Field]:
    at = 0
    while at < len(data):
        tag, at = _read(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _read(data, at)
            yield number, kind, value
        elif kind == _BYTES:
            size, at = _read(data, at)
            yield number, kind, data[at : at + size]
            at += size
        elif kind in (_EIGHT, _FOUR):
            size = 8 if kind == _EIGHT else 4
            yield number, kind, int.from_bytes(data[at : at + size], "little")
            at += size
        else:
            raise ValueError(f"no field of a message at byte {at}")


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("a message that ends too early")
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
