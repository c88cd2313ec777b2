"""Whether two lists of predictions mean the same, within the tolerance of a package.

Correct kernels differ: the same int8 file gave scores 0.07 apart on two of them. So golden
samples are compared by what a user would notice, and must be confident ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from edgeagent.types import (
    Anomaly,
    Detection,
    Embedding,
    Keypoints,
    Label,
    Mask,
    Prediction,
    Regression,
    Text,
)

Told = dict[str, Any]
"""A prediction as it stands in a file; ``kind`` says which."""


class Tolerance(Struct, frozen=True):
    """How far an answer may be from the expected one."""

    score: float = 0.1
    """Scores: absolute. Anomalies and measured values: relative."""
    iou: float = 0.8
    """Least overlap of a box with the expected one."""
    top1: float = 1.0
    """Least share of samples whose best label is the expected one."""
    points: float = 0.05
    """Landmarks and keypoints: distance in parts of the frame."""


def tell(prediction: Prediction) -> Told:
    """A prediction as plain values, rounded to what a comparison can notice."""
    if isinstance(prediction, Label):
        return {"kind": "label", "label": prediction.label, "score": _r(prediction.score)}
    if isinstance(prediction, Detection):
        told = {
            "kind": "detection",
            "label": prediction.label,
            "score": _r(prediction.score),
            "box": [_r(edge) for edge in prediction.box],
        }
        if prediction.points:
            told["points"] = [[_r(x), _r(y)] for x, y in prediction.points]
        return told
    if isinstance(prediction, Keypoints):
        points = [[_r(value) for value in point] for point in prediction.points]
        score = _r(prediction.score)
        return {"kind": "keypoints", "label": prediction.label, "score": score, "points": points}
    if isinstance(prediction, Mask):
        share = _r(prediction.share)
        return {"kind": "mask", "label": prediction.label, "score": share}
    if isinstance(prediction, Anomaly):
        threshold = _r(prediction.threshold)
        return {"kind": "anomaly", "score": _r(prediction.score), "threshold": threshold}
    if isinstance(prediction, Regression):
        return {"kind": "regression", "label": prediction.name, "value": _r(prediction.value)}
    if isinstance(prediction, Embedding):
        return {"kind": "embedding", "vector": [_r(value) for value in prediction.vector]}
    if isinstance(prediction, Text):
        return {"kind": "label", "label": prediction.text, "score": _r(prediction.score)}
    return {"kind": "raw", "outputs": _rounded(prediction.outputs)}


def differences(
    expected: Sequence[Told], got: Sequence[Told], threshold: float, tolerance: Tolerance
) -> list[str]:
    """What is wrong with ``got``, a sentence each; empty = it means the same.

    The best label is not judged here (`same_top`), because ``top1`` is a share over samples.
    """
    kinds = {told["kind"] for told in expected} | {told["kind"] for told in got}
    if kinds & {"detection", "keypoints"}:
        return _found(expected, got, threshold, tolerance)
    if kinds <= {"label", "mask"}:
        return _labels(expected, got, tolerance)
    if len(expected) != len(got):
        return [f"{len(got)} predictions instead of {len(expected)}"]
    faults = (_value(want, have, tolerance) for want, have in zip(expected, got, strict=True))
    return [fault for fault in faults if fault]


def same_top(expected: Sequence[Told], got: Sequence[Told]) -> bool:
    """Whether the best-scored label is the same; true where nothing has labels."""
    best, found = _best(expected), _best(got)
    return best is None or (found is not None and found["label"] == best["label"])


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (sum(areas) - width * height)


def _best(told: Sequence[Told]) -> Told | None:
    scored = [one for one in told if "label" in one and "score" in one]
    return max(scored, key=lambda one: float(one["score"]), default=None)


def _labels(expected: Sequence[Told], got: Sequence[Told], tolerance: Tolerance) -> list[str]:
    scores = {told["label"]: told["score"] for told in got}
    faults = []
    for want in expected:
        # A label that fell out of the `top` list scores less than the last one in it.
        have = scores.get(want["label"], min(scores.values(), default=0.0))
        if abs(have - want["score"]) > tolerance.score and (
            want["label"] in scores or have < want["score"]
        ):
            faults.append(f"{want['label']}: {have:.3f} instead of {want['score']:.3f}")
    return faults


def _found(
    expected: Sequence[Told], got: Sequence[Told], threshold: float, tolerance: Tolerance
) -> list[str]:
    rest = sorted(got, key=lambda one: -float(one["score"]))
    doubtful = threshold + tolerance.score
    faults = []
    for want in sorted(expected, key=lambda one: -float(one["score"])):
        match = max(
            (one for one in rest if one["label"] == want["label"]),
            key=lambda one: _closeness(want, one, tolerance),
            default=None,
        )
        if match is None or _closeness(want, match, tolerance) < 0:
            # Next to the threshold a correct kernel may fall on the other side of it.
            if want["score"] >= doubtful:
                faults.append(f"{_name(want)} is missing")
            continue
        rest.remove(match)
        if abs(match["score"] - want["score"]) > tolerance.score:
            faults.append(f"{_name(want)}: score {match['score']:.3f}")
    faults += [f"{_name(one)} is new" for one in rest if one["score"] >= doubtful]
    return faults


def _closeness(want: Told, have: Told, tolerance: Tolerance) -> float:
    """How well two places agree; negative = they do not."""
    if "box" in want and "box" in have:
        overlap = iou(want["box"], have["box"])
        return overlap if overlap >= tolerance.iou else -1.0
    pairs = zip(want.get("points", ()), have.get("points", ()), strict=False)
    worst = max((math.dist(one[:2], other[:2]) for one, other in pairs), default=0.0)
    return 1.0 - worst if worst <= tolerance.points else -1.0


def _value(want: Told, have: Told, tolerance: Tolerance) -> str:
    if want["kind"] != have["kind"]:
        return f"{have['kind']} instead of {want['kind']}"
    if want["kind"] == "anomaly":
        return _anomaly(want, have, tolerance)
    if want["kind"] == "regression":
        near = _near(want["value"], have["value"], tolerance.score)
        return "" if near else f"{want['label']}: {have['value']:g} instead of {want['value']:g}"
    if want["kind"] == "embedding":
        cosine = _cosine(want["vector"], have["vector"])
        return "" if cosine >= 1 - tolerance.score else f"embedding: cosine {cosine:.3f}"
    return "" if _alike(want["outputs"], have["outputs"], tolerance.score) else "outputs differ"


def _anomaly(want: Told, have: Told, tolerance: Tolerance) -> str:
    # Against the threshold, because that is the scale on which a score means anything.
    scale = max(abs(want["threshold"]), abs(want["score"]), 1e-9)
    if abs(have["score"] - want["score"]) > tolerance.score * scale:
        return f"anomaly score {have['score']:.4g} instead of {want['score']:.4g}"
    return ""


def _near(want: float, have: float, share: float) -> bool:
    return abs(have - want) <= share * max(abs(want), 1.0)


def _alike(want: Any, have: Any, share: float) -> bool:
    if isinstance(want, dict):
        return want.keys() == have.keys() and all(_alike(want[k], have[k], share) for k in want)
    if isinstance(want, list):
        same_length = isinstance(have, list) and len(want) == len(have)
        return same_length and all(map(_alike, want, have, [share] * len(want)))
    return _near(want, have, share)


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    if len(one) != len(other):
        return 0.0
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return float(product / (math.hypot(*one) * math.hypot(*other) or 1.0))


def _name(told: Told) -> str:
    place = told.get("box") or (told.get("points") or [[]])[0]
    return f"{told['label']} {told['score']:.3f} at {', '.join(f'{edge:.2f}' for edge in place)}"


def _r(value: float) -> float:
    """Six significant digits: more than two kernels ever share."""
    return float(f"{float(value):.6g}")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return value if isinstance(value, (bool, int, str)) else _r(value)
