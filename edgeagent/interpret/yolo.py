"""The YOLO family: v5 to v11 as their exporters leave them, with or without suppression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.boxes import corners
from edgeagent.interpret.outputs import (
    Canvas,
    all_labels,
    class_numbers,
    named,
    real,
    shapes,
    sigmoid,
    softmax,
    stateless,
)
from edgeagent.interpret.sieve import Sieve, stored_limit
from edgeagent.interpret.suppressed import Listed, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.interpret.decoder import Decoder
    from edgeagent.manifest import OutputSpec, Package
    from edgeagent.types import Prediction, Prepared, TensorSpec

    Floats = NDArray[np.floating[Any]]


def yolo(package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> Decoder:
    """The decoder for the form of a YOLO's outputs. Raises PackageError where none fits.

    Candidates in one tensor, or boxes apart from scores; with ``nms = "graph"`` a table of
    detections, or boxes, classes, scores and a count apart.
    """
    how = package.manifest.output
    if how.nms != "graph":
        return Yolo(package, outputs, threshold)
    if len(stateless(package, outputs)) == 1:
        return Table(package, outputs, threshold)
    form = "yxyx" if how.boxes == "yxyx" else "xyxy"
    pixels = how.units == "pixels"
    return Listed(package, outputs, threshold, form=form, pixels=pixels, counted=False)


class Places(NamedTuple):
    """Where the parts of a candidate stand; in one tensor, all three are the same."""

    boxes: int
    scores: int
    classes: int | None
    """Apart only where the graph has chosen the best class already."""


class Yolo:
    """Candidates with a box, perhaps an objectness, and a score for each class.

    Rows (v5) or columns (v8 and later), centre or corners, normalised or in pixels of the
    tensor: the package says which. All in one tensor, or as quantized exports prefer it: boxes
    apart from the scores of the classes, or from the best class and its score.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.labels = all_labels(package)
        self._package = package
        self._how: OutputSpec = package.manifest.output
        self._ahead = 5 if self._how.objectness else 4
        self._canvas = Canvas(package)
        self._sieve = Sieve(package, threshold)
        self._outputs = outputs
        self._places = self._find(package, outputs)
        self._together = self._places.boxes == self._places.scores
        self._columns: bool | None = None
        shape = outputs[self._places.scores].shape
        if self._places.classes is None and len(shape) == 3 and min(shape[1:]) > 0:
            self._columns = self._find_columns(shape)

    @property
    def dropped(self) -> int:
        return self._sieve.dropped

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        if self._places.classes is not None:
            boxes, scores, classes, of = self._chosen(outputs, self._places.classes)
        else:
            boxes, scores, classes, of = self._hopeful(outputs)
        boxes = corners(boxes, self._how.boxes)
        if self._how.units == "pixels":
            boxes = self._canvas.shares(boxes, prepared)
        return self._sieve(boxes, scores, classes, prepared.placement, of=of)

    def _chosen(
        self, outputs: Sequence[NDArray[Any]], place: int
    ) -> tuple[Floats, Floats, NDArray[np.integer[Any]], int]:
        """The graph has found each candidate's best class."""
        where = self._places
        scores = real(outputs[where.scores], self._outputs[where.scores]).ravel()
        boxes = self._boxes(outputs, len(scores))
        if self._how.activation == "sigmoid":
            scores = sigmoid(scores)
        classes = class_numbers(real(outputs[place], self._outputs[place]).ravel())
        return boxes, scores, classes, len(scores)

    def _hopeful(
        self, outputs: Sequence[NDArray[Any]]
    ) -> tuple[Floats, Floats, NDArray[np.integer[Any]], int]:
        """Those that may reach the threshold, found without dequantising the rest."""
        place = self._places.scores
        tensor, stored = self._outputs[place], outputs[place]
        if self._columns is None:
            try:
                self._columns = self._find_columns(stored.shape)
            except PackageError as error:  # the shape was open until now
                raise InferenceError(str(error), remedy=error.remedy) from error
        table = stored[0].T if self._columns else stored[0]
        first = self._ahead if self._together else 0
        limit = stored_limit(self.threshold, self._how.activation, tensor)
        if limit is None:
            rows = np.arange(table.shape[0])
        else:
            # NaN compares false: "not below" keeps it, so that it is counted afterwards.
            hopeful = ~(table[:, first:].max(axis=1) < limit)
            if self._together and first == 5:
                hopeful &= ~(table[:, 4] < limit)
            rows = hopeful.nonzero()[0]
        values = real(table[rows], tensor)
        classes, scores = self._best(values[:, first:])
        if self._together:
            boxes: Floats = values[:, :4]
            if first == 5:
                sure = values[:, 4]
                scores = scores * (sigmoid(sure) if self._how.activation == "sigmoid" else sure)
        else:
            boxes = self._boxes(outputs, table.shape[0], rows)
        return boxes, scores, classes, table.shape[0]

    def _best(self, by_class: Floats) -> tuple[NDArray[np.intp], Floats]:
        if self._how.activation == "softmax":
            by_class = softmax(by_class) if by_class.size else by_class
        classes = by_class.argmax(axis=1)
        scores = by_class[np.arange(len(classes)), classes]
        return classes, sigmoid(scores) if self._how.activation == "sigmoid" else scores

    def _boxes(
        self, outputs: Sequence[NDArray[Any]], count: int, rows: NDArray[np.intp] | None = None
    ) -> Floats:
        """(n, 4) from a tensor of their own, (1, n, 4) or (1, 4, n)."""
        place = self._places.boxes
        stored: NDArray[Any] = outputs[place].reshape(outputs[place].shape[-2:])
        if stored.shape[1] != 4 or (stored.shape[0] == 4 and count != 4):
            stored = stored.T
        if stored.shape != (count, 4):
            raise InferenceError(
                f"the model answered {list(outputs[place].shape)} boxes for {count} scores",
                remedy="Say which output is which with output.tensors in its model.toml.",
            )
        return real(stored if rows is None else stored[rows], self._outputs[place])

    # --- which is which --------------------------------------------------------------------

    def _find(self, package: Package, outputs: tuple[TensorSpec, ...]) -> Places:
        places = stateless(package, outputs)
        told = named(package, outputs, "boxes", "scores", "classes")
        if len(places) == 1:
            return Places(places[0], places[0], None)
        free = [place for place in places if place not in told.values()]
        boxes = told.get("boxes")
        if boxes is None:
            like = [p for p in free if len(outputs[p].shape) == 3 and 4 in outputs[p].shape[1:]]
            boxes = like[0] if like else None
        free = [place for place in free if place != boxes]
        classes = told.get("classes")
        if classes is None and len(places) == 3:
            whole = [p for p in free if np.dtype(outputs[p].dtype).kind in "iu"]
            whole = [p for p in whole if outputs[p].quantization is None] or whole
            classes = whole[0] if len(whole) == 1 else None
        free = [place for place in free if place != classes]
        scores = told.get("scores", free[0] if len(free) == 1 else None)
        enough = len(places) == 2 or classes is not None
        if boxes is None or scores is None or not enough or self._how.objectness:
            raise PackageError(
                f"output.decoder: yolo reads one tensor of candidates, or boxes [1,n,4] apart from "
                f"scores, the model has {shapes(outputs, places)}",
                remedy="Say which is which with output.tensors (boxes, scores, classes), set nms "
                '= "graph" where the graph suppresses, or export it with its heads joined.',
            )
        return Places(boxes, scores, classes)

    def _find_columns(self, shape: tuple[int, ...]) -> bool:
        """Whether a candidate is a column (values, n) rather than a row (n, values)."""
        name = self._outputs[self._places.scores].name
        if len(shape) != 3 or shape[0] not in (1, -1):
            raise PackageError(
                f"output.decoder: yolo reads a tensor [1,n,values] or [1,values,n], "
                f"{name!r} is {list(shape)}",
                remedy="Set another output.decoder.",
            )
        ahead = self._ahead if self._together else 0
        _, first, second = shape
        classes = len(self._package.labels) - self._how.label_offset
        wanted = ahead + classes if self._package.labels else 0
        columns = self._how.layout == "columns"
        if self._how.layout == "auto":
            columns = first == wanted if wanted in (first, second) else first < second
        values = first if columns else second
        if values <= ahead or (wanted and values != wanted):
            raise PackageError(
                f"labels: {classes} classes and {ahead} values before them are "
                f"{ahead + classes} a candidate, {name!r} is {list(shape)}",
                remedy="Correct labels, output.objectness or output.layout"
                + (', or set nms = "graph".' if values in (6, 7) else "."),
            )
        return columns
