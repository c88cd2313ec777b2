"""Ranges behave as sets of numbers, and the rows that they report rebuild them."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.store.ranges import (
    Ranges,
    bitmap_text,
    bits_of,
    numbers_of,
    pack,
    runs,
    unpack,
)

_numbers = st.integers(1, 60)
_steps = st.lists(st.tuples(st.sampled_from(["add", "remove"]), _numbers, st.integers(0, 12)))


def _members(ranges: Ranges) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(_steps)
def test_like_a_set(steps: list[tuple[str, int, int]]) -> None:
    ranges, expected, stored = Ranges(tracked=True), set[int](), dict[int, int]()
    for verb, first, length in steps:
        span = set(range(first, first + length + 1))
        getattr(ranges, verb)(first, first + length)
        expected = expected | span if verb == "add" else expected - span
        assert _members(ranges) == expected
        for low, high in ranges.take_changes().items():
            if high is None:
                stored.pop(low, None)
            else:
                stored[low] = high
        assert sorted(stored.items()) == list(ranges)
    pairs = list(ranges)
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(pairs))
    assert ranges.count == len(expected)
    assert ranges.last == max(expected, default=0)
    for number in range(1, 75):
        assert (number in ranges) == (number in expected)
        assert ranges.before(number) == max((last for _, last in pairs if last < number), default=0)


@given(_steps, _numbers, st.integers(0, 30))
def test_within_and_absent(steps: list[tuple[str, int, int]], first: int, length: int) -> None:
    ranges = Ranges()
    for verb, at, size in steps:
        getattr(ranges, verb)(at, at + size)
    window = set(range(first, first + length + 1))
    inside = {n for low, high in ranges.within(first, first + length) for n in range(low, high + 1)}
    outside = {
        n for low, high in ranges.absent(first, first + length) for n in range(low, high + 1)
    }
    assert inside == window & _members(ranges)
    assert outside == window - _members(ranges)


@given(st.sets(st.integers(8192, 8192 + 4095)))
def test_bitmaps(numbers: set[int]) -> None:
    bits = bits_of(numbers, 8192)
    assert list(numbers_of(bits, 8192)) == sorted(numbers)
    assert unpack(pack(bits)) == bits
    assert {n for low, high in runs(sorted(numbers)) for n in range(low, high + 1)} == numbers


def test_bitmap_is_least_significant_bit_first() -> None:
    assert bitmap_text(bits_of([0, 1, 9], 0)) == "AwI="


def test_an_untracked_set_keeps_no_changes() -> None:
    ranges = Ranges()
    ranges.add(1, 3)
    assert ranges.take_changes() == {}
