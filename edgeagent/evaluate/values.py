"""Models that give one number: how unusual something is, or a measured quantity."""

from __future__ import annotations

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

_USUAL = ("normal", "ok", "good", "usual", "0", "false", "no")
_WORST = 24
_FALSE_ALARMS = 0.01


def fit(data: Data) -> None:
    """Raises UsageError where the data is not of two kinds, usual and unusual."""
    kinds = {case.label.casefold() for case in data.cases}
    usual = kinds & set(_USUAL)
    if not usual or kinds == usual:
        raise UsageError(
            f"{data.name}: its labels are {', '.join(sorted(kinds))}; for an anomaly model some "
            "inputs must be usual and some not",
            remedy=f"Call usual ones one of: {', '.join(_USUAL)}; anything else is unusual.",
        )


class Unusual:
    """The measures of an anomaly model."""

    def __init__(self, told: Sequence[Told]) -> None:
        self.told = told
        self.scores = np.array([its.predictions[0]["score"] for its in told], float)
        self.threshold = float(told[0].predictions[0]["threshold"])
        self.truth = np.array([its.case.label.casefold() not in _USUAL for its in told])
        self.alarm = self.scores > self.threshold
        self.right: NDArray[np.bool_] = self.alarm == self.truth

    def measured(self) -> dict[str, Any]:
        """All sections of a report."""
        unusual = int(self.truth.sum())
        caught, false = int((self.alarm & self.truth).sum()), int((self.alarm & ~self.truth).sum())
        area = curves.auc(self.scores, self.truth)
        usual = np.sort(self.scores[~self.truth])
        quiet = float(np.quantile(usual, 1 - _FALSE_ALARMS, method="higher"))
        return {
            "metrics": {
                "samples": len(self.told), "unusual": unusual,
                "auc": None if area is None else round(area, 4),
                "accuracy": round(float(self.right.mean()), 4),
                "caught": caught, "missed": unusual - caught, "false_alarms": false,
            },
            "threshold": {
                "now": self.threshold,
                "suggested": curves.best_f1(self.scores, self.truth, unusual),
                "quiet": {"threshold": quiet, "false_alarm_rate": _FALSE_ALARMS,
                          "recall": round(float((self.scores > quiet)[self.truth].mean()), 4)},
            },
            "roc": curves.roc(self.scores, self.truth),
            "slices": slices(self.told, self.right),
            "worst": self._worst(),
        }  # fmt: skip

    def _worst(self) -> list[dict[str, Any]]:
        """Wrong ones, the farthest from the threshold first."""
        wrong = np.nonzero(~self.right)[0]
        far = np.abs(np.log(np.maximum(self.scores[wrong], 1e-12) / max(self.threshold, 1e-12)))
        rows = wrong[np.argsort(-far, kind="stable")][:_WORST].tolist()
        return [
            {"input": self.told[row].case.name, "sample": self.told[row].sample,
             "truth": self.told[row].case.label, "said": "unusual" if self.alarm[row] else "usual",
             "score": round(float(self.scores[row]), 6)}
            for row in rows
        ]  # fmt: skip


class Measured:
    """The measures of a model that measures."""

    def __init__(self, told: Sequence[Told]) -> None:
        self.told = told
        self.said = np.array([its.predictions[0]["value"] for its in told], float)
        self.truth = np.array([its.case.value for its in told], float)
        self.error = np.abs(self.said - self.truth)

    def measured(self) -> dict[str, Any]:
        """All sections of a report."""
        spread = float(((self.truth - self.truth.mean()) ** 2).sum())
        square = float(((self.said - self.truth) ** 2).sum())
        rows = np.argsort(-self.error, kind="stable")[:_WORST].tolist()
        return {
            "metrics": {
                "samples": len(self.told),
                "mean_error": _figures(self.error.mean()),
                "rms_error": _figures(np.sqrt(square / len(self.told))),
                "bias": _figures((self.said - self.truth).mean()),
                "p95_error": _figures(np.quantile(self.error, 0.95)),
                "r2": round(1 - square / spread, 4) if spread else None,
            },
            "points": list(zip(self.truth.tolist(), self.said.tolist(), strict=True))[:2000],
            "worst": [
                {"input": self.told[row].case.name, "sample": self.told[row].sample,
                 "truth": _figures(self.truth[row]), "said": _figures(self.said[row])}
                for row in rows
            ],
        }  # fmt: skip


def _figures(value: Any) -> float:
    return float(f"{float(value):.6g}")
