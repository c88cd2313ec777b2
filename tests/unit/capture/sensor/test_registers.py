"""Registers as numbers: types, orders, and which are read together."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.sensor.registers import Request, decode, plan
from edgeagent.config.channels import ModbusChannel

ORDERS = {"ABCD": (0, 1, 2, 3), "CDAB": (2, 3, 0, 1), "BADC": (1, 0, 3, 2), "DCBA": (3, 2, 1, 0)}


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def read(channel: ModbusChannel, values: list[Any]) -> float:
    return decode(channel, Request(1, channel.table, channel.address, len(values), (0,)), values)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(sorted(ORDERS)))
def test_floats_in_every_order(value: float, order: Any) -> None:
    plain = struct.pack(">f", value)
    sent = bytes(plain[place] for place in ORDERS[order])
    assert read(ModbusChannel(address=0, type="float32", order=order), words(sent)) == value


@given(st.integers(-(2**31), 2**31 - 1), st.sampled_from(sorted(ORDERS)))
def test_integers_in_every_order(value: int, order: Any) -> None:
    plain = struct.pack(">i", value)
    sent = bytes(plain[place] for place in ORDERS[order])
    assert read(ModbusChannel(address=5, type="int32", order=order), words(sent)) == value


@pytest.mark.parametrize(
    ("kind", "registers", "value"),
    [
        ("int16", [0xFFFE], -2), ("uint16", [0xFFFE], 65534), ("uint32", [1, 0], 65536),
        ("int64", [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF], -1),
        ("float64", [0x4009, 0x21FB, 0x5444, 0x2D18], 3.141592653589793), ("bool", [7], 1),
    ],
)  # fmt: skip
def test_types(kind: Any, registers: list[int], value: float) -> None:
    assert read(ModbusChannel(address=0, type=kind), registers) == value


def test_sixty_four_bits_backwards() -> None:
    its = ModbusChannel(address=0, type="uint64", order="CDAB")
    assert read(its, [4, 3, 2, 1]) == 0x0001_0002_0003_0004


def test_a_short_answer_is_told() -> None:
    with pytest.raises(ValueError, match="1 values instead of"):
        decode(ModbusChannel(address=0, type="float32"), Request(1, "holding", 0, 2, (0,)), [1])


def test_neighbours_are_read_together_and_gaps_are_not() -> None:
    channels = [
        ModbusChannel(address=10), ModbusChannel(address=11, type="float32"),
        ModbusChannel(address=20), ModbusChannel(address=10, table="input"),
        ModbusChannel(address=13, unit_id=2),
    ]  # fmt: skip
    assert plan(channels, 1) == [
        Request(1, "holding", 10, 3, (0, 1)), Request(1, "holding", 20, 1, (2,)),
        Request(1, "input", 10, 1, (3,)), Request(2, "holding", 13, 1, (4,)),
    ]  # fmt: skip
    assert len(plan(channels, 1, apart=True)) == 5


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60))
def test_every_plan_covers_all_and_keeps_the_limit(addresses: list[int]) -> None:
    channels = [ModbusChannel(address=its, type="float32") for its in addresses]
    requests = plan(channels, 1)
    assert sorted(number for its in requests for number in its.channels) == [*range(len(channels))]
    for request in requests:
        assert request.count <= 125
        asked = range(request.address, request.address + request.count)
        for number in request.channels:
            assert {addresses[number], addresses[number] + 1} <= set(asked)
        starts = [addresses[number] for number in request.channels]
        used = {at + more for at in starts for more in (0, 1)}
        assert set(asked) == used, "no register that nobody asked for"
