"""Two versions on the same data: which is better, and whether it can be chance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.evaluate.boxes import Boxes

ALPHA = 0.05
_ROUNDS = 1000
_SEED = 20


def mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> dict[str, Any]:
    """Whether two classifiers differ (McNemar 1947, exact): of the samples on which only one is
    right, each would be as often the one if they were equal.

    Args:
        one, other: whether each was right, sample by sample.
    """
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    differ, fewer = only_one + only_other, min(only_one, only_other)
    # Two-sided. By logarithms: the binomials themselves have thousands of digits.
    tail = sum(math.exp(_log_binomial(differ, count)) for count in range(fewer + 1))
    p = min(1.0, 2 * tail)
    return {"test": "McNemar, exact", "only_first_right": only_one,
            "only_second_right": only_other, "p": _p(p), "significant": p < ALPHA}  # fmt: skip


def _log_binomial(count: int, hits: int) -> float:
    """Logarithm of the chance of so many hits of a fair coin."""
    ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    return ways - count * math.log(2)


def bootstrap(one: Boxes, other: Boxes, rounds: int = _ROUNDS, seed: int = _SEED) -> dict[str, Any]:
    """Whether the mean average precision of two detectors differs: by how much in resamplings of
    the same pictures for both (paired bootstrap; Efron and Tibshirani 1993, chapter 16)."""
    rng = np.random.default_rng(seed)
    count = len(one.told)
    apart = []
    for _ in range(rounds):
        weights = np.bincount(rng.integers(0, count, count), minlength=count).astype(float)
        apart.append(other.precision(weights).mean() - one.precision(weights).mean())
    differences = np.array([its for its in apart if not math.isnan(its)])
    low, high = np.quantile(differences, [ALPHA / 2, 1 - ALPHA / 2])
    # The share on the other side of zero, both ways; never 0, which so many rounds can't say.
    below, above = (differences <= 0).sum(), (differences >= 0).sum()
    p = min(1.0, 2 * (min(below, above) + 1) / (len(differences) + 1))
    return {
        "test": f"paired bootstrap over {count} pictures, {len(differences)} rounds",
        "difference": round(float(differences.mean()), 4),
        "low": round(float(low), 4), "high": round(float(high), 4),
        "p": _p(p), "significant": bool(p < ALPHA),
    }  # fmt: skip


def paired_errors(
    one: NDArray[np.float64], other: NDArray[np.float64], rounds: int = _ROUNDS, seed: int = _SEED
) -> dict[str, Any]:
    """Whether the mean absolute errors of two models that measure differ: by flipping the sign of
    each sample's difference at random (a permutation test)."""
    apart = other - one
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], (rounds, len(apart)))
    as_far = (np.abs((signs * apart).mean(axis=1)) >= abs(apart.mean()) - 1e-15).sum()
    p = float((as_far + 1) / (rounds + 1))
    return {"test": f"paired permutation, {rounds} rounds",
            "difference": float(f"{apart.mean():.6g}"), "p": _p(p),
            "significant": p < ALPHA}  # fmt: skip


def _p(value: float) -> float:
    return float(f"{value:.3g}")
