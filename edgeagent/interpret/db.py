"""Where text stands: the probability map of a text detector as quadrilaterals.

Source: Liao et al. 2020, "Real-time Scene Text Detection with Differentiable Binarization";
steps and limits are those of PaddleOCR's ``DBPostProcess`` (mode fast, with dilation). A patch
of the map is the text shrunk to its middle; it is grown again by area × ratio / perimeter.
There each found rectangle is offset with rounded corners and boxed anew; here its sides are
moved out by as much, which is the same rectangle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.outputs import real, refuse_all_bad, shapes, sigmoid, stateless
from edgeagent.types import Detection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Placement, Prediction, Prepared, TensorSpec

    Floats = NDArray[np.floating[Any]]

_PATCHES = 1000
"""Patches that are looked at, at most."""
_THIN = 3.0
"""Map pixels: thinner patches are noise."""
_KERNEL = np.ones((2, 2), np.uint8)


class TextBoxes:
    """Detections of one label, whose four points go clockwise from the top left.

    Reads one map (1, 1, h, w), (1, h, w, 1) or (1, h, w) of probabilities, or of logits with
    ``activation = "sigmoid"``. The score is the map's mean over the patch.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels: tuple[str, ...] = package.labels[:1] or ("text",)
        self._how = package.manifest.output
        places = stateless(package, outputs)
        self._place = places[0]
        self._tensor = outputs[self._place]
        shape = self._tensor.shape
        if len(places) != 1 or (shape and (len(shape) not in (3, 4) or not _channel(shape))):
            raise PackageError(
                "output.decoder: db reads one map [1,1,h,w] of probabilities, the model has "
                f"{shapes(outputs, places)}",
                remedy="Set another output.decoder.",
            )

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        answer = real(outputs[self._place], self._tensor)
        if answer.ndim not in (3, 4) or answer.size == 0 or not _channel(answer.shape):
            raise InferenceError(
                f"the model answered {list(answer.shape)}, no map of one channel",
                remedy="Correct output.decoder in its model.toml.",
            )
        chart = answer.reshape(_sides(answer.shape))
        bad = int((~np.isfinite(chart)).sum())
        if bad:
            self.dropped += bad
            refuse_all_bad(bad, chart.size)
            chart = np.nan_to_num(chart, nan=0.0, posinf=0.0, neginf=0.0)
        if self._how.activation == "sigmoid":
            chart = sigmoid(chart)
        told = self._texts(np.ascontiguousarray(chart))
        told.sort(key=lambda one: -one[0])
        return [
            _detection(self.labels[0], score, points, prepared.placement)
            for score, points in told[: self._how.max_detections]
        ]

    def _texts(self, chart: Floats) -> list[tuple[float, Floats]]:
        """(score, points (4, 2) in 0..1 of the map)."""
        patches = cv2.dilate((chart > self._how.binary).astype(np.uint8), _KERNEL)
        outlines, _ = cv2.findContours(patches, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        height, width = chart.shape
        told: list[tuple[float, Floats]] = []
        for outline in outlines[:_PATCHES]:
            middle, sides, angle = cv2.minAreaRect(outline)
            if min(sides) < _THIN:
                continue
            corners = cv2.boxPoints((middle, sides, angle))
            score = _mean_inside(chart, corners)
            if score < self.threshold:
                continue
            grown = self._grown(corners, sides)
            if grown is not None:
                told.append((score, _clockwise(grown) / (width, height)))
        return told

    def _grown(self, corners: Any, sides: Sequence[float]) -> Floats | None:
        """The rectangle with its sides moved out."""
        distance = sides[0] * sides[1] * self._how.unclip / (2 * (sides[0] + sides[1]))
        # The library that PaddleOCR offsets with counts in whole pixels.
        middle, inner, angle = cv2.minAreaRect(np.trunc(corners).astype(np.float32))
        distance = round(distance)
        outer = (inner[0] + 2 * distance, inner[1] + 2 * distance)
        if min(outer) < _THIN + 2:
            return None
        return np.asarray(cv2.boxPoints((middle, outer, angle)), np.float64)


def _channel(shape: Sequence[int]) -> bool:
    """Whether it is one map."""
    return len(shape) == 3 or shape[1] in (1, -1) or shape[3] in (1, -1)


def _sides(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of a map."""
    if len(shape) == 3:
        return shape[1], shape[2]
    return (shape[2], shape[3]) if shape[1] == 1 else (shape[1], shape[2])


def _mean_inside(chart: Floats, corners: Any) -> float:
    """Mean of the map over a rectangle, cut at the map's edges."""
    height, width = chart.shape
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, (width - 1, height - 1))
    inside: Any = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    cv2.fillPoly(inside, [(corners - low).astype(np.int32)], (1,))
    part = chart[low[1] : high[1] + 1, low[0] : high[0] + 1]
    return float(cv2.mean(part, inside)[0])


def _clockwise(points: Floats) -> Floats:
    """From the top left: of the two leftmost points the upper one, and so on."""
    across = points[np.argsort(points[:, 0], kind="stable")]
    left = across[:2][np.argsort(across[:2, 1], kind="stable")]
    right = across[2:][np.argsort(across[2:, 1], kind="stable")]
    return np.array([left[0], right[0], right[1], left[1]])


def _detection(label: str, score: float, points: Floats, where: Placement) -> Detection:
    marks = tuple(where.to_frame((x, y, 0.0, 0.0))[:2] for x, y in points.tolist())
    marks = tuple((min(1.0, max(0.0, x)), min(1.0, max(0.0, y))) for x, y in marks)
    xs, ys = [x for x, _ in marks], [y for _, y in marks]
    return Detection(label, score, (min(xs), min(ys), max(xs), max(ys)), marks)
