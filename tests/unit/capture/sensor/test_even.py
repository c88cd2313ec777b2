"""Evenly spaced rows: the same whatever the bursts, filtered to other rates, holes kept."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.capture.sensor.even import Even


def push(grid: Even, rows: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    if len(rows):
        grid.push([*range(rows.shape[1])], np.arange(len(rows), dtype=float) + 1, rows)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 80), min_size=2, max_size=8), st.sampled_from([50.0, 80.0, 125.0]))
def test_division_into_bursts_changes_nothing(sizes: list[int], wanted: float) -> None:
    rows = np.sin(np.arange(sum(sizes))[:, None] / np.array([7.0, 3.0]))
    whole = Even([None, None], 100.0, wanted, None)
    push(whole, rows)
    expected = whole.take(0.0)
    parts, found, place = Even([None, None], 100.0, wanted, None), [], 0
    for size in sizes:
        push(parts, rows[place : place + size])
        place += size
        its = parts.take(0.0)
        found += [its.values] if its is not None else []
    if expected is None:
        assert not found
        return
    assert np.allclose(np.concatenate(found), expected.values, atol=1e-5)


def test_a_tone_keeps_its_height_at_another_rate() -> None:
    grid = Even([None], 1000.0, 8000.0, None)
    push(grid, np.sin(2 * np.pi * 50 * np.arange(4000) / 1000)[:, None])
    rows = grid.take(0.0)
    assert rows is not None
    spectrum = np.abs(np.fft.rfft(rows.values[4000:12000, 0]))
    assert int(spectrum.argmax()) == 50  # 8000 rows at 8 kHz: one bin a hertz


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 5))
def test_a_value_is_held_so_long_and_no_longer(there: list[bool], most: int) -> None:
    rows = np.array([[float(number) if its else math.nan] for number, its in enumerate(there)])
    grid = Even([None], 10.0, 10.0, most / 10)
    for row in rows:
        push(grid, row[None, :])
    found = grid.take(0.0)
    assert found is not None and np.isfinite(found.values).all()
    last, missed = None, 0
    for number, its in enumerate(there):
        last, missed = (number, 0) if its else (last, missed + 1)
        assert bool(found.whole[number]) == (last is not None and missed <= most)
        if found.whole[number]:
            assert found.values[number, 0] == last


def test_a_filling_stands_where_it_is_missing() -> None:
    grid = Even([-1.0], 10.0, 10.0, 0.1)
    push(grid, np.array([[1.0], [math.nan], [math.nan], [4.0]]))
    rows = grid.take(0.0)
    assert rows is not None and rows.whole.all() and rows.values[:, 0].tolist() == [1, 1, -1, 4]


def test_a_hole_is_told_with_the_next_rows() -> None:
    grid = Even([None], 10.0, 10.0, None)
    push(grid, np.ones((3, 1)))
    grid.break_off()
    push(grid, np.ones((2, 1)))
    rows = grid.take(0.0)
    assert rows is not None and rows.hole and len(rows.values) == 2


def test_silence_is_missing_channels() -> None:
    grid = Even([None, None], 10.0, 10.0, 0.5)
    push(grid, np.ones((3, 2)))  # the last one at 3.0
    assert not grid.missing_for(3.2)
    assert set(grid.missing_for(9.0)) == {0, 1}
