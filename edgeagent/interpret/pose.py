"""Poses: points of a body, told as coordinates or as heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.outputs import (
    Canvas,
    all_labels,
    named,
    real,
    refuse_all_bad,
    shapes,
    sigmoid,
    stateless,
)
from edgeagent.types import Keypoints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Placement, Prediction, Prepared, TensorSpec

    Floats = NDArray[np.floating[Any]]


class MoveNet:
    """One body (1, 1, 17, 3), or several (1, n, 56): y, x, score of each point in 0..1.

    The score of a single body is the mean of its points'. The multi-pose model adds a box
    (y1, x1, y2, x2) and the body's own score. Points come in COCO's order.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels = all_labels(package)[:1] or ("person",)
        places = stateless(package, outputs)
        self._place = named(package, outputs, "points").get("points", places[0])
        self._tensor = outputs[self._place]
        self._most = package.manifest.output.max_detections
        values = self._tensor.shape[-1:]
        self._several = bool(values) and values[0] > 3
        if values and (values[0] not in (3, -1) and (values[0] < 8 or (values[0] - 5) % 3)):
            raise PackageError(
                "output.decoder: movenet reads [1,1,points,3] or [1,n,points × 3 + 5], "
                f"{self._tensor.name!r} is {shapes(outputs, [self._place])}",
                remedy='Set another output.decoder, such as "heatmap".',
            )

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        values = real(outputs[self._place], self._tensor)
        if self._several:
            rows = values.reshape(-1, values.shape[-1])
            bodies, scores = rows[:, :-5].reshape(len(rows), -1, 3), rows[:, -1]
            boxes = rows[:, [-4, -5, -2, -3]]
        else:
            bodies = values.reshape(1, -1, 3)
            scores, boxes = bodies[..., 2].mean(axis=1), None
        sound = np.isfinite(bodies).all(axis=(1, 2)) & np.isfinite(scores)
        if boxes is not None:
            sound &= np.isfinite(boxes).all(axis=1)
        bad = int((~sound).sum())
        self.dropped += bad
        refuse_all_bad(bad, len(sound))
        told = np.flatnonzero(sound & (scores >= self.threshold))
        told = told[np.argsort(-scores[told], kind="stable")[: self._most]]
        return [
            _body(
                self.labels[0], float(scores[k]), bodies[k][:, [1, 0, 2]], self.threshold,
                prepared.placement, None if boxes is None else boxes[k],
            )
            for k in told.tolist()
        ]  # fmt: skip


class HeatMap:
    """One body, a map for each point: (1, h, w, points), or channels first.

    Where a second output has two values a point (y of all, then x of all), it moves the point
    from its cell, in pixels of the input (PoseNet). Without it, the point is moved a quarter of
    a cell towards the higher neighbour (Xiao, Wu and Wei 2018, "Simple Baselines for Human Pose
    Estimation").
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels = all_labels(package)[:1] or ("person",)
        self._how = package.manifest.output
        self._canvas = Canvas(package)
        self._outputs = outputs
        places = stateless(package, outputs)
        told = named(package, outputs, "heatmaps", "offsets")
        maps = [place for place in places if len(outputs[place].shape) == 4]
        self._maps = told.get("heatmaps", maps[0] if maps else places[0])
        self._offsets = told.get("offsets")
        shape = outputs[self._maps].shape
        if shape and len(shape) != 4:
            raise PackageError(
                "output.decoder: heatmap reads maps [1,h,w,points] or [1,points,h,w], the model "
                f"has {shapes(outputs, places)}",
                remedy="Set another output.decoder.",
            )
        axis = 1 if self._planar(shape) else 3
        if self._offsets is None and shape and shape[axis] > 0:
            twice = [
                p for p in maps if p != self._maps and outputs[p].shape[axis] == 2 * shape[axis]
            ]
            self._offsets = twice[0] if twice else None

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        maps = self._channels_last(outputs, self._maps)
        rows, columns, points = maps.shape
        flat = maps.reshape(-1, points)
        if not np.isfinite(flat).all():
            raise InferenceError(
                "the model answered with NaN or infinity in a heat map",
                remedy="Check its input scaling (mean, scale) and its file.",
            )
        cells = flat.argmax(axis=0)
        scores = flat[cells, np.arange(points)]
        if self._how.activation == "sigmoid":
            scores = sigmoid(scores)
        y, x = np.divmod(cells, columns)
        if self._offsets is not None:
            places = self._moved(outputs, prepared, y, x, (rows, columns))
        else:
            places = np.stack(
                [
                    (x + 0.5 + _lean(maps, y, x, 1)) / columns,
                    (y + 0.5 + _lean(maps, y, x, 0)) / rows,
                ],
                axis=1,
            )
        score = float(scores.mean())
        if score < self.threshold:
            return []
        body = np.concatenate([places, scores[:, None]], axis=1)
        return [_body(self.labels[0], score, body, self.threshold, prepared.placement, None)]

    def _moved(
        self,
        outputs: Sequence[NDArray[Any]],
        prepared: Prepared,
        y: NDArray[np.intp],
        x: NDArray[np.intp],
        shape: tuple[int, int],
    ) -> Floats:
        """(points, 2) x, y in 0..1 of the tensor."""
        assert self._offsets is not None
        offsets = self._channels_last(outputs, self._offsets)
        points = len(x)
        if offsets.shape != (*shape, 2 * points):
            raise InferenceError(
                f"the model answered offsets {list(offsets.shape)} for {points} maps of "
                f"{shape[1]} × {shape[0]}",
                remedy="Say which output is which with output.tensors in its model.toml.",
            )
        every = np.arange(points)
        width, height = self._canvas.size(prepared)
        # The first and the last cell stand on the picture's edges.
        steps = (width - 1) / max(1, shape[1] - 1), (height - 1) / max(1, shape[0] - 1)
        across = x * steps[0] + offsets[y, x, every + points]
        down = y * steps[1] + offsets[y, x, every]
        return np.stack([across / width, down / height], axis=1)

    def _channels_last(self, outputs: Sequence[NDArray[Any]], place: int) -> NDArray[np.float32]:
        values = real(outputs[place], self._outputs[place])
        if values.ndim != 4 or values.shape[0] != 1:
            raise InferenceError(f"the model answered {list(values.shape)}, which is no heat map")
        planar = self._planar(outputs[self._maps].shape)
        return np.asarray(values[0].transpose(1, 2, 0) if planar else values[0])

    def _planar(self, shape: tuple[int, ...]) -> bool:
        """Channels first, by ``layout`` or where the last two axes look like a picture's."""
        if self._how.layout != "auto":
            return self._how.layout == "columns"
        return len(shape) == 4 and _alike(shape[2], shape[3]) > _alike(shape[1], shape[2])


def _alike(one: int, other: int) -> float:
    return min(one, other) / max(one, other) if min(one, other) > 0 else 0.0


def _lean(maps: Floats, y: NDArray[np.intp], x: NDArray[np.intp], axis: int) -> Floats:
    """A quarter of a cell towards the higher of two neighbours; 0 at the edge."""
    every = np.arange(len(x))
    at, size = (y, maps.shape[0]) if axis == 0 else (x, maps.shape[1])
    before, after = np.maximum(at - 1, 0), np.minimum(at + 1, size - 1)
    if axis == 0:
        slope = maps[after, x, every] - maps[before, x, every]
    else:
        slope = maps[y, after, every] - maps[y, before, every]
    inner = (at > 0) & (at < size - 1)
    return np.asarray(np.where(inner, np.sign(slope) * 0.25, 0.0))


def _body(
    label: str,
    score: float,
    points: Floats,
    threshold: float,
    placement: Placement,
    box: Floats | None,
) -> Keypoints:
    """A body in the frame from (n, 3) x, y, score in the tensor.

    Without a box of its own it has the bounds of the points that are sure.
    """
    told = [(*placement.to_frame((x, y, 0.0, 0.0))[:2], sure) for x, y, sure in points.tolist()]
    if box is not None:
        x1, y1, x2, y2 = box.tolist()
        return Keypoints(label, score, tuple(told), placement.to_frame((x1, y1, x2, y2)))
    best = max(sure for _, _, sure in told)
    sure_ones = [point for point in told if point[2] >= min(threshold, best)]
    xs, ys = [point[0] for point in sure_ones], [point[1] for point in sure_ones]
    return Keypoints(label, score, tuple(told), (min(xs), min(ys), max(xs), max(ys)))
