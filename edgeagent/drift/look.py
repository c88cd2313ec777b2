"""What is measured of a sample: a few numbers by which a person would say that it looks or sounds
otherwise. Seldom, so that it costs a pipeline next to nothing; no OpenCV.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.drift.outputs import Features
from edgeagent.types import Frame, Joint, Sample, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRID = 48
"""Rows and columns of a picture of which brightness is taken."""
_LINES = 16
"""Rows of which sharpness is taken, at the picture's own size."""
_CHANNELS = 8
"""Channels that are looked at, at most."""
_PIECE, _PIECES = 512, 2
"""Values of a piece of sound of which the spectrum is taken, and pieces of one window."""
_SOUND_HZ = 4000.0
"""One channel at this rate is sound."""
_LOW_HZ = 300.0


def look(given: Sample | Joint) -> Features:
    """Name of a feature → its value, of a sample or of all samples of a joint one.

    Pictures: ``brightness`` and ``contrast`` (mean and spread of grey, 0 … 255), ``colour`` (mean
    distance of the channels), ``sharpness`` (mean step from pixel to pixel, as a share of the
    spread). Sound: ``loudness`` (dB below full scale), ``pitch`` (centre of the spectrum, Hz),
    ``hum`` (share of the power below 300 Hz). Other windows, for each channel: ``mean``,
    ``spread`` (standard deviation), ``range``, ``rhythm`` (centre of the spectrum, Hz).
    """
    if isinstance(given, Joint):
        found: Features = {}
        for name, its in given.parts.items():
            found.update({f"{name}: {feature}": value for feature, value in look(its).items()})
        return found
    if isinstance(given, Frame):
        return _picture(given.pixels)
    if len(given.channels) == 1 and given.rate_hz >= _SOUND_HZ:
        return _sound(given)
    return _values(given)


def form(given: Sample | Joint) -> str:
    """What values can be compared with: samples of another size or rate have other features."""
    if isinstance(given, Joint):
        return " ".join(f"{name}={form(its)}" for name, its in given.parts.items())
    if isinstance(given, Frame):
        height, width = given.pixels.shape[:2]
        return f"{width}x{height}"
    return f"{given.rate_hz:g} Hz"


def of_form(feature: str) -> bool:
    """Whether a feature depends on the form of the samples."""
    return feature.rpartition(": ")[2].rpartition(" ")[2] in ("sharpness", "rhythm", "pitch")


def _picture(pixels: NDArray[np.uint8]) -> Features:
    height, width = pixels.shape[:2]
    few = pixels[:: max(1, height // _GRID), :: max(1, width // _GRID)]
    grey: NDArray[Any] = few if few.ndim == 2 else few.mean(axis=2, dtype=np.float32)
    found = {"brightness": float(grey.mean(dtype=np.float32)),
             "contrast": float(grey.std(dtype=np.float32))}  # fmt: skip
    if few.ndim == 3:
        found["colour"] = float((few.max(axis=2) - few.min(axis=2)).mean(dtype=np.float32))
    step = max(1, height // _LINES)
    lines = pixels[step // 2 :: step]
    lines = lines if lines.ndim == 2 else lines[..., 1]
    if width > 1:
        steps = np.abs(np.diff(lines.astype(np.int16), axis=1)).mean(dtype=np.float32)
        found["sharpness"] = float(steps / (lines.std(dtype=np.float32) + 1.0))
    return found


def _sound(window: Window) -> Features:
    values = window.values[:, 0]
    power = float(np.dot(values, values)) / max(1, len(values))
    found = {"loudness": 10.0 * math.log10(power + 1e-12)}
    if len(values) >= _PIECE:
        places, taper, low = _cut(len(values), window.rate_hz)
        spectrum = np.fft.rfft(values[places] * taper).ravel()
        bands = (spectrum.real**2 + spectrum.imag**2) @ low
        found |= _bands(*bands.tolist())
    return found


def _bands(total: float, centre: float, low: float) -> Features:
    """Of silence there is neither."""
    return {"pitch": centre / total, "hum": low / total} if total > 1e-9 else {}


@lru_cache(maxsize=4)
def _cut(length: int, rate_hz: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Places of the pieces in a window, their taper, and what sums up their spectra: all but the
    constant part, that by its frequency, that below `_LOW_HZ`."""
    first = np.linspace(0, length - _PIECE, _PIECES).astype(np.intp)
    places = first[:, None] + np.arange(_PIECE)
    hertz = np.arange(_PIECE // 2 + 1) * (rate_hz / _PIECE)
    some = (hertz > 0).astype(np.float64)
    sums = np.stack([some, hertz, some * (hertz <= _LOW_HZ)], axis=1)
    return places, np.hanning(_PIECE).astype(np.float32), np.tile(sums, (_PIECES, 1))


def _values(window: Window) -> Features:
    values = window.values[:, :_CHANNELS]
    found: Features = {}
    if not len(values):
        return found
    mean, spread = values.mean(axis=0), values.std(axis=0)
    span = values.max(axis=0) - values.min(axis=0)
    rhythm = _rhythm(values - mean, window.rate_hz)
    for place in range(values.shape[1]):
        name = window.channels[place]
        found[f"{name} mean"] = float(mean[place])
        found[f"{name} spread"] = float(spread[place])
        found[f"{name} range"] = float(span[place])
        if rhythm is not None and spread[place] > 0:
            found[f"{name} rhythm"] = float(rhythm[place])
    return found


def _rhythm(values: NDArray[Any], rate_hz: float) -> NDArray[Any] | None:
    """Centre of each channel's spectrum in Hz; None where there are too few values for one."""
    if len(values) < 16:
        return None
    power = np.abs(np.fft.rfft(values, axis=0)) ** 2
    hertz = np.fft.rfftfreq(len(values), 1.0 / rate_hz)
    centres: NDArray[Any] = (hertz @ power) / np.maximum(power.sum(axis=0), 1e-30)
    return centres
