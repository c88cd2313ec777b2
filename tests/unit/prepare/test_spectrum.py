"""The log-spectrum front end: calibrated, in the right band, the same for every batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeagent.prepare.spectrum import band_edges, log_spectrum

RATE = 8000.0
BANDS = 40


def spectrum(values: NDArray[np.float32], rate: float = RATE) -> NDArray[np.float32]:
    return log_spectrum(values, rate, bands=BANDS, fmin_hz=50, fmax_hz=4000, floor=1e-9)


def tone(hertz: float, length: int = 1024, size: float = 1.0) -> NDArray[np.float32]:
    t = np.arange(length) / RATE
    return (size * np.sin(2 * np.pi * hertz * t)).astype(np.float32)[:, None]


@given(st.integers(0, BANDS - 1))
def test_pure_tone_lands_in_its_band(band: int) -> None:
    edges = band_edges(BANDS, 50, 4000)
    features = spectrum(tone(float(np.sqrt(edges[band] * edges[band + 1])), 8192))
    assert features.argmax() == band


def test_white_noise_has_its_density_in_every_band() -> None:
    """Variance s² over half the rate is a density of s² / (rate / 2)."""
    values = np.random.default_rng(1).normal(0, 2.0, (65536, 1)).astype(np.float32)
    features = spectrum(values)
    assert features == pytest.approx(np.full(BANDS, np.log10(4.0 / 4000)), abs=0.2)
    assert features.mean() == pytest.approx(np.log10(4.0 / 4000), abs=0.03)


def test_power_of_a_tone_is_kept() -> None:
    """Density times width, summed over the bands, is the mean square: ½ for size 1."""
    edges = band_edges(BANDS, 50, 4000)
    density = 10.0 ** spectrum(tone(1000, 4096)).astype(np.float64) - 1e-9
    assert np.sum(density * np.diff(edges)) == pytest.approx(0.5, rel=0.01)


def test_ten_times_the_size_adds_two() -> None:
    noise = np.random.default_rng(2).normal(0, 1, (1024, 1)).astype(np.float32)
    assert spectrum(10 * noise) - spectrum(noise) == pytest.approx(np.full(BANDS, 2.0), abs=1e-3)


def test_gravity_does_not_matter() -> None:
    noise = np.random.default_rng(3).normal(0, 1, (1024, 1)).astype(np.float32)
    assert spectrum(noise + np.float32(9.81)) == pytest.approx(spectrum(noise), abs=1e-2)


def test_silence_is_the_floor() -> None:
    assert spectrum(np.zeros((1024, 1), np.float32)) == pytest.approx(np.full(BANDS, -9.0))


def test_bands_narrower_than_a_bin_are_filled() -> None:
    noise = np.random.default_rng(4).normal(0, 1, (128, 1)).astype(np.float32)
    assert spectrum(noise).min() > -8


def test_channels_follow_one_another() -> None:
    values = np.concatenate([tone(500), tone(2000), tone(3000)], axis=1)
    features = spectrum(values)
    assert features.shape == (3 * BANDS,)
    assert features.dtype == np.float32
    for channel in range(3):
        alone = spectrum(values[:, channel : channel + 1])
        assert features[channel * BANDS : (channel + 1) * BANDS] == pytest.approx(alone, abs=1e-4)


def test_normalisation_by_feature_and_by_number() -> None:
    values = tone(700)
    plain = spectrum(values)
    kw = {"bands": BANDS, "fmin_hz": 50.0, "fmax_hz": 4000.0, "floor": 1e-9}
    both = log_spectrum(values, RATE, mean=plain.tolist(), std=[2.0] * BANDS, **kw)  # type: ignore[arg-type]
    assert both == pytest.approx(np.zeros(BANDS), abs=1e-6)
    one = log_spectrum(values, RATE, mean=-3.0, std=0.5, **kw)  # type: ignore[arg-type]
    assert one == pytest.approx((plain + 3.0) / 0.5, abs=1e-5)


def test_input_is_left_alone_and_the_answer_repeats() -> None:
    values = tone(700)
    values.flags.writeable = False
    assert np.array_equal(spectrum(values), spectrum(values))


@pytest.mark.parametrize(
    ("bands", "low", "high"), [(0, 50, 4000), (8, 0, 4000), (8, 500, 400), (8, 50, 4001)]
)
def test_bands_that_do_not_fit_are_told(bands: int, low: float, high: float) -> None:
    with pytest.raises(ValueError, match="do not fit a rate of 8000 Hz"):
        log_spectrum(tone(100), RATE, bands=bands, fmin_hz=low, fmax_hz=high)


def test_a_window_needs_samples() -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        spectrum(np.zeros((1, 1), np.float32))
