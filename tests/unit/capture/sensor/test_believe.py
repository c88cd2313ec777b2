"""Calibration and plausibility of one channel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.sensor.believe import Meaning
from edgeagent.config.channels import Channel

NAN = math.nan


def meant(channel: Channel, *read: float, times: list[float] | None = None) -> list[float]:
    whens = np.array(times if times is not None else list(range(len(read))), float)
    return Meaning(channel)(whens, np.array(read, float)).tolist()


def test_points_then_scale_then_offset() -> None:
    channel = Channel(points=[(0, 0), (100, 50), (200, 200)], scale=2, offset=-1)
    assert meant(channel, 0, 50, 100, 150, 200) == [-1, 49, 99, 249, 399]


def test_the_last_piece_goes_on_on_either_side() -> None:
    channel = Channel(points=[(200, 200), (0, 0), (100, 50)])
    assert meant(channel, -10, 210) == [-5, 215]


def test_out_of_range_is_not_believed() -> None:
    assert meant(Channel(min=0, max=10), -1, 0, 10, 11) == pytest.approx(
        [NAN, 0, 10, NAN], nan_ok=True
    )


def test_a_spike_is_not_believed_and_a_new_level_is() -> None:
    channel = Channel(step=1)
    assert meant(channel, 0, 50, 0, 0.5) == pytest.approx([0, NAN, 0, 0.5], nan_ok=True)
    assert meant(channel, 0, 50, 50.5, 50, 50) == pytest.approx([0, NAN, NAN, 50, 50], nan_ok=True)
    assert meant(channel, 0, 50, -50, 50, -50) == pytest.approx(
        [0, NAN, NAN, NAN, NAN], nan_ok=True
    )


def test_a_stuck_value_is_no_measurement() -> None:
    channel = Channel(stuck="3 s")
    found = meant(channel, 1, 1, 1, 1, 1, 2, 2)
    assert found == pytest.approx([1, 1, 1, NAN, NAN, 2, 2], nan_ok=True)


def test_what_is_not_believed_is_counted_by_its_reason() -> None:
    its = Meaning(Channel(min=0, step=5))
    its(np.arange(4.0), np.array([-1.0, 1.0, 90.0, math.inf]))
    assert its.rejected == {"range": 1, "step": 1, "number": 1}
    assert its.last == 1.0


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30),
    st.integers(1, 30),
)
def test_division_changes_nothing_and_numbers_are_finite(read: list[float], size: int) -> None:
    channel = Channel(min=-1e30, step=1e6, stuck="2 s", scale=3.0)
    times, values = np.arange(len(read), dtype=float), np.array(read)
    whole = Meaning(channel)(times, values)
    parts = Meaning(channel)
    pieces = [parts(times[at : at + size], values[at : at + size])
              for at in range(0, len(read), size)]  # fmt: skip
    joined = np.concatenate(pieces)
    assert np.array_equal(whole, joined, equal_nan=True)
    assert not np.isinf(joined).any() and np.nanmax(np.abs(joined), initial=0) < 3.5e38
