"""The vibration of a motor whose bearing wears out."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from edgeagent.capture.synthetic.streams import MACHINE, SENSOR, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

BALLS, BALL_MM, PITCH_MM = 9, 7.94, 39.04
"""Geometry of a deep-groove ball bearing 6205, contact angle 0."""

_SPEED_PERIOD_S = 23.0
_SPEED_SWING = 0.004
_RING_OUT_S = 0.016
"""An impact's ringing is over after this time."""
_CHUNK = 4096
_AXES = ("x", "y", "z")
_GAINS = (1.0, 0.6, 0.3)
"""How strongly the load side, the other radial side and the axis feel an impact."""


def bpfo(shaft_hz: float) -> float:
    """Rate in Hz at which balls pass a point of the outer ring."""
    return shaft_hz * BALLS / 2 * (1.0 - BALL_MM / PITCH_MM)


class VibrationScene:
    """Acceleration (m/s²) on the housing of a motor whose bearing's outer ring spalls.

    The sum of: the shaft's rotation and harmonics; a tone from the mains; contact noise that
    excites a structural resonance, as any bearing does; for a damaged ring one impact per
    passing ball (`bpfo`, with a little slip), each ringing out as a decaying sinusoid at the
    resonance; all swelling with the load; and the sensor's own noise.

    Args:
        seed: the machine: speed, harmonics, resonance, noise.
        rate_hz: samples per second; the resonance (2.6 to 3.3 kHz) needs 8 kHz.
        channels: 1 (x) or 3 (x, y, z).
        healthy_s: for so long the bearing is sound.
        fail_s: from then on severity is 1; between, it grows.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        rate_hz: float = 8000.0,
        channels: int = 1,
        healthy_s: float = 60.0,
        fail_s: float = 300.0,
    ) -> None:
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {channels}")
        self.seed = seed
        self.rate_hz = rate_hz
        self.channels = _AXES[:channels]
        self.healthy_s = healthy_s
        self.fail_s = fail_s
        rng = stream(seed, MACHINE)
        self.shaft_hz = float(rng.uniform(24.2, 24.9))
        self.resonance_hz = float(rng.uniform(2600.0, 3300.0))
        self._decay_s = float(rng.uniform(0.0012, 0.0020))
        self._harmonics = rng.uniform((0.5, 0.2, 0.08, 0.04), (1.1, 0.5, 0.2, 0.12)).tolist()
        self._phases = rng.uniform(0.0, 2 * math.pi, 8).tolist()
        self._contact = float(rng.uniform(0.25, 0.40))
        self._sensor_noise = float(rng.uniform(0.08, 0.12))
        self._chunks: OrderedDict[int, Floats] = OrderedDict()
        delay = np.arange(round(_RING_OUT_S * rate_hz)) / rate_hz
        ringing = self._ringing(delay)
        self._kernel = ringing / np.sqrt(np.sum(ringing**2))

    def severity(self, second: float) -> float:
        """Damage 0..1 at a time since the start."""
        if self.fail_s <= self.healthy_s:
            return float(second >= self.healthy_s)
        share = (second - self.healthy_s) / (self.fail_s - self.healthy_s)
        return float(min(max(share, 0.0), 1.0) ** 1.5)

    def block(self, start: int, n: int) -> Floats:
        """Samples ``start`` … ``start + n − 1``, float32 (n, channels), m/s².

        Neighbouring blocks join without a seam, however the samples are divided.
        """
        t = (start + np.arange(n)) / self.rate_hz
        load = self._load(t)
        turns = 2 * math.pi * self._turns(t)
        past = len(self._kernel) - 1
        noise = self._noise(start - past, n + past)
        contact = np.convolve(noise[:, -1], self._kernel, mode="valid")
        impacts = self._impacts(start, n) + self._contact * np.sqrt(load) * contact
        out = np.empty((n, len(self.channels)), np.float32)
        for axis in range(len(self.channels)):
            out[:, axis] = _GAINS[axis] * impacts
            out[:, axis] += load * self._rotation(turns, axis)
            out[:, axis] += 0.05 * np.sin(2 * math.pi * 100.0 * t + self._phases[4 + axis])
            out[:, axis] += self._sensor_noise * noise[past:, axis]
        return out

    def _rotation(self, turns: Doubles, axis: int) -> Doubles:
        """Shaft and harmonics as one axis feels them: a quarter turn later at the side."""
        total = np.zeros_like(turns)
        for order, (size, phase) in enumerate(zip(self._harmonics, self._phases, strict=False), 1):
            total += size * np.sin(order * (turns - axis * math.pi / 2) + phase)
        return total * (1.0, 0.8, 0.3)[axis]

    def _load(self, t: Doubles) -> Doubles:
        """Load of the machine relative to its mean."""
        slow = np.sin(2 * math.pi * t / 17.0 + self._phases[6])
        quick = np.sin(2 * math.pi * t / 5.3 + self._phases[7])
        return np.asarray(1.0 + 0.15 * slow + 0.08 * quick, np.float64)

    def _turns(self, t: Doubles) -> Doubles:
        """Revolutions of the shaft since the start; its speed wanders slowly."""
        swing = _SPEED_SWING * _SPEED_PERIOD_S / (2 * math.pi)
        wander = swing * (1.0 - np.cos(2 * math.pi * t / _SPEED_PERIOD_S))
        return np.asarray(self.shaft_hz * (t + wander), np.float64)

    def _ringing(self, delay: Doubles) -> Doubles:
        """Response of the structure to one impact of size 1."""
        wave = np.sin(2 * math.pi * self.resonance_hz * delay)
        return np.asarray(wave * np.exp(-delay / self._decay_s), np.float64)

    def _impacts(self, start: int, n: int) -> Doubles:
        """Ringing of the balls' passes over the damaged place, (n,)."""
        out = np.zeros(n)
        ends = np.array([start / self.rate_hz - _RING_OUT_S, (start + n) / self.rate_hz])
        per_turn = bpfo(1.0)
        low, high = self._turns(np.maximum(ends, 0.0)) * per_turn
        if self.severity(ends[1]) == 0.0:
            return out
        passes = np.arange(max(1, math.floor(low) - 1), math.ceil(high) + 2)
        # Balls slip: passes come a little early or late, and hit with unequal force.
        slip = 0.03 * (_uniform(self.seed, 2 * passes) - 0.5)
        force = 0.7 + 0.6 * _uniform(self.seed, 2 * passes + 1)
        wanted = (passes + slip) / per_turn
        times = wanted / self.shaft_hz
        for _ in range(3):
            times = times - (self._turns(times) - wanted) / self.shaft_hz
        force = force * self._load(times)
        for time, push in zip(times.tolist(), force.tolist(), strict=True):
            first = math.ceil(time * self.rate_hz)
            a, b = max(first, start), min(first + len(self._kernel), start + n)
            if a < b:
                size = push * _hit(self.severity(time))
                delay = np.arange(a, b) / self.rate_hz - time
                out[a - start : b - start] += size * self._ringing(delay)
        return out

    def _noise(self, start: int, n: int) -> Floats:
        """Standard normal noise (n, channels + 1): each sensor axis, then the contact."""
        first, last = start // _CHUNK, (start + n - 1) // _CHUNK
        pieces = []
        for number in range(first, last + 1):
            chunk = self._chunks.get(number)
            if chunk is None:
                # Numbers before the start are needed too, and seeds can't be negative.
                rng = stream(self.seed, SENSOR, number + 1)
                chunk = rng.standard_normal((_CHUNK, len(self.channels) + 1), np.float32)
                self._chunks[number] = chunk
                if len(self._chunks) > 4:
                    self._chunks.popitem(last=False)
            pieces.append(chunk)
        joined = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        offset = start - first * _CHUNK
        return joined[offset : offset + n]


def _hit(severity: float) -> float:
    """Size of an impact in m/s²."""
    return float(20.0 * severity**1.2)


def _uniform(seed: int, numbers: NDArray[np.int64]) -> Doubles:
    """A random number in 0..1 for each whole number, by hashing (splitmix64)."""
    z = numbers.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
    z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((z ^ (z >> np.uint64(31))) / 2.0**64, np.float64)
