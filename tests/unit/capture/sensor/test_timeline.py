"""A sender's clock as ours."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.sensor.timeline import Timeline


@given(
    st.lists(st.tuples(st.floats(-20, 20), st.floats(0, 2)), min_size=1, max_size=50),
    st.floats(-1e9, 1e9),
)
def test_times_ascend_whatever_the_sender_says(
    steps: list[tuple[float, float]], start: float
) -> None:
    line, sent, arrived, last = Timeline(), start, 1000.0, float("-inf")
    for sent_step, arrived_step in steps:
        sent += sent_step
        arrived += arrived_step
        (when,) = line([sent], arrived)
        assert when > last
        assert when <= max(arrived, last + 1e-6) + 1e-9, "never after it came, but for the order"
        last = when


@given(st.lists(st.floats(0, 0.5), min_size=2, max_size=100))
def test_jitter_of_the_way_does_not_reach_the_rows(delays: list[float]) -> None:
    """Rows sent every 10 ms stand 10 ms apart as soon as one has travelled without delay."""
    line = Timeline()
    line([5.0], 100.0)
    came, found = 100.0, []
    for number, delay in enumerate(delays, 1):
        came = max(came, 100 + number / 100 + delay)
        found += line([5 + number / 100], came)
    assert np.allclose(np.diff(found), 0.01, atol=1e-6)


def test_a_sender_that_restarts_gets_a_new_offset() -> None:
    line = Timeline()
    for number in range(10):
        line([1000.0 + number], 50.0 + number)
    assert line([0.0], 61.0) == [61.0]
    assert line([1.0], 62.0) == [62.0]
    assert line.restarts == 1


def test_a_clock_that_drifts_is_followed() -> None:
    line = Timeline()
    # Ten parts in a thousand slow, for ten minutes: six seconds.
    late = [100 + number - line([number * 0.99], 100.0 + number)[0] for number in range(600)]
    assert max(late) < 0.7


def test_lines_that_arrive_together_keep_their_distances() -> None:
    line = Timeline()
    assert line([7.0, 7.5, 9.0], 100.0) == [98.0, 98.5, 100.0]
    assert line([9.5, 1.0, 1.25], 101.0) == [100.5, 100.75, 101.0], "restarted in between"
