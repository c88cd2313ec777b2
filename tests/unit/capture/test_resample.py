"""Changing rates: exact where it can be, free of folded frequencies, without a seam."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeagent.capture.resample import Interpolation, Polyphase

RATES = [(44100, 16000), (48000, 16000), (8000, 16000), (1000, 8000), (22050, 16000), (100, 99)]


def sine(hz: float, rate: float, count: int, channels: int = 1) -> NDArray[np.float32]:
    wave = np.sin(2 * np.pi * hz * np.arange(count) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


@pytest.mark.parametrize(("rate", "wanted"), RATES)
def test_a_tone_stays_the_same_tone_without_delay(rate: int, wanted: int) -> None:
    hz = 0.31 * min(rate, wanted) / 2
    count = 4 * rate if rate < 2000 else rate
    resampler = Polyphase(rate, wanted)
    out = np.concatenate([resampler.push(sine(hz, rate, count)), resampler.finish()])
    assert len(out) == -(-count * wanted // rate)
    expected = sine(hz, wanted, len(out))
    edge = 60 * max(1, wanted // rate)
    error = np.abs(out - expected)[edge:-edge]
    assert error.max() < 1e-3


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 16000), (48000, 16000), (1000, 100)])
def test_what_can_not_be_told_does_not_fold(rate: int, wanted: int) -> None:
    """A tone above the new Nyquist limit is gone, not turned into another one."""
    hz = 0.5 * wanted * 1.25
    out = Polyphase(rate, wanted).push(sine(hz, rate, max(2 * rate, 10000)))
    assert len(out) > 400
    assert np.abs(out[100:-100]).max() < 1e-3


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(RATES),
    st.lists(st.integers(0, 700), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_pieces_join_without_a_seam(
    rates: tuple[int, int], sizes: list[int], channels: int
) -> None:
    total = sum(sizes)
    noise = np.random.default_rng(total).standard_normal((total, channels)).astype(np.float32)
    whole = Polyphase(*rates)
    at_once = np.concatenate([whole.push(noise), whole.finish()])
    piecewise = Polyphase(*rates)
    parts = []
    at = 0
    for size in sizes:
        parts.append(piecewise.push(noise[at : at + size]))
        at += size
    joined = np.concatenate([*parts, piecewise.finish()])
    assert joined.shape == at_once.shape
    np.testing.assert_allclose(joined, at_once, atol=1e-5)


def test_a_constant_stays_that_constant() -> None:
    out = Polyphase(44100, 16000).push(np.full((5000, 2), 0.5, np.float32))
    assert np.abs(out[60:] - 0.5).max() < 1e-3


def test_nothing_in_nothing_out() -> None:
    assert len(Polyphase(44100, 16000).finish()) == 0


@given(st.lists(st.floats(0.01, 0.4), min_size=2, max_size=40), st.floats(2.0, 50.0))
def test_interpolation_follows_a_straight_line(steps: list[float], rate: float) -> None:
    """On a line, every grid point lies on the line, wherever rows were taken."""
    grid = Interpolation(rate, most_gap_s=0.5)
    time_s = 0.0
    out: list[float] = []
    for step in steps:
        hole, rows = grid.push(time_s, np.array([3.0 * time_s + 1.0], np.float32))
        assert not hole
        out += rows[:, 0].tolist()
        time_s += step
    last = time_s - steps[-1]
    assert len(out) == int(np.floor(last * rate + 1e-6)) + 1
    expected = 3.0 * np.arange(len(out)) / rate + 1.0
    np.testing.assert_allclose(out, expected, atol=1e-3)


def test_no_line_is_drawn_over_a_hole() -> None:
    grid = Interpolation(10.0, most_gap_s=0.5)
    row = np.array([1.0], np.float32)
    assert grid.push(0.0, row)[0] is False
    assert grid.push(0.2, row)[0] is False
    hole, rows = grid.push(5.0, row)
    assert hole
    assert len(rows) == 1
    grid.break_off()
    hole, rows = grid.push(5.1, row)
    assert not hole
    assert len(rows) == 1
