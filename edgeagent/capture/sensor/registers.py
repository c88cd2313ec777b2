"""Registers of Modbus as numbers: which to read together, and what their bytes mean.

Source: MODBUS Application Protocol Specification V1.1b3: a register is 16 bits, big-endian; at most
125 registers or 2000 bits a request. How registers of wider types follow one another is left to
makers, hence ``order``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from edgeagent.config.channels import ModbusChannel

_TYPES = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float32": "f", "int64": "q",
    "uint64": "Q", "float64": "d",
}  # fmt: skip
_BITS = ("coil", "discrete")
_MOST = 120
"""Registers (or bits) a request; the limit of the specification is 125."""


class Request(Struct, frozen=True):
    """Neighbours that are read at once."""

    unit: int
    table: str
    address: int
    count: int
    channels: tuple[int, ...]
    """Numbers of the channels that lie in it."""


def width(channel: ModbusChannel) -> int:
    """Registers (or bits) of a channel."""
    if channel.table in _BITS or channel.type == "bool":
        return 1
    return struct.calcsize(_TYPES[channel.type]) // 2


def plan(channels: Sequence[ModbusChannel], unit: int, *, apart: bool = False) -> list[Request]:
    """The fewest requests that read all channels, without a register that nobody asked for: many
    devices refuse a whole request because of one. ``apart`` = each channel for itself."""

    def place(number: int) -> tuple[int, str, int]:
        its = channels[number]
        return (unit if its.unit_id is None else its.unit_id, its.table, its.address)

    requests: list[Request] = []
    for number in sorted(range(len(channels)), key=place):
        its, (of, table, address) = channels[number], place(number)
        end = address + width(its)
        last = requests[-1] if requests else None
        if (
            last is not None
            and not apart
            and (last.unit, last.table) == (of, table)
            and address <= last.address + last.count
            and end - last.address <= _MOST
        ):
            count = max(last.count, end - last.address)
            requests[-1] = Request(of, table, last.address, count, (*last.channels, number))
        else:
            requests.append(Request(of, table, address, end - address, (number,)))
    return requests


def decode(channel: ModbusChannel, request: Request, values: Sequence[int | bool]) -> float:
    """The number of a channel within an answer. Raises ValueError where the answer is short."""
    start = channel.address - request.address
    part = values[start : start + width(channel)]
    if len(part) < width(channel):
        raise ValueError(f"the answer has {len(values)} values instead of {request.count}")
    if channel.table in _BITS or channel.type == "bool":
        return float(bool(part[0]))
    swapped = "<H" if channel.order in ("BADC", "DCBA") else ">H"
    backwards = channel.order in ("CDAB", "DCBA")
    ordered = reversed(part) if backwards else part
    data = b"".join(struct.pack(swapped, int(value) & 0xFFFF) for value in ordered)
    return float(struct.unpack(">" + _TYPES[channel.type], data)[0])
