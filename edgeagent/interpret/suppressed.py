"""Detectors whose graph suppresses: a short list of boxes, in several outputs or in one table."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.boxes import corners
from edgeagent.interpret.outputs import (
    Canvas,
    all_labels,
    named,
    real,
    refuse_all_bad,
    scaling,
    shapes,
    stateless,
)
from edgeagent.types import Detection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Placement, Prediction, Prepared, TensorSpec

ROWS = {
    6: ("x1", "y1", "x2", "y2", "score", "class"),
    7: ("batch", "x1", "y1", "x2", "y2", "class", "score"),
}
"""What a table's values are unless ``output.row`` says it. Sources: the exports of Ultralytics
(``nms=True``, and models that need none) and of YOLOv7 (``--end2end`` for ONNX Runtime)."""
_FORMS = {"xyxy": ("x1", "y1", "x2", "y2"), "cxcywh": ("cx", "cy", "w", "h")}


class Shortlist:
    """Names what a graph has left over, without what is no number or below the threshold.

    The rows are few, and plain floats here: after a large model has run, a dozen calls into
    NumPy's code cost ten times what they cost while it is in the caches.
    """

    def __init__(self, package: Package, threshold: float) -> None:
        self.dropped = 0
        """Rows left out so far because they were NaN or infinite."""
        # As float32, which is what scores are: 0.7 told by a model is a little less than 0.7.
        self._limit = float(np.float32(threshold))
        self._most = package.manifest.output.max_detections
        self._name = package.label

    def __call__(
        self,
        boxes: list[list[float]],
        scores: list[float],
        numbers: list[float],
        placement: Placement,
    ) -> list[Prediction]:
        """Detections in the frame, best first.

        Args:
            boxes: x1, y1, x2, y2 in 0..1 of the tensor.
            scores: one for each.
            numbers: of the classes.
            placement: where the frame lies in the tensor.

        Raises:
            InferenceError: not one row holds only numbers.
        """
        bad, told = 0, []
        for box, score, number in zip(boxes, scores, numbers, strict=True):
            # Float32 values can't add up to infinity, unless one of them is no number.
            if not math.isfinite(sum(box) + score + number):
                bad += 1
            elif score >= self._limit:
                told.append((score, number, box))
        self.dropped += bad
        refuse_all_bad(bad, len(boxes))
        told.sort(key=itemgetter(0), reverse=True)
        return [
            Detection(
                self._name(round(number) if abs(number) < 1e6 else -1),
                score,
                placement.to_frame((x1, y1, x2, y2)),
            )
            for score, number, (x1, y1, x2, y2) in told[: self._most]
        ]


class Roles(NamedTuple):
    """Places of the outputs; ``counts`` is None where there is none."""

    boxes: int
    classes: int
    scores: int
    counts: int | None


class Listed:
    """Boxes (1, n, 4), classes (1, n), scores (1, n) and perhaps a count, in several outputs.

    `TFLite_Detection_PostProcess` gives ymin, xmin, ymax, xmax in 0..1 and classes from 0 on,
    without the background; TensorFlow 1 exports put the boxes first, TensorFlow 2 exports say
    scores, boxes, count, classes. YOLO exports with `CombinedNonMaxSuppression` or TensorRT's
    EfficientNMS give x1, y1, x2, y2.

    Args:
        form: of the boxes.
        pixels: whether they count in pixels of the tensor.
        counted: whether there must be a count.
    """

    def __init__(
        self,
        package: Package,
        outputs: tuple[TensorSpec, ...],
        threshold: float,
        *,
        form: str = "yxyx",
        pixels: bool = False,
        counted: bool = True,
    ) -> None:
        self.threshold = threshold
        self.labels = all_labels(package)
        self._shortlist = Shortlist(package, threshold)
        self._form = form
        self._canvas = Canvas(package) if pixels else None
        self._outputs = outputs
        self._places = stateless(package, outputs)
        self._named = named(package, outputs, "boxes", "classes", "scores", "count")
        self._name = package.manifest.output.decoder
        if len(self._places) != 4 and (counted or len(self._places) != 3):
            raise PackageError(
                f"output.decoder: {self._name} reads {'4' if counted else '3 or 4'} outputs "
                f"(boxes, classes, scores, count) of a graph that suppresses, the model has "
                f"{len(self._places)}",
                remedy="Export it with its suppression, give output.anchors for one without, or "
                "set another decoder.",
            )
        self._plain = [scaling(tensor) == (1.0, 0) for tensor in outputs]
        self._roles: Roles | None = None
        told = [outputs[place].shape for place in self._places]
        if all(told):  # some files tell shapes only once they are loaded
            self._roles = self._find([outputs[place].shape for place in range(len(outputs))])

    @property
    def dropped(self) -> int:
        return self._shortlist.dropped

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        if self._roles is None:
            try:
                self._roles = self._find([output.shape for output in outputs])
            except PackageError as error:  # the shapes were open until now
                raise InferenceError(str(error), remedy=error.remedy) from error
        roles = self._roles
        scores = self._real(outputs, roles.scores)
        many = len(scores)
        if roles.counts is not None:
            told = self._real(outputs, roles.counts)[0]
            many = max(0, min(int(told), many)) if math.isfinite(told) else many
        numbers = self._real(outputs, roles.classes)
        edges = self._real(outputs, roles.boxes)
        boxes = [edges[at : at + 4] for at in range(0, 4 * many, 4)]
        if len(edges) < 4 * many or len(numbers) < many:
            raise InferenceError(
                f"the model answered {many} scores for {len(edges) // 4} boxes and {len(numbers)} "
                "classes",
                remedy="Say which is which with output.tensors in its model.toml.",
            )
        if self._form == "yxyx":
            boxes = [[x1, y1, x2, y2] for y1, x1, y2, x2 in boxes]
        if self._canvas:
            shares = self._canvas.shares(np.array(boxes, np.float32).reshape(-1, 4), prepared)
            boxes = shares.tolist()
        return self._shortlist(boxes, scores[:many], numbers[:many], prepared.placement)

    def _real(self, outputs: Sequence[NDArray[Any]], place: int) -> list[float]:
        """Its values one after the other: after a large model each of NumPy's functions that is
        not called takes less time than all of this."""
        output = outputs[place]
        if not (self._plain[place] and output.dtype == np.float32):
            output = real(output, self._outputs[place])
        told: list[float] = output.ravel().tolist()
        return told

    def _find(self, every: list[tuple[int, ...]]) -> Roles:
        """Roles by name, then by shape and kind, then by order. Raises PackageError."""
        free = [place for place in self._places if place not in self._named.values()]
        boxes = self._named.get("boxes")
        if boxes is None:
            like = [place for place in free if every[place][-1:] == (4,) and len(every[place]) == 3]
            boxes = like[0] if like else None
        free = [place for place in free if place != boxes]
        count = self._named.get("count")
        if count is None and len(self._places) == 4:
            like = [p for p in free if math.prod(every[p]) == 1 and len(every[p]) < 3]
            # [1, 1] may be a list of one: a true count has fewer dimensions, or is whole.
            count = min(like, key=lambda p: (len(every[p]), self._kind(p) == "f"), default=None)
        free = [place for place in free if place != count]
        rows = [place for place in free if len(every[place]) in (1, 2)]
        scores, classes = self._named.get("scores"), self._named.get("classes")
        if scores is None and classes is None and len(rows) == 2:
            whole = [place for place in rows if self._kind(place) in "iu"]
            # Where the boxes come first, classes come before scores; else scores were first.
            first = boxes is not None and boxes < min(rows)
            classes = whole[0] if len(whole) == 1 else rows[0 if first else 1]
            scores = next(place for place in rows if place != classes)
        elif len(rows) == 1:
            scores, classes = (
                (rows[0], classes) if scores is None else (scores, rows[0])
            )  # one was named, the other is what is left
        if boxes is None or scores is None or classes is None:
            raise PackageError(
                f"output.decoder: {self._name} reads boxes [1,n,4], classes [1,n], scores [1,n] "
                f"and count [1], the model has {shapes(self._outputs, self._places)}",
                remedy="Say which is which with output.tensors, or set another output.decoder.",
            )
        return Roles(boxes, classes, scores, count)

    def _kind(self, place: int) -> str:
        return np.dtype(self._outputs[place].dtype).kind


class Table:
    """One output, a row a detection: (1, n, 6) or (n, 7), or as ``output.row`` says.

    Rows beyond the last detection hold zeros: their score tells.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.labels = all_labels(package)
        self._shortlist = Shortlist(package, threshold)
        self._place = stateless(package, outputs)[0]
        self._tensor = outputs[self._place]
        how = package.manifest.output
        self._canvas = Canvas(package) if how.units == "pixels" else None
        values = self._tensor.shape[-1] if self._tensor.shape else -1
        row = tuple(how.row) or ROWS.get(values, ROWS[6])
        if values not in (-1, len(row)):
            raise PackageError(
                f"output.row: {len(row)} values a row, {self._tensor.name!r} is "
                f"{shapes(outputs, [self._place])}",
                remedy='Name each value of a row, such as ["x1", "y1", "x2", "y2", "score", '
                '"class"].',
            )
        self._values = len(row)
        self._form, self._edges, self._score, self._class = _columns(row)

    @property
    def dropped(self) -> int:
        return self._shortlist.dropped

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        output = outputs[self._place]
        if output.shape[-1:] != (self._values,):
            raise InferenceError(
                f"the model answered {list(output.shape)}, output.row names {self._values} values",
                remedy="Correct output.row in its model.toml.",
            )
        table = real(output, self._tensor).reshape(-1, self._values)
        boxes = corners(table[:, self._edges], self._form)
        if self._canvas:
            boxes = self._canvas.shares(boxes, prepared)
        scores, numbers = table[:, self._score].tolist(), table[:, self._class].tolist()
        return self._shortlist(boxes.tolist(), scores, numbers, prepared.placement)


def _columns(row: tuple[str, ...]) -> tuple[str, list[int], int, int]:
    """Form of the boxes, places of their four values, of the score and of the class."""
    for form, edges in _FORMS.items():
        if all(row.count(name) == 1 for name in (*edges, "score", "class")):
            places = [row.index(name) for name in edges]
            return form, places, row.index("score"), row.index("class")
    raise PackageError(
        f"output.row = {list(row)}: it needs score, class, and x1 y1 x2 y2 or cx cy w h",
        remedy="Give values that nobody reads any other name.",
    )
