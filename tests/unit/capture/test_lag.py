"""How late a picture is, by the stream's own clock or by how pictures come."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.lag import LONGEST_S, STALE_S, Lag


def test_a_steady_stream_is_never_late() -> None:
    lag = Lag()
    for number in range(200):
        assert lag.behind(100 + number / 10 + 0.02 * (number % 3), number / 10) < 0.05


def test_after_a_pause_the_backlog_is_as_old_as_it_is() -> None:
    lag = Lag()
    for number in range(50):
        lag.behind(number / 10, number / 10)
    # Stopped for four seconds; then all that came meanwhile is read at once.
    lates = [lag.behind(9.0 + 0.002 * turn, (50 + turn) / 10) for turn in range(40)]
    assert lates[0] > 3.9
    assert lates[-1] < 0.2
    assert all(earlier > later for earlier, later in itertools.pairwise(lates))
    stale = [lag.stale(9.0, late) for late in lates]
    assert sum(stale) in range(33, 37)


def test_without_stamps_a_burst_after_a_pause_is_old() -> None:
    lag = Lag()
    for number in range(50):
        assert lag.behind(number / 10, None) == 0.0
    burst = [lag.behind(9.0 + 0.002 * turn, None) for turn in range(20)]
    assert min(burst) > STALE_S
    assert lag.behind(9.14, None) == 0.0


def test_a_slow_camera_without_stamps_is_not_late() -> None:
    lag = Lag()
    for number in range(20):
        assert lag.behind(10.0 * number, None) == 0.0


def test_stamps_that_begin_anew_or_jump_are_no_lateness() -> None:
    lag = Lag()
    for number in range(6):
        lag.behind(0.001 * number, number / 10)
    for number in range(50):
        assert lag.behind(0.1 + number / 10, number / 10) < 0.05, "they began at zero again"
    assert lag.behind(5.2, 90_000.0) < 0.05
    assert lag.behind(5.3, 90_000.1) < 0.05


def test_a_stream_that_stays_late_is_taken_as_it_is_in_the_end() -> None:
    lag = Lag()
    for number in range(50):
        lag.behind(number / 10, number / 10)
    taken = None
    for number in range(50, 150):
        now = 2.0 + number / 10
        if not lag.stale(now, lag.behind(now, number / 10)):
            taken = number / 10 - 5.0
            break
    assert taken is not None
    assert taken <= LONGEST_S + 0.2


def test_a_clock_that_is_a_little_wrong_stays_unnoticed() -> None:
    lag = Lag()
    for number in range(20_000):
        assert lag.behind(number / 10 * 1.0002, number / 10) < 0.2


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(-5, 30) | st.none()), max_size=80))
def test_no_stream_makes_it_wait_for_ever(steps: list[tuple[float, float | None]]) -> None:
    lag = Lag()
    now, since = 0.0, None
    for step, stamp in steps:
        now += step
        late = lag.behind(now, stamp)
        assert late >= 0.0
        if not lag.stale(now, late):
            since = None
            continue
        since = now if since is None else since
        assert now - since <= LONGEST_S
