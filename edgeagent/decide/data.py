"""Predictions as the ``data`` of a record: plain JSON values, boxes to four digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeagent.types import (
    Anomaly,
    Detection,
    Embedding,
    Keypoints,
    Label,
    Mask,
    Raw,
    Regression,
    Text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeagent.types import Prediction

DIGITS = 4
ANOMALY = "anomaly"
"""Label of what an anomaly model says."""


def rounded(values: Iterable[float]) -> list[float]:
    """Coordinates to four digits, finer than a pixel of any camera, cut at the frame's edges:
    what leaves the device keeps to 0..1, though a box may reach out of the picture."""
    return [round(min(1.0, max(0.0, value)), DIGITS) for value in values]


def as_data(prediction: Prediction) -> dict[str, Any]:
    """One prediction as a table; its keys tell its kind.

    label, score · label, score, box[, track][, points] · name, value[, unit] · label
    ("anomaly"), score, threshold, alarming[, regions] · label, score, share, polygons · vector ·
    text, score · outputs. Things with a box may have ``refined``: such tables by the name of a
    second model.
    """
    if isinstance(prediction, Label):
        return {"label": prediction.label, "score": round(prediction.score, DIGITS)}
    if isinstance(prediction, (Detection, Keypoints)):
        return _boxed(prediction)
    if isinstance(prediction, Anomaly):
        return _unusual(prediction)
    if isinstance(prediction, Regression):
        data: dict[str, Any] = {"name": prediction.name, "value": figures(prediction.value)}
        if prediction.unit:
            data["unit"] = prediction.unit
        return data
    if isinstance(prediction, Mask):
        return {
            "label": prediction.label,
            "score": round(prediction.score, DIGITS),
            "share": round(prediction.share, DIGITS),
            "polygons": [[rounded(point) for point in polygon] for polygon in prediction.polygons],
        }
    if isinstance(prediction, Embedding):
        return {"vector": [figures(value) for value in prediction.vector]}
    if isinstance(prediction, Text):
        return {"text": prediction.text, "score": round(prediction.score, DIGITS)}
    assert isinstance(prediction, Raw)
    return {"outputs": prediction.outputs}


def _unusual(prediction: Anomaly) -> dict[str, Any]:
    data: dict[str, Any] = {
        "label": ANOMALY,
        "score": figures(prediction.score),
        "threshold": figures(prediction.threshold),
        "alarming": prediction.alarming,
    }
    if prediction.regions:
        data["regions"] = [
            {"box": rounded(box), "score": figures(score)} for box, score in prediction.regions
        ]
    return data


def _boxed(prediction: Detection | Keypoints) -> dict[str, Any]:
    data: dict[str, Any] = {
        "label": prediction.label,
        "score": round(prediction.score, DIGITS),
        "box": rounded(prediction.box),
    }
    if prediction.track:
        data["track"] = prediction.track
    if prediction.points:
        data["points"] = [rounded(point) for point in prediction.points]
    if prediction.refined:
        data["refined"] = refined(prediction.refined)
    return data


def called(answer: Prediction) -> str:
    """What a second model calls it: its label or text; empty for other answers."""
    return str(getattr(answer, "label", "") or getattr(answer, "text", ""))


def refined(answers: Iterable[tuple[str, Prediction]]) -> dict[str, Any]:
    """What second models said, by their names."""
    return {name: as_data(answer) for name, answer in answers}


def figures(value: float) -> float:
    """Six significant figures: what float32 carries, without its noise."""
    return float(f"{value:.6g}")
