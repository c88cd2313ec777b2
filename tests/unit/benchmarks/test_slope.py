"""The slope of a soak's series: what is planted is found, and what is not is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.soak.slope import slope

SECONDS = np.arange(0, 4800, 40.0)
BLOCK, ROUNDS = 12, 200


def wandering(seed: int) -> np.ndarray:
    """Noise in which a sample is much like the one before (AR(1), 0.8)."""
    rng = np.random.default_rng(seed)
    noise, values = rng.normal(0, 0.3, len(SECONDS)), np.zeros(len(SECONDS))
    for at in range(1, len(SECONDS)):
        values[at] = 0.8 * values[at - 1] + noise[at]
    return 90 + values


@pytest.mark.parametrize("leak", [0.0, 2.0, -1.0])
def test_the_interval_holds_what_was_planted(leak: float) -> None:
    held = 0
    for seed in range(8):
        found = slope(SECONDS, wandering(seed) + leak * SECONDS / 3600, BLOCK, ROUNDS)
        held += found.low <= leak <= found.high
        assert found.high - found.low < 2.5, "and is narrow enough to be of use"
    assert held >= 7


def test_a_fault_does_not_move_it_a_step_that_stays_does() -> None:
    quiet = np.full(len(SECONDS), 40.0)
    spikes = quiet.copy()
    spikes[10::BLOCK] += 30
    assert slope(SECONDS, spikes, BLOCK, ROUNDS).per_hour == 0.0
    stairs = quiet + np.arange(len(SECONDS)) // BLOCK
    found = slope(SECONDS, stairs, BLOCK, ROUNDS)
    assert found.low > 5.0
    assert found.per_hour == pytest.approx(10 * 3600 / 4800, rel=0.1)


@settings(max_examples=10, deadline=None)
@given(st.floats(-5, 5), st.floats(-100, 100), st.integers(3, 40))
def test_a_line_is_known_exactly(per_hour: float, start: float, count: int) -> None:
    seconds = np.arange(count) * 10.0
    found = slope(seconds, start + per_hour * seconds / 3600, 6, 20)
    assert found.per_hour == pytest.approx(per_hour, abs=1e-6)
    assert found.low == pytest.approx(per_hour, abs=1e-6) == found.high
