"""Log spectrum of a sensor window in frequency bands: the front end for machine sounds.

The same function prepares training data and runs on the device, so both see the same numbers.
For each channel of a window x of N samples at rate R, with Hann window w and bin width R / N:

    P[k] = 2 · |rfft((x − mean(x)) · w)[k]|² / (R · Σ w²)         power density, unit²/Hz
    D[b] = Σ_k P[k] · overlap(bin k, band b) / width of band b     mean density of the band
    y[b] = log10(D[b] + floor)                                     then (y − mean) / std

Bin k stands for the frequencies (k ± ½) · R / N. Band edges are spaced geometrically from
``fmin_hz`` to ``fmax_hz``; a band narrower than a bin takes that bin's density, so no band is
ever empty. The mean is taken off because gravity and offsets would leak into the low bands.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float32]


def log_spectrum(
    values: Floats,
    rate_hz: float,
    *,
    bands: int,
    fmin_hz: float,
    fmax_hz: float,
    floor: float = 1e-7,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
) -> Floats:
    """Features of one window, float32 (channels × bands,): all bands of channel 0 first.

    Args:
        values: (length, channels) in the sensor's unit.
        rate_hz: samples per second.
        bands: number of bands per channel.
        fmin_hz: lower edge of the first band, above 0.
        fmax_hz: upper edge of the last band, at most half the rate.
        floor: density in unit²/Hz below which everything looks the same.
        mean, std: normalisation per feature, or one number for all; absent = none.

    Raises:
        ValueError: the bands do not fit the rate, or the window is empty.
    """
    length = values.shape[0]
    window, weights = _plan(length, float(rate_hz), bands, float(fmin_hz), float(fmax_hz))
    still = (values - values.mean(axis=0)).T * window
    lines = np.fft.rfft(still, axis=1)
    power = lines.real**2 + lines.imag**2
    features = np.log10(power.astype(np.float32, copy=False) @ weights + np.float32(floor)).ravel()
    if mean is not None:
        features = features - np.asarray(mean, np.float32)
    if std is not None:
        features = features / np.asarray(std, np.float32)
    return np.asarray(features, np.float32)


def band_edges(bands: int, fmin_hz: float, fmax_hz: float) -> NDArray[np.float64]:
    """The ``bands + 1`` edges in Hz."""
    return np.asarray(np.geomspace(fmin_hz, fmax_hz, bands + 1), np.float64)


@lru_cache(maxsize=16)
def _plan(
    length: int, rate_hz: float, bands: int, fmin_hz: float, fmax_hz: float
) -> tuple[Floats, Floats]:
    """Hann window (length,) and the weights (bins, bands) that turn |rfft|² into density."""
    if length < 2:
        raise ValueError(f"a spectrum needs at least 2 samples, not {length}")
    if bands < 1 or not 0 < fmin_hz < fmax_hz <= rate_hz / 2:
        raise ValueError(
            f"log-spectrum: {bands} bands from {fmin_hz:g} to {fmax_hz:g} Hz do not fit a rate of "
            f"{rate_hz:g} Hz (needs 0 < fmin_hz < fmax_hz <= {rate_hz / 2:g})"
        )
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    edges = band_edges(bands, fmin_hz, fmax_hz)
    step = rate_hz / length
    centres = np.arange(length // 2 + 1) * step
    low = np.maximum(centres[:, None] - step / 2, edges[None, :-1])
    high = np.minimum(centres[:, None] + step / 2, edges[None, 1:])
    share = np.clip(high - low, 0.0, None) / np.diff(edges)
    weights = share * 2.0 / (rate_hz * np.sum(window**2))
    return window.astype(np.float32), weights.astype(np.float32)
