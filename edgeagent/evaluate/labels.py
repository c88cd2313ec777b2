"""Models that give labels: which is right, how sure, what is taken for what."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import UsageError
from edgeagent.evaluate import curves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.evaluate.answers import Told
    from edgeagent.evaluate.data import Data

_TOP = 5
_WORST = 24


def fit(data: Data, labels: Sequence[str]) -> None:
    """Call the data's labels as the model does; cases of labels that it does not know are left
    out, with a note. Raises UsageError where no label is known."""
    known = {label: label for label in labels} | {label.casefold(): label for label in labels}
    unknown: Counter[str] = Counter()
    kept = []
    for case in data.cases:
        label = known.get(case.label) or known.get(case.label.casefold())
        if label is None:
            unknown[case.label] += 1
            continue
        case.label = label
        kept.append(case)
    if not kept:
        raise UsageError(
            f"{data.name}: none of its labels ({_some(list(unknown))}) is one of the model's",
            remedy=f"The model knows: {_some(labels)}. Name folders or the label column so.",
        )
    if unknown:
        data.notes.append(f"{sum(unknown.values()):,} inputs of labels that the model does not "
                          f"know are left out: {_some(list(unknown))}")  # fmt: skip
    data.cases = kept


class Labels:
    """The measures of one model over its answers.

    Args:
        told: its answers, one a sample.
        labels: all labels that it can give, in their order.
    """

    def __init__(self, told: Sequence[Told], labels: Sequence[str]) -> None:
        self.told = told
        self.labels = list(labels)
        place = {label: number for number, label in enumerate(self.labels)}
        self.scores = np.zeros((len(told), len(labels)))
        for row, its in enumerate(told):
            for prediction in its.predictions:
                self.scores[row, place[prediction["label"]]] = prediction["score"]
        self.truth = np.array([place[its.case.label] for its in told], int)
        # The first of equals, as the decoder ranks them.
        self.said = np.array(
            [place[its.predictions[0]["label"]] if its.predictions else -1 for its in told], int
        )
        self.right: NDArray[np.bool_] = self.said == self.truth
        self.confidence = self.scores.max(axis=1, initial=0.0)

    def measured(self, precision: float) -> dict[str, Any]:
        """All sections of a report. ``precision`` is what a suggested threshold must reach."""
        classes, calibration = self._classes(), self._calibration()
        ece = {"ece": calibration["ece"]} if calibration else {}
        return {
            "metrics": self._metrics(classes) | ece,
            "classes": classes,
            "confusion": self._confusion(),
            "calibration": calibration,
            "threshold": {
                "asked_precision": precision,
                "suggested": curves.sure_from(self.confidence, self.right, precision),
            },
            "slices": slices(self.told, self.right),
            "worst": self._worst(),
        }

    def _calibration(self) -> dict[str, Any] | None:
        """None where scores are no shares of 1 (logits): how sure they are can't be said."""
        if self.scores.min(initial=0.0) < -1e-3 or self.scores.max(initial=0.0) > 1 + 1e-3:
            return None
        return curves.calibration(np.clip(self.confidence, 0, 1), self.right)

    def _metrics(self, classes: list[dict[str, Any]]) -> dict[str, Any]:
        count, right = len(self.right), int(self.right.sum())
        low, high = curves.wilson(right, count)
        top = min(_TOP, len(self.labels))
        above = (self.scores > self.scores[np.arange(count), self.truth][:, None]).sum(axis=1)
        present = [its for its in classes if its["count"]]
        areas = [its["auc"] for its in present if its["auc"] is not None]
        metrics: dict[str, Any] = {
            "samples": count,
            "accuracy": round(right / count, 4),
            "accuracy_low": round(low, 4),
            "accuracy_high": round(high, 4),
            "macro_f1": round(float(np.mean([its["f1"] for its in present])), 4),
            "auc": round(float(np.mean(areas)), 4) if areas else None,
        }
        if len(self.labels) > _TOP:
            metrics[f"top{top}"] = round(float((above < top).mean()), 4)
        return metrics

    def _classes(self) -> list[dict[str, Any]]:
        found = []
        for place, label in enumerate(self.labels):
            truth, said = self.truth == place, self.said == place
            hits = int((truth & said).sum())
            precision = hits / said.sum() if said.sum() else 0.0
            recall = hits / truth.sum() if truth.sum() else 0.0
            f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
            area = curves.auc(self.scores[:, place], truth)
            found.append({
                "label": label, "count": int(truth.sum()), "precision": round(float(precision), 4),
                "recall": round(float(recall), 4), "f1": round(float(f1), 4),
                "auc": None if area is None else round(area, 4),
            })  # fmt: skip
        return found

    def _confusion(self) -> dict[str, Any]:
        """Rows are the truth, columns what was said; labels that never occur are left out."""
        used = sorted(set(self.truth.tolist()) | set(self.said[self.said >= 0].tolist()))
        matrix = [
            [int(((self.truth == row) & (self.said == column)).sum()) for column in used]
            for row in used
        ]
        return {"labels": [self.labels[place] for place in used], "matrix": matrix}

    def _worst(self) -> list[dict[str, Any]]:
        """Wrong ones, the surest first."""
        wrong = np.nonzero(~self.right)[0]
        wrong = wrong[np.argsort(-self.confidence[wrong], kind="stable")][:_WORST]
        return [self._sample(int(row)) for row in wrong]

    def _sample(self, row: int) -> dict[str, Any]:
        its = self.told[row]
        said = its.predictions[0]["label"] if its.predictions else "nothing"
        return {
            "input": its.case.name, "sample": its.sample, "truth": its.case.label, "said": said,
            "score": round(float(self.confidence[row]), 4),
            "score_of_truth": round(float(self.scores[row, self.truth[row]]), 4),
        }  # fmt: skip


def slices(told: Sequence[Told], right: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Accuracy in each part of the data; ``worse`` where that can't be chance: its whole interval
    lies below the accuracy of all the rest."""
    parts: dict[tuple[str, str], list[int]] = {}
    for row, its in enumerate(told):
        for key, value in its.case.slices.items():
            parts.setdefault((key, value), []).append(row)
    found = []
    for (key, value), rows in sorted(parts.items()):
        inside = np.zeros(len(right), bool)
        inside[rows] = True
        hits = int(right[inside].sum())
        low, high = curves.wilson(hits, len(rows))
        rest = float(right[~inside].mean()) if (~inside).any() else None
        found.append({
            "slice": key, "value": value, "count": len(rows),
            "accuracy": round(hits / len(rows), 4), "low": round(low, 4), "high": round(high, 4),
            "worse": rest is not None and high < rest,
        })  # fmt: skip
    return found


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(sorted(names)[:8]) + more
