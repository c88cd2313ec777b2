"""Readings with times of their own on an even grid: laws that hold for all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.capture.sensor.align import SLACK_S, Align, Rows

METHODS = ("hold", "linear", "mean")
steps = st.lists(st.floats(0.001, 3.0), min_size=1, max_size=40)
rates = st.sampled_from([0.5, 1.0, 7.0, 50.0])


def everything(grid: Align, end: float) -> Rows:
    rows = grid.take(end)
    assert rows is not None
    return rows


def push(grid: Align, times: list[float], values: list[float], column: int = 0) -> None:
    grid.push([column], np.array(times, float), np.array(values, float)[:, None])


@settings(deadline=None)
@given(steps, rates, st.sampled_from(METHODS), st.data())
def test_rows_do_not_depend_on_how_readings_are_divided(
    gaps: list[float], rate: float, method: str, data: st.DataObject
) -> None:
    times = list(np.cumsum(gaps))
    values = [math.sin(3 * time) for time in times]
    end = times[-1] + 100
    whole = Align([None], rate, method, 50.0)  # type: ignore[arg-type]
    push(whole, times, values)
    expected = everything(whole, end)

    parts = Align([None], rate, method, 50.0)  # type: ignore[arg-type]
    rows = []
    place = 0
    while place < len(times):
        size = data.draw(st.integers(1, len(times) - place))
        push(parts, times[place : place + size], values[place : place + size])
        place += size
        found = parts.take(times[place - 1])
        rows += [found] if found is not None else []
    rows.append(everything(parts, end))
    assert np.array_equal(np.concatenate([its.values for its in rows]), expected.values)
    assert np.array_equal(np.concatenate([its.whole for its in rows]), expected.whole)
    assert rows[-1].time_s == expected.time_s


@settings(deadline=None)
@given(steps, rates, st.sampled_from(METHODS), st.floats(0.01, 5.0))
def test_rows_stay_within_what_was_read_and_are_numbers(
    gaps: list[float], rate: float, method: str, gap: float
) -> None:
    times = list(np.cumsum(gaps))
    values = [math.cos(5 * time) for time in times]
    grid = Align([None, -7.0], rate, method, gap)  # type: ignore[arg-type]
    push(grid, times, values)
    rows = everything(grid, times[-1] + 10 * gap + 20 / rate)
    assert np.isfinite(rows.values).all()
    kept = rows.values[rows.whole, 0]
    assert ((kept >= min(values) - 1e-6) & (kept <= max(values) + 1e-6)).all()
    assert (rows.values[:, 1] == -7.0).all(), "a channel without readings has its filling"


@settings(deadline=None)
@given(st.floats(-100, 100), st.floats(-50, 50), steps)
def test_a_line_stays_a_line(slope: float, start: float, gaps: list[float]) -> None:
    times = [0.0, *np.cumsum(gaps)]
    grid = Align([None], 10.0, "linear", 1e9)
    push(grid, times, [start + slope * time for time in times])
    rows = everything(grid, times[-1])
    expected = start + slope * np.arange(len(rows.values)) / 10
    assert rows.whole.all()
    assert np.allclose(rows.values[:, 0], expected, atol=1e-3, rtol=1e-5)


@given(st.lists(st.floats(-0.4, 0.4), min_size=5, max_size=50))
def test_jitter_neither_doubles_nor_loses_a_reading(jitter: list[float]) -> None:
    """Readings at the rate of the rows: one row each, whatever their jitter below half a row."""
    times = [number + off * (number > 0) for number, off in enumerate(jitter)]
    grid = Align([None], 1.0, "hold", 5.0)
    push(grid, times, list(map(float, range(len(times)))))
    rows = everything(grid, len(times) - 0.5 + SLACK_S)
    assert rows.values[:, 0].tolist() == list(map(float, range(len(times))))


@given(steps, st.integers(0, 39), st.floats(0.0, 5.0))
def test_time_that_goes_back_is_left_out_and_counted(
    gaps: list[float], place: int, back: float
) -> None:
    times = list(np.cumsum(gaps))
    place = min(place, len(times) - 1)
    straight = Align([None], 5.0, "hold", 1e9)
    push(straight, times, times)
    crooked = Align([None], 5.0, "hold", 1e9)
    push(crooked, times[: place + 1], times[: place + 1])
    push(crooked, [times[place] - back], [-1000.0])
    if times[place + 1 :]:
        push(crooked, times[place + 1 :], times[place + 1 :])
    end = times[-1] + 5
    assert np.array_equal(everything(crooked, end).values, everything(straight, end).values)
    assert crooked.late == 1


def test_mean_of_the_readings_since_the_last_row() -> None:
    grid = Align([None], 1.0, "mean", 5.0)
    times = [0.0, 0.6, 0.9, 1.4, 1.6, 2.0]
    push(grid, times, [0, 1, 2, 6, 10, 20])
    rows = everything(grid, 2.5 + SLACK_S)
    assert rows.values[:, 0].tolist() == [0.0, 3.0, 15.0]


def test_a_gap_is_missing_and_comes_back() -> None:
    grid = Align([None], 1.0, "hold", 2.0)
    push(grid, [0.0, 1.0, 6.0, 7.0], [0, 1, 6, 7])
    rows = everything(grid, 7.5 + SLACK_S)
    assert rows.whole.tolist() == [True, True, True, True, False, False, True, True]
    assert rows.values[rows.whole, 0].tolist() == [0, 1, 1, 1, 6, 7]


def test_no_line_is_drawn_over_a_gap() -> None:
    grid = Align([None], 1.0, "linear", 2.0)
    push(grid, [0.0, 1.0, 6.0], [0, 1, 6])
    rows = everything(grid, 6.0)
    assert rows.whole.tolist() == [True, True, False, False, False, False, True]


def test_a_dead_channel_holds_up_no_other() -> None:
    """The second one stops; what is missing is known, and with a filling rows go on."""
    grid = Align([None, 0.5], 10.0, "hold", 0.3)
    for number in range(30):
        push(grid, [number / 10], [1.0], 0)
        if number < 10:
            push(grid, [number / 10], [2.0], 1)
    rows = everything(grid, 3.0 + SLACK_S)
    assert rows.whole.all()
    assert rows.values[5].tolist() == [1.0, 2.0] and rows.values[-1].tolist() == [1.0, 0.5]
    assert set(grid.missing_for(3.0)) == {1}


def test_a_row_waits_for_no_slow_channel() -> None:
    grid = Align([None, None], 10.0, "hold", 20.0)
    push(grid, [0.0], [7.0], 1)
    push(grid, [0.0, 0.1, 0.2], [0, 1, 2], 0)
    assert len(everything(grid, 0.25 + SLACK_S + 0.001).values) == 3


def test_readings_without_a_value_are_none() -> None:
    grid = Align([None], 1.0, "hold", 2.0)
    push(grid, [0.0, 1.0, 2.0, 3.0, 4.0], [5, math.nan, math.nan, math.nan, 9])
    rows = everything(grid, 4.5 + SLACK_S)
    assert rows.whole.tolist() == [True, True, True, False, True]


def test_a_clock_that_leapt_does_not_take_the_memory() -> None:
    grid = Align([None], 1000.0, "hold", 1e12)
    push(grid, [0.0], [1.0])
    rows = everything(grid, 1e9)
    assert len(rows.values) <= 100_000 and rows.hole


@pytest.mark.parametrize("method", METHODS)
def test_rows_at_the_times_of_readings_are_the_readings(method: str) -> None:
    grid = Align([None], 4.0, method, 5.0)  # type: ignore[arg-type]
    times = [number / 4 for number in range(20)]
    push(grid, times, [number * number for number in range(20)])
    rows = everything(grid, 4.875 + SLACK_S)
    assert rows.values[:, 0].tolist() == [number * number for number in range(20)]
