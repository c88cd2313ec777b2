"""What is measured of an answer, and how sure the model was of it."""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.drift.shares import NOTHING
from edgeagent.types import Anomaly, Label, Prediction, Regression

Features = dict[str, float]
"""Name → value, of one look."""
MEASURED = frozenset({"score", "things", "doubt"})
"""Features of answers; with the shares of labels they depend on the threshold."""


def measured(predictions: Sequence[Prediction], threshold: float) -> tuple[Features, str]:
    """Features of one answer, and the label of the surest prediction that reaches the threshold.

    ``score`` is that of the surest prediction (of an anomaly as a multiple of its threshold),
    ``things`` how many reach the threshold. Of a classifier, whose one label is the answer,
    there is `doubt` instead. Quantities stand under their names.
    """
    found: Features = {}
    if predictions and type(predictions[0]) is Label:
        first = predictions[0]
        sure = first.score >= threshold
        found = {"score": first.score, "doubt": doubt(predictions, threshold)}
        return found, first.label if sure else NOTHING
    best, label, things = -1.0, NOTHING, 0
    for its in predictions:
        if type(its) is Regression:
            found[its.name or "value"] = its.value
            continue
        score, name, least = _scored(its, threshold)
        if score is None or (score < least and type(its) is not Anomaly):
            continue
        if score > best:
            best = score
            label = name if score >= least else NOTHING
        things += score >= least
    if best >= 0.0:
        found["score"] = best
    if not found or best >= 0.0:
        found["things"] = float(things)
    return found, label


def doubt(predictions: Sequence[Prediction], threshold: float) -> float:
    """How unsure the model was, 0 … 1: how near its nearest score is to the threshold, or of a
    classifier also how near its two best are to each other (margin sampling: Scheffer, Decomain,
    Wrobel 2001; Settles, "Active Learning Literature Survey", 2009). 1 = at the threshold."""
    room = max(threshold, 1.0 - threshold)
    if predictions and type(predictions[0]) is Label:
        first = predictions[0].score
        most = max(0.0, 1.0 - abs(first - threshold) / room)
        if len(predictions) > 1 and first >= threshold:
            second = predictions[1]
            most = max(most, 1.0 - first + second.score if type(second) is Label else 0.0)
        return most
    most = 0.0
    for its in predictions:
        if type(its) is Anomaly:
            most = max(most, 1.0 - abs(its.score / (abs(its.threshold) or 1.0) - 1.0))
        elif (score := getattr(its, "score", None)) is not None:
            most = max(most, 1.0 - abs(score - threshold) / room)
    return most


def _scored(its: Prediction, threshold: float) -> tuple[float | None, str, float]:
    """Score, label, and the score that it must reach; None = it has no score."""
    if type(its) is Anomaly:
        return its.score / (abs(its.threshold) or 1.0), "anomaly", 1.0
    return getattr(its, "score", None), getattr(its, "label", "") or "text", threshold
