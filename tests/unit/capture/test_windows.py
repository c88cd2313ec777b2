"""Cutting rows into windows, however they arrive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeagent.capture.windows import Cutter

Rows = NDArray[np.float32]


def rows(start: int, count: int, channels: int = 2) -> Rows:
    """Row n holds n in its first channel and −n in the others."""
    numbers = np.arange(start, start + count, dtype=np.float32)
    return np.stack([numbers] + [-numbers] * (channels - 1), axis=1)


pieces = st.lists(st.integers(0, 40), max_size=25)


@given(st.integers(1, 30), st.integers(1, 45), pieces)
def test_windows_do_not_depend_on_how_rows_arrive(length: int, hop: int, sizes: list[int]) -> None:
    cutter = Cutter(length, hop)
    at = 0
    windows: list[Rows] = []
    for size in sizes:
        windows += cutter.push(rows(at, size))
        at += size
    starts = range(0, at - length + 1, hop)
    assert len(windows) == len(starts)
    for start, window in zip(starts, windows, strict=True):
        assert window.shape == (length, 2)
        assert np.array_equal(window, rows(start, length))
    seen: set[int] = set()
    for window in windows:
        seen.update(int(value) for value in window[:, 0])
    cutter.break_off()
    assert cutter.unused == at - len(seen)


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=15),
)
def test_no_window_reaches_over_a_hole(
    length: int, hop: int, stretches: list[tuple[int, bool]]
) -> None:
    cutter = Cutter(length, hop)
    at = 0
    total = 0
    windows: list[Rows] = []
    for size, hole in stretches:
        windows += cutter.push(rows(at, size))
        at += size
        total += size
        if hole:
            cutter.break_off()
            at += 1000
    for window in windows:
        assert (np.diff(window[:, 0]) == 1).all()
    seen = {int(value) for window in windows for value in window[:, 0]}
    cutter.break_off()
    assert cutter.unused == total - len(seen)


def test_a_window_is_a_copy() -> None:
    cutter = Cutter(4, 2)
    data = rows(0, 8)
    first, second, third = cutter.push(data)
    data[:] = 99
    first[:] = 77
    assert second[0, 0] == 2
    assert third[0, 0] == 4


def test_padding_fills_with_zeros_once() -> None:
    cutter = Cutter(5)
    assert cutter.pad() is None
    cutter.push(rows(1, 3))
    padded = cutter.pad()
    assert padded is not None
    assert padded[:, 0].tolist() == [1, 2, 3, 0, 0]
    assert cutter.pad() is None
    assert cutter.unused == 0


@pytest.mark.parametrize(("length", "hop"), [(0, 1), (-1, 1), (5, -2)])
def test_nonsense_is_refused(length: int, hop: int) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Cutter(length, hop)
