"""Front ends: what a keyword or machine-sound model hears instead of raw samples.

Each is a frozen description (the ``frontend`` table of an ``[[input]]``; its defaults are the
exact parameters of the reference training code) that makes a function from (length, channels)
samples to float32 features. Details of one name differ from project to project, and a model
only works with its own: magnitude or power, natural or decimal logarithm, mel formula,
rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Union

import msgspec
import numpy as np

from edgeagent.prepare.quantize import Rounding
from edgeagent.prepare.spectrum import log_spectrum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Extract = Callable[[Floats], Floats]


class _Table(msgspec.Struct, tag_field="kind", frozen=True, forbid_unknown_fields=True):
    """What all front ends have."""


class Mfcc(_Table, frozen=True, tag="mfcc"):
    """Mel cepstrum of the MLPerf Tiny keyword model.

    Source: mlcommons/tiny, `benchmark/training/keyword_spotting/get_dataset.py`.
    """

    mono: ClassVar[bool] = True
    frame_ms: float = 30.0
    step_ms: float = 20.0
    fft: int = 512
    bins: int = 40
    low_hz: float = 20.0
    high_hz: float = 4000.0
    coefficients: int = 10
    floor: float = 1e-6
    """Added to the mel magnitudes before the logarithm."""
    normalise: Literal["maximum", "none"] = "maximum"
    """Divide by the largest (positive) sample of the window first."""
    rounding: Rounding = "truncate"
    """The reference casts to an integer, which cuts towards zero."""

    def extractor(self, rate_hz: float) -> Extract:
        frames = _Frames(rate_hz, self.frame_ms, self.step_ms, self.fft, "hann")
        mel = mel_weights(self.bins, self.fft // 2 + 1, rate_hz, self.low_hz, self.high_hz)
        cosines = dct_matrix(self.bins, self.coefficients)

        def extract(values: Floats) -> Floats:
            signal = values[:, 0].astype(np.float64)
            if self.normalise == "maximum":
                largest = signal.max()
                # Silence stays silence: a window without a positive sample is not scaled.
                if largest > 0:
                    signal = signal / largest
            magnitude = np.abs(frames.spectra(signal))
            features: Floats = (np.log(magnitude @ mel + self.floor) @ cosines).astype(np.float32)
            return features

        return extract


class LogMel(_Table, frozen=True, tag="log-mel"):
    """Log mel power of the MLPerf Tiny anomaly model, as librosa makes it.

    Source: mlcommons/tiny, `benchmark/training/anomaly_detection/common.py`; mel scale and
    slopes: librosa's defaults (Slaney's Auditory Toolbox, area-normalised).
    """

    mono: ClassVar[bool] = True
    fft: int = 1024
    step: int = 512
    """Samples from one frame to the next."""
    bins: int = 128
    low_hz: float = 0.0
    high_hz: float = 0.0
    """0 = half the rate."""
    power: float = 2.0
    centre: bool = True
    """Frames are centred on multiples of ``step``; zeros stand before and after the window."""
    rounding: Rounding = "round"

    def extractor(self, rate_hz: float) -> Extract:
        window = _cosine_window("hann", self.fft, periodic=True)
        mel = slaney_weights(self.bins, self.fft, rate_hz, self.low_hz, self.high_hz or rate_hz / 2)

        def extract(values: Floats) -> Floats:
            signal = values[:, 0].astype(np.float64)
            if self.centre:
                signal = np.pad(signal, self.fft // 2)
            spectra = np.fft.rfft(_frames(signal, self.fft, self.step) * window, axis=1)
            energies = (np.abs(spectra) ** self.power) @ mel
            decibels = 20.0 / self.power * np.log10(energies + sys.float_info.epsilon)
            return np.asarray(decibels, np.float32)

        return extract


class Lfbe(_Table, frozen=True, tag="lfbe"):
    """Log filter-bank energies of the MLPerf Tiny streaming wake word model, in 0..1.

    Source: mlcommons/tiny, `benchmark/training/streaming_wakeword/get_dataset.py`.
    """

    mono: ClassVar[bool] = True
    frame_ms: float = 64.0
    step_ms: float = 32.0
    fft: int = 1024
    bins: int = 40
    low_hz: float = 0.0
    high_hz: float = 0.0
    """0 = half the rate."""
    emphasis: float = 1 - 2**-5
    floor: float = 1e-30
    offset_db: float = 52.0
    range_db: float = 64.0
    rounding: Rounding = "round"

    def extractor(self, rate_hz: float) -> Extract:
        frames = _Frames(rate_hz, self.frame_ms, self.step_ms, self.fft, "hamming")
        high = self.high_hz or rate_hz / 2
        mel = mel_weights(self.bins, self.fft // 2 + 1, rate_hz, self.low_hz, high)

        def extract(values: Floats) -> Floats:
            signal = values[:, 0].astype(np.float64)
            signal[1:] -= self.emphasis * signal[:-1].copy()
            power = np.abs(frames.spectra(signal)) ** 2 / frames.length
            decibels = 10.0 * np.log10(np.maximum(power, self.floor) @ mel)
            scaled = np.clip((decibels + self.offset_db) / self.range_db, 0.0, 1.0)
            return np.asarray(scaled, np.float32)

        return extract


class LogSpectrum(_Table, frozen=True, tag="log-spectrum"):
    """Log power density in frequency bands, for machine sounds (see `spectrum`)."""

    mono: ClassVar[bool] = False
    bands: int = 32
    fmin_hz: float = 10.0
    fmax_hz: float = 0.0
    """0 = half the rate."""
    floor: float = 1e-7
    mean: Union[list[float], float, None] = None
    std: Union[list[float], float, None] = None
    rounding: Rounding = "round"

    def extractor(self, rate_hz: float) -> Extract:
        def extract(values: Floats) -> Floats:
            return log_spectrum(
                values,
                rate_hz,
                bands=self.bands,
                fmin_hz=self.fmin_hz,
                fmax_hz=self.fmax_hz or rate_hz / 2,
                floor=self.floor,
                mean=self.mean,
                std=self.std,
            )

        return extract


FrontEnd = Union[Mfcc, LogMel, Lfbe, LogSpectrum]


def front_end(table: dict[str, Any] | str) -> FrontEnd:
    """The front end of an ``[[input]]``: its name, or a table with ``kind``.

    Raises ValueError with the faulty key.
    """
    if isinstance(table, str):
        table = {"kind": table}
    try:
        described: FrontEnd = msgspec.convert(table, FrontEnd)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    return described


# --- parts ---------------------------------------------------------------------------------


class _Frames:
    """A signal in overlapping frames, each under a window; what does not fill one is left out."""

    def __init__(self, rate_hz: float, frame_ms: float, step_ms: float, fft: int, window: str):
        self.length = round(rate_hz * frame_ms / 1000)
        self.step = round(rate_hz * step_ms / 1000)
        self.fft = fft
        if not 0 < self.length <= fft or self.step < 1:
            raise ValueError(
                f"frame_ms = {frame_ms:g} and step_ms = {step_ms:g} at {rate_hz:g} Hz are "
                f"{self.length} and {self.step} samples; fft = {fft} must hold the frame"
            )
        self._window = _cosine_window(window, self.length, periodic=window == "hann")

    def spectra(self, signal: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(frames, fft / 2 + 1)."""
        framed = _frames(signal, self.length, self.step) * self._window
        return np.asarray(np.fft.rfft(framed, n=self.fft, axis=1))


def _frames(signal: NDArray[np.float64], length: int, step: int) -> NDArray[np.float64]:
    if signal.shape[0] < length:
        raise ValueError(f"{signal.shape[0]} samples do not fill a frame of {length}")
    return np.lib.stride_tricks.sliding_window_view(signal, length)[::step]


def _cosine_window(name: str, length: int, *, periodic: bool) -> NDArray[np.float64]:
    a = {"hann": 0.5, "hamming": 0.54}[name]
    span = length if periodic else length - 1
    return a - (1 - a) * np.cos(2 * np.pi * np.arange(length) / span)


def mel_weights(
    bins: int, lines: int, rate_hz: float, low_hz: float, high_hz: float
) -> NDArray[np.float64]:
    """(lines, bins) triangles that are linear in mel = 1127 ln(1 + f / 700), without the DC line.

    Source: `tf.signal.linear_to_mel_weight_matrix` (the HTK formula).
    """
    _check_band(rate_hz, low_hz, high_hz)

    def mel(hertz: Any) -> Any:
        return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

    edges = np.linspace(mel(low_hz), mel(high_hz), bins + 2)
    at = mel(np.linspace(0.0, rate_hz / 2, lines))[1:, None]
    rising = (at - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - at) / np.diff(edges)[1:]
    weights = np.zeros((lines, bins))
    weights[1:] = np.maximum(0.0, np.minimum(rising, falling))
    return weights


def slaney_weights(
    bins: int, fft: int, rate_hz: float, low_hz: float, high_hz: float
) -> NDArray[np.float64]:
    """(fft / 2 + 1, bins) triangles on Slaney's mel scale, each of the same area in Hz.

    Source: `librosa.filters.mel` (htk=False, norm="slaney"): linear below 1 kHz at 3 mel per
    200 Hz, then 27 mel per factor 6.4.
    """
    _check_band(rate_hz, low_hz, high_hz)
    knee = 1000.0 * 3 / 200
    step = np.log(6.4) / 27

    def to_mel(hertz: float) -> float:
        return hertz * 3 / 200 if hertz < 1000.0 else knee + float(np.log(hertz / 1000.0)) / step

    mels = np.linspace(to_mel(low_hz), to_mel(high_hz), bins + 2)
    edges = np.where(mels < knee, mels * 200 / 3, 1000.0 * np.exp(step * (mels - knee)))
    at = np.linspace(0.0, rate_hz / 2, fft // 2 + 1)[:, None]
    rising = (at - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - at) / np.diff(edges)[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2])))


def _check_band(rate_hz: float, low_hz: float, high_hz: float) -> None:
    if not 0 <= low_hz < high_hz <= rate_hz / 2:
        raise ValueError(
            f"low_hz = {low_hz:g} and high_hz = {high_hz:g} must lie within 0..{rate_hz / 2:g} Hz"
        )


def dct_matrix(bins: int, coefficients: int) -> NDArray[np.float64]:
    """(bins, coefficients) of a DCT-II, scaled by 2 · sqrt(1 / (2 · bins)).

    Source: `tf.signal.mfccs_from_log_mel_spectrograms`.
    """
    k = np.arange(coefficients)[None, :]
    n = np.arange(bins)[:, None]
    return np.asarray(2.0 * np.cos(np.pi * k * (2 * n + 1) / (2 * bins)) / np.sqrt(2 * bins))
