"""MediaPipe's face detector: anchors that stand in no file, six landmarks, blended boxes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.boxes import iou
from edgeagent.interpret.outputs import all_labels, real, scaling, stateless
from edgeagent.types import Detection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Placement, Prediction, Prepared, TensorSpec

    Floats = NDArray[np.floating[Any]]

_LANDMARKS = 6
"""Right eye, left eye, nose, mouth, right ear, left ear (of the person shown)."""
_CLIP = 100.0


class Anchors(msgspec.Struct, forbid_unknown_fields=True):
    """``output.anchors``: the grid of the short-range model unless told otherwise."""

    strides: list[int] = msgspec.field(default_factory=lambda: [8, 16, 16, 16])
    size: int = 128
    """Side of the input in pixels; offsets are given in these pixels as well."""
    per_layer: int = 2
    """2 with an interpolated scale (short range), 1 without (full range)."""

    def centres(self) -> Floats:
        """(n, 2) x, y in 0..1: by stride, then rows, then columns.

        Source: MediaPipe's SsdAnchorsCalculator with fixed_anchor_size: neighbouring layers
        of one stride share one grid, so a cell has ``per_layer`` anchors for each of them.
        """
        grids = []
        layer = 0
        while layer < len(self.strides):
            stride = self.strides[layer]
            same = layer
            while same < len(self.strides) and self.strides[same] == stride:
                same += 1
            cells = -(-self.size // stride)
            y, x = np.mgrid[0:cells, 0:cells].reshape(2, -1)
            grid = np.stack([x + 0.5, y + 0.5], axis=1) / cells
            grids.append(np.repeat(grid, self.per_layer * (same - layer), axis=0))
            layer = same
        return np.concatenate(grids).astype(np.float32)


class BlazeFace:
    """Faces with six landmarks, blended by MediaPipe's weighted suppression.

    Source: mediapipe `modules/face_detection/face_detection_short_range_common.pbtxt`
    (TensorsToDetectionsCalculator, NonMaxSuppressionCalculator with algorithm WEIGHTED, which
    uses an overlap of 0.3: say ``nms_iou = 0.3``).
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels = all_labels(package) or ("face",)
        self._how = package.manifest.output
        try:
            anchors = msgspec.convert(self._how.anchors, Anchors)
            if min(anchors.strides, default=0) < 1 or anchors.size < 1 or anchors.per_layer < 1:
                raise ValueError("strides, size and per_layer are whole numbers above 0")
        except (msgspec.ValidationError, ValueError) as error:
            raise PackageError(f"output.anchors: {error}") from error
        self._centres = anchors.centres()
        self._size = np.float32(anchors.size)
        self._raw, self._scores = self._find(package, outputs)
        self._outputs = outputs
        scale, zero_point = scaling(outputs[self._scores])
        limit = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else -math.inf
        if threshold >= 1:
            limit = math.inf
        self._limit = limit / scale + zero_point

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        stored = outputs[self._scores].reshape(-1)
        if stored.shape[0] != self._centres.shape[0]:
            raise InferenceError(
                f"the model answered {stored.shape[0]} candidates for {len(self._centres)} anchors",
                remedy="Correct output.anchors in its model.toml.",
            )
        # NaN compares false: "not below" keeps it, so that it is counted.
        hopeful = np.flatnonzero(~(stored < self._limit))
        if not hopeful.size:
            return []
        logits = real(stored[hopeful], self._outputs[self._scores])
        raw = real(outputs[self._raw].reshape(len(stored), -1)[hopeful], self._outputs[self._raw])
        sound = np.isfinite(logits) & np.isfinite(raw).all(axis=1)
        bad = int((~sound).sum())
        self.dropped += bad
        if bad == len(stored):
            raise InferenceError(
                "the model answered with NaN or infinity in every candidate",
                remedy="Check its input scaling (mean, scale) and its file.",
            )
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits[sound], -_CLIP, _CLIP)))
        values = self._decode(raw[sound], self._centres[hopeful[sound]])
        faces = blend(values, scores, self._how.nms_iou, self._how.max_detections)
        return [self._face(row, score, prepared.placement) for row, score in faces]

    def _decode(self, raw: Floats, centres: Floats) -> Floats:
        """(n, 4 + 12): x1, y1, x2, y2 and the landmarks' x, y, in 0..1 of the tensor."""
        values = raw / self._size
        points = values[:, 4:].reshape(len(values), -1, 2) + centres[:, None, :]
        middle = values[:, :2] + centres
        half = values[:, 2:4] / 2
        flat = points.reshape(len(values), -1)
        return np.concatenate([middle - half, middle + half, flat], axis=1)

    def _face(self, row: Floats, score: float, placement: Placement) -> Detection:
        values = row.tolist()
        box = placement.to_frame((values[0], values[1], values[2], values[3]))
        points = tuple(
            placement.to_frame((values[at], values[at + 1], 0.0, 0.0))[:2]
            for at in range(4, len(values), 2)
        )
        return Detection(self.labels[0], score, box, points)

    def _find(self, package: Package, outputs: tuple[TensorSpec, ...]) -> tuple[int, int]:
        """Places of the boxes with landmarks and of the scores."""
        places = stateless(package, outputs)
        width = 4 + 2 * _LANDMARKS
        raw = [place for place in places if outputs[place].shape[-1:] == (width,)]
        scores = [place for place in places if outputs[place].shape[-1:] == (1,)]
        if len(raw) != 1 or len(scores) != 1:
            shapes = ", ".join(str(list(outputs[place].shape)) for place in places)
            raise PackageError(
                f"output.decoder: blazeface reads [1,n,{width}] and [1,n,1], the model has "
                f"{shapes}",
                remedy="Set another output.decoder.",
            )
        count = outputs[scores[0]].shape[-2]
        if count not in (-1, len(self._centres)):
            raise PackageError(
                f"output.anchors: they make {len(self._centres)} anchors, the model has {count} "
                "candidates",
                remedy="Give strides, size and per_layer of the model (the full-range one: "
                "strides = [4], size = 192, per_layer = 1).",
            )
        return raw[0], scores[0]


def blend(values: Floats, scores: Floats, limit: float, most: int) -> list[tuple[Floats, float]]:
    """Weighted suppression: overlapping candidates become their score-weighted mean.

    The best candidate gives its score and gathers all that overlap it by more than ``limit``.
    """
    order = np.argsort(-scores, kind="stable")
    faces: list[tuple[Floats, float]] = []
    while order.size and len(faces) < most:
        best = order[0]
        near = iou(values[best, :4], values[order, :4]) > limit
        near[0] = True  # an empty box overlaps nothing, not even itself
        group = order[near]
        weights = scores[group] / scores[group].sum()
        faces.append((weights @ values[group], float(scores[best])))
        order = order[~near]
    return faces
