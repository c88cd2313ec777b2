"""Detectors: SSD with its own NMS in the graph, and the YOLO family without."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.boxes import corners, nms
from edgeagent.interpret.outputs import all_labels, real, scaling, stateless
from edgeagent.types import Detection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import InputSpec, Package
    from edgeagent.types import Placement, Prediction, Prepared, TensorSpec

    Floats = NDArray[np.float32]

_CANDIDATES = 1000
"""Candidates that go into suppression at most, best first; more are never different objects."""


# --- SSD -----------------------------------------------------------------------------------


class Ssd:
    """The four outputs of `TFLite_Detection_PostProcess`: boxes, classes, scores, count.

    Boxes are (1, n, 4) ymin, xmin, ymax, xmax in 0..1 of the tensor, classes count from 0
    without the background. TensorFlow 1 exports put the boxes first, TensorFlow 2 exports say
    scores, boxes, count, classes.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels = all_labels(package)
        self._package = package
        self._most = package.manifest.output.max_detections
        self._places = stateless(package, outputs)
        self._outputs = outputs
        if len(self._places) != 4:
            raise PackageError(
                f"output.decoder: ssd reads 4 outputs (boxes, classes, scores, count), the model "
                f"has {len(self._places)}",
                remedy="Export it with TFLite_Detection_PostProcess, or set another decoder.",
            )
        self._roles: tuple[int, int, int, int] | None = None
        shapes = [outputs[place].shape for place in self._places]
        if all(shapes):  # some files tell shapes only once they are loaded
            self._roles = self._find_roles(shapes)

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        if self._roles is None:
            self._roles = self._roles_now(outputs)
        boxes, classes, scores, count = (
            real(outputs[place], self._outputs[place]) for place in self._roles
        )
        told = float(count.ravel()[0])
        rows = scores.ravel().tolist()
        many = min(int(told), len(rows)) if math.isfinite(told) else len(rows)
        corners_ = boxes.reshape(-1, 4).tolist()
        numbers = classes.ravel().tolist()
        place = prepared.placement.to_frame
        found: list[Prediction] = []
        bad = 0
        for score, number, (top, left, bottom, right) in zip(
            rows[:many], numbers, corners_, strict=False
        ):
            if not math.isfinite(score + number + top + left + bottom + right):
                bad += 1
            elif score >= self.threshold:
                label = self._package.label(round(number))
                found.append(Detection(label, score, place((left, top, right, bottom))))
        self._count_dropped(bad, many)
        found.sort(key=_score, reverse=True)
        return found[: self._most]

    def _count_dropped(self, bad: int, of: int) -> None:
        self.dropped += bad
        _refuse_all_bad(bad, of)

    def _roles_now(self, outputs: Sequence[NDArray[Any]]) -> tuple[int, int, int, int]:
        try:
            return self._find_roles([outputs[place].shape for place in self._places])
        except PackageError as error:  # the shapes were open until now
            raise InferenceError(str(error), remedy=error.remedy) from error

    def _find_roles(self, shapes: list[tuple[int, ...]]) -> tuple[int, int, int, int]:
        """Places of boxes, classes, scores, count."""
        boxes = [k for k, shape in enumerate(shapes) if len(shape) == 3 and shape[-1] == 4]
        rows = [k for k, shape in enumerate(shapes) if len(shape) == 2]
        single = [k for k, shape in enumerate(shapes) if math.prod(shape) == 1 and len(shape) < 2]
        if len(boxes) != 1 or len(rows) != 2 or len(single) != 1:
            raise PackageError(
                "output.decoder: ssd reads boxes [1,n,4], classes [1,n], scores [1,n] and "
                f"count [1], the model has {', '.join(str(list(shape)) for shape in shapes)}",
                remedy="Set another output.decoder.",
            )
        # Where the boxes come first, classes come before scores; else scores were first of all.
        classes, scores = rows if boxes[0] == 0 else rows[::-1]
        first, second, third, fourth = (
            self._places[k] for k in (boxes[0], classes, scores, single[0])
        )
        return first, second, third, fourth


def _score(found: Prediction) -> float:
    return found.score if isinstance(found, Detection) else 0.0


# --- YOLO ----------------------------------------------------------------------------------


class Yolo:
    """One tensor of candidates: a box, perhaps an objectness, a score for each class.

    Rows (v5, ours) or columns (v8 and later), centre or corners, normalised or in pixels of
    the tensor: the package says which. Suppression is by class.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels = all_labels(package)
        self._package = package
        self._how = package.manifest.output
        self._ahead = 5 if self._how.objectness else 4
        self._image = _image_input(package)
        places = stateless(package, outputs)
        if len(places) != 1:
            raise PackageError(
                f"output.decoder: yolo reads one output, the model has {len(places)}",
                remedy="Export the model with its heads joined, or set another decoder.",
            )
        self._place = places[0]
        self._tensor = outputs[self._place]
        self._columns: bool | None = None
        if len(self._tensor.shape) == 3 and min(self._tensor.shape[1:]) > 0:
            self._columns = self._find_columns(self._tensor.shape)

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        stored = outputs[self._place]
        if self._columns is None:
            try:
                self._columns = self._find_columns(stored.shape)
            except PackageError as error:  # the shape was open until now
                raise InferenceError(str(error), remedy=error.remedy) from error
        table = stored[0].T if self._columns else stored[0]
        hopeful = self._hopeful(table)
        if not hopeful.size:
            return []
        values = real(table[hopeful], self._tensor)
        boxes = corners(values[:, :4], self._how.boxes)
        classes, scores = self._scores(values)
        if self._how.units == "pixels":
            boxes = np.divide(boxes, self._pixels(prepared), dtype=np.float32)
        sound = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
        bad = int((~sound).sum())
        self.dropped += bad
        _refuse_all_bad(bad, table.shape[0])
        wanted = np.flatnonzero(sound & (scores >= self.threshold))
        if wanted.size > _CANDIDATES:
            wanted = wanted[np.argsort(-scores[wanted], kind="stable")[:_CANDIDATES]]
        boxes, scores, classes = boxes[wanted], scores[wanted], classes[wanted]
        kept = nms(boxes, scores, self._how.nms_iou, classes=classes, most=self._how.max_detections)
        return detections(
            self._package, boxes[kept], scores[kept], classes[kept], prepared.placement
        )

    def _hopeful(self, table: NDArray[Any]) -> NDArray[np.intp]:
        """Rows whose best class may reach the threshold, found without dequantising the rest."""
        best = table[:, self._ahead :].max(axis=1)
        limit = _stored_limit(self.threshold, self._how.activation, self._tensor)
        if limit is None:
            return np.arange(table.shape[0])
        # NaN compares false: "not below" keeps it, so that it is counted afterwards.
        hopeful = ~(best < limit)
        if self._ahead == 5:
            hopeful &= ~(table[:, 4] < limit)
        return np.flatnonzero(hopeful)

    def _scores(self, values: Floats) -> tuple[NDArray[np.intp], Floats]:
        by_class = values[:, self._ahead :]
        if self._how.activation == "softmax":
            growth = np.exp(by_class - by_class.max(axis=1, keepdims=True))
            by_class = growth / growth.sum(axis=1, keepdims=True)
        classes = by_class.argmax(axis=1)
        scores = np.take_along_axis(by_class, classes[:, None], axis=1)[:, 0]
        sigmoid = self._how.activation == "sigmoid"
        if sigmoid:
            scores = _sigmoid(scores)
        if self._ahead == 5:
            scores = scores * (_sigmoid(values[:, 4]) if sigmoid else values[:, 4])
        return classes, scores

    def _find_columns(self, shape: tuple[int, ...]) -> bool:
        """Whether a candidate is a column (values, n) rather than a row (n, values)."""
        if len(shape) != 3 or shape[0] not in (1, -1):
            raise PackageError(
                f"output.decoder: yolo reads a tensor [1,n,values] or [1,values,n], "
                f"{self._tensor.name!r} is {list(shape)}",
                remedy="Set another output.decoder.",
            )
        _, first, second = shape
        classes = len(self._package.labels) - self._how.label_offset
        wanted = self._ahead + classes if self._package.labels else 0
        columns = self._how.layout == "columns"
        if self._how.layout == "auto":
            columns = first == wanted if wanted in (first, second) else first < second
        values = first if columns else second
        if values <= self._ahead or (wanted and values != wanted):
            raise PackageError(
                f"labels: {classes} classes and {self._ahead} values before them are "
                f"{self._ahead + classes} a candidate, {self._tensor.name!r} is {list(shape)}",
                remedy="Correct labels, output.objectness or output.layout.",
            )
        return columns

    def _pixels(self, prepared: Prepared) -> tuple[int, int, int, int]:
        """Width, height, width, height of the tensor that the boxes are measured in."""
        place, spec = self._image
        if spec.size is not None:
            width, height = spec.size
        else:
            shape = prepared.tensors[place].shape[-3:]
            planar = shape[0] in (1, 3) and spec.layout != "nhwc" and shape[2] not in (1, 3)
            height, width = shape[1:] if planar or spec.layout == "nchw" else shape[:2]
        return width, height, width, height


def _image_input(package: Package) -> tuple[int, InputSpec]:
    for place, spec in enumerate(package.manifest.input):
        if spec.kind == "image":
            return place, spec
    raise PackageError("output.decoder: a detector needs an [[input]] of kind image")


def _stored_limit(threshold: float, activation: str, tensor: TensorSpec) -> float | None:
    """The stored value below which no score reaches the threshold; None where it can't be told."""
    if activation == "softmax" or (activation == "sigmoid" and not 0 < threshold < 1):
        return None
    limit = math.log(threshold / (1 - threshold)) if activation == "sigmoid" else threshold
    scale, zero_point = scaling(tensor)
    # One rounding of float32 must not lose a candidate that lies right on the threshold.
    return limit / scale + zero_point - 1e-3 * max(1.0, abs(limit / scale))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -100.0, 100.0))), np.float32)


def _refuse_all_bad(bad: int, of: int) -> None:
    if bad and bad == of:
        raise InferenceError(
            "the model answered with NaN or infinity in every candidate",
            remedy="Check its input scaling (mean, scale) and its file.",
        )


def detections(
    package: Package,
    boxes: Floats,
    scores: Floats,
    classes: NDArray[np.integer[Any]],
    placement: Placement,
) -> list[Prediction]:
    """Detections in the frame from boxes in the tensor (x1, y1, x2, y2 in 0..1)."""
    return [
        Detection(package.label(number), score, placement.to_frame((x1, y1, x2, y2)))
        for (x1, y1, x2, y2), score, number in zip(
            boxes.tolist(), scores.tolist(), classes.tolist(), strict=True
        )
    ]
