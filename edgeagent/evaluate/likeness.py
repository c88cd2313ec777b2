"""Models that embed: whether the nearest is of the same kind, and whether two can be told to be the
same by how near they are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import UsageError
from edgeagent.evaluate import curves
from edgeagent.evaluate.labels import slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.evaluate.answers import Told
    from edgeagent.evaluate.data import Data

_RECALLS = (1, 5, 10)
_PAIRS = 400_000
"""Pairs that are compared at most, drawn at random from all."""
_SEED = 21
_FALSE = 0.001
_WORST = 24


def fit(data: Data) -> None:
    """Raises UsageError where no label has two inputs, or there is one label only."""
    counts = Counter(case.label for case in data.cases)
    if len(counts) < 2 or max(counts.values()) < 2:
        raise UsageError(
            f"{data.name}: likeness is judged by pairs that are the same and pairs that are not",
            remedy="Give a folder for each thing or person, with two inputs or more in some.",
        )
    alone = sum(count == 1 for count in counts.values())
    if alone:
        data.notes.append(f"{alone:,} labels have one input only: others are compared with it")


class Likeness:
    """The measures of a model that embeds: each input asked for against all others.

    Args:
        told: its answers; the last prediction of each is the vector.
        threshold: cosine from which on two are taken for the same.
    """

    def __init__(self, told: Sequence[Told], threshold: float) -> None:
        self.told = told
        self.threshold = threshold
        vectors = np.array([its.predictions[-1]["vector"] for its in told], np.float32)
        # What travelled as text has a length a little off 1.
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        names = sorted({its.case.label for its in told})
        self.truth = np.array([names.index(its.case.label) for its in told])
        self._rank()

    def _rank(self) -> None:
        """The nearest of each, itself left out; row by row, so that memory stays small."""
        count, most = len(self.told), max(_RECALLS)
        self.nearest = np.zeros((count, min(most, count - 1)), np.int64)
        self.cosine = np.zeros(count)
        for row in range(count):
            cosines = self.vectors @ self.vectors[row]
            cosines[row] = -2.0
            order = np.argsort(-cosines, kind="stable")[: self.nearest.shape[1]]
            self.nearest[row], self.cosine[row] = order, cosines[order[0]]
        sizes = np.bincount(self.truth)
        self.answerable: NDArray[np.bool_] = sizes[self.truth] > 1
        """Those of which there is another one to be found."""
        self.right: NDArray[np.bool_] = self.truth[self.nearest[:, 0]] == self.truth

    def measured(self) -> dict[str, Any]:
        """All sections of a report."""
        scores, same = self._pairs()
        area = curves.auc(scores, same)
        asked = int(self.answerable.sum())
        hits = self.truth[self.nearest[self.answerable]] == self.truth[self.answerable, None]
        recalls = {f"recall{most}": round(float(hits[:, :most].any(axis=1).mean()), 4)
                   for most in _RECALLS if most <= hits.shape[1]}  # fmt: skip
        false, strict = _operating(scores, same)
        told = scores >= self.threshold
        return {
            "metrics": {
                "samples": len(self.told), "labels": len(set(self.truth.tolist())),
                "asked": asked, **recalls, "pairs": len(scores),
                "auc": None if area is None else round(area, 4), "eer": round(false, 4),
                "same_told": round(float(told[same].mean()), 4),
                "others_told": round(float(told[~same].mean()), 6),
            },
            "threshold": {
                "now": self.threshold,
                "suggested": curves.best_f1(scores, same, int(same.sum())), "strict": strict,
            },
            "roc": curves.roc(scores, same),
            "slices": slices(self.told, self.right),
            "worst": self._worst(),
        }  # fmt: skip

    def _pairs(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Cosines of pairs, and whether they are of one kind; all of these, and as many of the
        others as there is room for."""
        count = len(self.told)
        left, right = np.triu_indices(count, 1) if count * count < 4 * _PAIRS else self._drawn()
        cosines = np.einsum("ij,ij->i", self.vectors[left], self.vectors[right])
        return cosines.astype(np.float64), self.truth[left] == self.truth[right]

    def _drawn(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rng, count = np.random.default_rng(_SEED), len(self.told)
        order = np.argsort(self.truth, kind="stable")
        kin = [np.triu_indices(size, 1) for size in np.bincount(self.truth)]
        starts = np.cumsum([0, *np.bincount(self.truth)[:-1]])
        left = [order[start + its[0]] for start, its in zip(starts, kin, strict=True)]
        right = [order[start + its[1]] for start, its in zip(starts, kin, strict=True)]
        drawn = rng.integers(0, count, (2, _PAIRS))
        apart = self.truth[drawn[0]] != self.truth[drawn[1]]
        return (np.concatenate([*left, drawn[0][apart]]),
                np.concatenate([*right, drawn[1][apart]]))  # fmt: skip

    def _worst(self) -> list[dict[str, Any]]:
        """Those whose nearest is of another kind, the nearest first."""
        wrong = np.nonzero(~self.right & self.answerable)[0]
        rows = wrong[np.argsort(-self.cosine[wrong], kind="stable")][:_WORST].tolist()
        return [
            {"input": self.told[row].case.name, "sample": self.told[row].sample,
             "truth": self.told[row].case.label,
             "said": self.told[int(self.nearest[row, 0])].case.label,
             "score": round(float(self.cosine[row]), 4)}
            for row in rows
        ]  # fmt: skip


def _operating(
    scores: NDArray[np.float64], same: NDArray[np.bool_]
) -> tuple[float, dict[str, float]]:
    """The equal error rate, and the threshold at which one of a thousand others passes."""
    others, own = np.sort(scores[~same]), np.sort(scores[same])
    steps = np.unique(scores)
    accepted = 1 - np.searchsorted(others, steps, "left") / max(1, len(others))
    rejected = np.searchsorted(own, steps, "left") / max(1, len(own))
    place = int(np.argmin(np.abs(accepted - rejected)))
    at = float(np.quantile(others, 1 - _FALSE, method="higher")) if len(others) else 1.0
    strict = {"threshold": round(at, 4), "false_rate": _FALSE,
              "recall": round(float((own > at).mean()), 4)}  # fmt: skip
    return float((accepted[place] + rejected[place]) / 2), strict
