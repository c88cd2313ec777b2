"""Numbers of the trade over arrays: areas under curves, calibration, intervals, thresholds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Truth = NDArray[np.bool_]

BINS = 15


def auc(scores: Floats, positive: Truth) -> float | None:
    """Area under the ROC curve: how often a positive scores above a negative, ties half (the
    Mann-Whitney statistic). None where one of the two is missing."""
    yes, no = int(positive.sum()), int((~positive).sum())
    if not yes or not no:
        return None
    order = np.sort(scores)
    # Mean rank of each score among all, so that ties count half.
    below = np.searchsorted(order, scores, "left")
    upto = np.searchsorted(order, scores, "right")
    ranks = (below + upto + 1) / 2
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def roc(scores: Floats, positive: Truth, points: int = 200) -> list[tuple[float, float]]:
    """False and true positive rates, thinned out for a plot."""
    order = np.argsort(-scores, kind="stable")
    hits = positive[order]
    last = np.append(np.diff(scores[order]) != 0, True)
    true = np.cumsum(hits)[last] / max(1, int(positive.sum()))
    false = np.cumsum(~hits)[last] / max(1, int((~positive).sum()))
    pairs = [(0.0, 0.0), *zip(false.tolist(), true.tolist(), strict=True)]
    return thinned(pairs, points)


def thinned(pairs: list[tuple[float, float]], points: int) -> list[tuple[float, float]]:
    """So many of them at most, the first and the last among them."""
    if len(pairs) <= points:
        return pairs
    places = np.unique(np.linspace(0, len(pairs) - 1, points).astype(int))
    return [pairs[place] for place in places]


def calibration(confidence: Floats, right: Truth, bins: int = BINS) -> dict[str, Any]:
    """Expected calibration error over bins of equal width (Guo et al. 2017, "On calibration of
    modern neural networks"): the mean distance between how sure and how often right, by bin."""
    places = np.clip((confidence * bins).astype(int), 0, bins - 1)
    told, error = [], 0.0
    for place in range(bins):
        inside = places == place
        count = int(inside.sum())
        if not count:
            continue
        sure, correct = float(confidence[inside].mean()), float(right[inside].mean())
        error += count / len(confidence) * abs(sure - correct)
        told.append({"low": place / bins, "high": (place + 1) / bins, "count": count,
                     "confidence": round(sure, 4), "accuracy": round(correct, 4)})  # fmt: skip
    brier = float(((confidence - right) ** 2).mean())
    return {"ece": round(error, 4), "brier": round(brier, 4), "bins": told}


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): true also for few samples and at 0 and 1."""
    if not count:
        return 0.0, 1.0
    share = right / count
    middle = share + z * z / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    whole = 1 + z * z / count
    return max(0.0, (middle - reach) / whole), min(1.0, (middle + reach) / whole)


def sure_from(confidence: Floats, right: Truth, precision: float) -> dict[str, float] | None:
    """The lowest threshold from which on answers are right so often; None where none is."""
    order = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(right[order])
    share = hits / np.arange(1, len(order) + 1)
    last = np.append(np.diff(confidence[order]) != 0, True)
    good = np.nonzero(last & (share >= precision))[0]
    if not len(good):
        return None
    place = int(good[-1])
    return {"threshold": _floor(float(confidence[order][place])),
            "precision": round(float(share[place]), 4),
            "answered": round((place + 1) / len(order), 4)}  # fmt: skip


def best_f1(scores: Floats, hit: Truth, positives: float) -> dict[str, float] | None:
    """The threshold with the best balance of precision and recall (F1).

    Args:
        scores: of all that was said.
        hit: whether it was right.
        positives: how much there was to be found.
    """
    if not len(scores) or not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(hit[order])
    told = np.arange(1, len(order) + 1)
    f1 = 2 * true / (told + positives)
    f1[~np.append(np.diff(scores[order]) != 0, True)] = 0  # no threshold lies between ties
    place = int(f1.argmax())
    return {"threshold": _floor(float(scores[order][place])), "f1": round(float(f1[place]), 4),
            "precision": round(float(true[place] / told[place]), 4),
            "recall": round(float(true[place] / positives), 4)}  # fmt: skip


def _floor(score: float) -> float:
    """Three digits, and not above the score itself: it must pass."""
    return math.floor(score * 1000 + 1e-9) / 1000
