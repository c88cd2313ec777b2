"""How fast something grows, and how sure that is.

The slope is the median of the slopes of all pairs of samples (Theil 1950; Sen, "Estimates of the
regression coefficient based on Kendall's tau", JASA 63, 1968): what a fault adds for a minute does
not move it, a step that stays does. Samples that follow one another are alike, so the usual
intervals are too narrow; this one is of a moving block bootstrap of the residuals (Künsch, "The
jackknife and the bootstrap for general stationary observations", Ann. Statist. 17, 1989), whose
blocks are longer than what a fault does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SEED = 1


@dataclass(frozen=True)
class Slope:
    """Per hour, with the 95 % interval."""

    per_hour: float
    low: float
    high: float

    def text(self, unit: str) -> str:
        unit = f" {unit}/h" if unit else "/h"
        return f"{self.per_hour:+.3g} [{self.low:+.3g}, {self.high:+.3g}]{unit}"


def slope(
    seconds: Sequence[float], values: Sequence[float], block: int, rounds: int = 1000
) -> Slope:
    """Of values over time.

    Args:
        seconds: when, ascending; at least three.
        block: samples in a block of the bootstrap, longer than what makes them alike.
        rounds: of the bootstrap.
    """
    x, y = np.asarray(seconds, float) / 3600.0, np.asarray(values, float)
    count = len(x)
    block = max(1, min(block, count // 3))
    first, second = np.triu_indices(count, 1)
    span = x[second] - x[first]
    middle = float(np.median((y[second] - y[first]) / span))
    rest = y - middle * x
    rest -= np.median(rest)
    rng = np.random.default_rng(_SEED)
    found = np.empty(rounds)
    for turn in range(rounds):
        noise = _blocks(rest, block, rng)
        found[turn] = np.median((noise[second] - noise[first]) / span)
    # The line itself shifts all slopes alike.
    low, high = np.quantile(found, (0.025, 0.975)) + middle
    return Slope(middle, float(low), float(high))


def _blocks(rest: NDArray[np.float64], block: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """As many residuals again, in blocks that begin anywhere."""
    count = len(rest)
    starts = rng.integers(0, count - block + 1, -(-count // block))
    picked: NDArray[np.float64] = rest[(starts[:, None] + np.arange(block)).ravel()[:count]]
    return picked
