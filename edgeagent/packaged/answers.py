"""What a `handler.py` told, judged before it is believed. Nothing that it says is taken as it is:
it may be garbage, and it may be meant to do harm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from edgeagent.errors import InferenceError
from edgeagent.types import (
    Anomaly,
    Box,
    Detection,
    Embedding,
    Keypoints,
    Label,
    Mask,
    Placement,
    Regression,
    Text,
)

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.types import Prediction

_OF_TASK: dict[str, tuple[type[Any], ...]] = {
    "classify": (Label, Text), "keyword": (Label,), "detect": (Detection,), "pose": (Keypoints,),
    "segment": (Mask,), "anomaly": (Anomaly,), "regress": (Regression,), "embed": (Embedding,),
}  # fmt: skip


class _Detection(Struct):
    """As its code may tell one: tracks and second models are not its business."""

    label: str
    score: float
    box: Box
    points: tuple[tuple[float, float], ...] = ()


class _Keypoints(Struct):
    label: str
    score: float
    points: tuple[tuple[float, float, float], ...]
    box: Box = (0.0, 0.0, 1.0, 1.0)


class _Anomaly(Struct):
    score: float
    threshold: float
    regions: tuple[tuple[Box, float], ...] = ()


_TOLD: dict[str, type[Any]] = {
    "Detection": _Detection, "Keypoints": _Keypoints, "Anomaly": _Anomaly,
}  # fmt: skip
"""In what form it comes, where that is not the prediction's own."""
_SCORED = (Label, Detection, Keypoints, Mask, Text)
_LONGEST = 200
_BEYOND = 1.0
"""How far a box may leave the picture, in widths of it."""


class Garbled(InferenceError):
    """What the code of a package told can't be meant."""


def believed(
    told: Iterable[Any], package: Package, threshold: float, placement: Placement
) -> list[Prediction]:
    """Predictions of the captured frame, the best first. Raises Garbled."""
    allowed = {its.__name__: its for its in _OF_TASK[package.manifest.task]}
    found = [_one(its, allowed, package, placement) for its in told]
    kept = [its for its in found if not isinstance(its, _SCORED) or its.score >= threshold]
    kept.sort(key=lambda its: -getattr(its, "score", 0.0))
    return kept


def number(value: Any) -> float:
    """A rule's answer. Raises Garbled."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Garbled(f"its rule answered {value!r}, which is no number")
    return float(value)


def _one(
    its: Any, allowed: dict[str, type[Any]], package: Package, placement: Placement
) -> Prediction:
    name = its.pop("is", "") if isinstance(its, dict) else ""
    kind = allowed.get(name)
    if kind is None:
        task = package.manifest.task
        raise Garbled(
            f"it told {name or type(its).__name__}; a model with task = {task!r} tells "
            f"{' or '.join(allowed)}"
        )
    try:
        told = msgspec.convert(its, _TOLD.get(name, kind))
    except msgspec.ValidationError as error:
        raise Garbled(f"it told a {name} that is none: {error}") from error
    fields = asdict(told)
    _check(name, fields, package)
    return _placed(kind(**fields), placement)


def _check(name: str, its: dict[str, Any], package: Package) -> None:
    for key, value in its.items():
        for one in _leaves(value):
            if isinstance(one, float) and not math.isfinite(one):
                raise Garbled(f"it told a {name} whose {key} is {one}")
            if isinstance(one, str) and len(one) > _LONGEST:
                raise Garbled(f"it told a {name} whose {key} has {len(one)} characters")
            if key in ("box", "points", "polygons") and abs(float(one) - 0.5) > 0.5 + _BEYOND:
                raise Garbled(f"it told a {name} whose {key} lies at {one:g}, outside the picture")
    score, label = its.get("score"), its.get("label")
    if score is not None and name != "Anomaly" and not 0 <= score <= 1:
        raise Garbled(f"it told a {name} with a score of {score:g}; scores lie in 0..1")
    if label is not None and package.labels and label not in package.labels:
        raise Garbled(f"it told the label {label!r}, which the package does not list")
    if "box" in its and not (its["box"][0] <= its["box"][2] and its["box"][1] <= its["box"][3]):
        raise Garbled(f"it told a {name} whose box ends before it begins: {its['box']}")


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


def _placed(found: Any, placement: Placement) -> Prediction:
    """From the picture that the model was shown to the captured frame."""

    def point(x: float, y: float) -> tuple[float, float]:
        left, top, _, _ = placement.to_frame((x, y, x, y))
        return left, top

    if isinstance(found, Detection):
        box = placement.to_frame(found.box)
        return replace(found, box=box, points=tuple(point(x, y) for x, y in found.points))
    if isinstance(found, Keypoints):
        points = tuple((*point(x, y), score) for x, y, score in found.points)
        return replace(found, box=placement.to_frame(found.box), points=points)
    if isinstance(found, Mask):
        polygons = tuple(tuple(point(x, y) for x, y in its) for its in found.polygons)
        return replace(found, polygons=polygons)
    if isinstance(found, Anomaly):
        regions = tuple((placement.to_frame(box), score) for box, score in found.regions)
        return replace(found, regions=regions)
    kept: Prediction = found
    return kept
