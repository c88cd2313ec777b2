"""SSD and its kin: with the suppression in the graph, or raw scores and corrections of anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.anchors import Anchors
from edgeagent.interpret.boxes import corners
from edgeagent.interpret.outputs import (
    Canvas,
    all_labels,
    check_labels,
    named,
    real,
    shapes,
    sigmoid,
    softmax,
    stateless,
)
from edgeagent.interpret.sieve import Sieve, stored_limit
from edgeagent.interpret.suppressed import Listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.interpret.decoder import Decoder
    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Prepared, TensorSpec

    Floats = NDArray[np.floating[Any]]


def ssd(package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> Decoder:
    """The decoder for the form of an SSD's outputs. Raises PackageError where none fits."""
    places = stateless(package, outputs)
    maps = all(len(outputs[place].shape) == 4 for place in places)
    if package.manifest.output.anchors or len(places) == 2 or maps:
        return Ssd(package, outputs, threshold)
    return Listed(package, outputs, threshold)


class Ssd:
    """Boxes (1, n, 4) and scores (1, n, classes) of every anchor, suppressed here.

    Without ``output.anchors`` the boxes are boxes already, in the form and units that the
    package says. With anchors, boxes and scores may also come as one map per layer, (1, h, w,
    shapes × 4) and (1, h, w, shapes × classes), or channels first with ``layout = "columns"``.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.labels = all_labels(package)
        self._package = package
        self._how = package.manifest.output
        self._first = int(self._how.background)
        self._canvas = Canvas(package)
        self._anchors = Anchors(package) if self._how.anchors else None
        self._sieve = Sieve(package, threshold)
        self._outputs = outputs
        self._pairs = self._find(package, outputs)
        self._classes = 0
        classes = outputs[self._pairs[0][1]].shape[-1:]
        if len(self._pairs) == 1 and classes and classes[0] > 0:
            self._check_classes(classes[0])

    @property
    def dropped(self) -> int:
        return self._sieve.dropped

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        size = self._canvas.size(prepared)
        anchors = self._anchors.boxes(size) if self._anchors else None
        boxes, scores, classes = [], [], []
        start = 0
        for at, (place, scored) in enumerate(self._pairs):
            raw = self._flat(outputs[place], 4)
            table = self._flat(outputs[scored], self._width(outputs[scored], len(raw)))
            rows = self._hopeful(table, self._outputs[scored])
            best, its = self._best(real(table[rows], self._outputs[scored]))
            found = real(raw[rows], self._outputs[place])
            if anchors is not None and self._anchors:
                if len(anchors) < start + len(raw) or (
                    at + 1 == len(self._pairs) and len(anchors) != start + len(raw)
                ):
                    raise self._miscounted(len(anchors), start + len(raw))
                found = self._anchors.correct(anchors[start + rows], found)
            else:
                found = corners(found, self._how.boxes)
                if self._how.units == "pixels":
                    found = self._canvas.shares(found, prepared)
            boxes.append(found)
            scores.append(its)
            classes.append(best)
            start += len(raw)
        return self._sieve(
            np.concatenate(boxes), np.concatenate(scores), np.concatenate(classes),
            prepared.placement, of=start,
        )  # fmt: skip

    def _flat(self, output: NDArray[Any], values: int) -> NDArray[Any]:
        """(n, values) of a joined tensor or of one layer's map."""
        if output.ndim == 4 and self._how.layout == "columns":
            output = output.transpose(0, 2, 3, 1)
        return output.reshape(-1, values)

    def _width(self, output: NDArray[Any], candidates: int) -> int:
        if not self._classes:
            try:
                self._check_classes(max(1, output.size // max(1, candidates)))
            except PackageError as error:  # the shape was open until now
                raise InferenceError(str(error), remedy=error.remedy) from error
        if candidates * self._classes != output.size:
            raise InferenceError(
                f"the model answered {output.size} scores for {candidates} boxes of "
                f"{self._classes} classes",
                remedy="Correct output.tensors, labels or layout in its model.toml.",
            )
        return self._classes

    def _check_classes(self, classes: int) -> None:
        if classes <= self._first:
            raise PackageError(
                f"output.background: {classes} class leaves nothing to tell",
                remedy="Take background out where no class stands for nothing.",
            )
        check_labels(self._package, classes)
        self._classes = classes

    def _hopeful(self, table: NDArray[Any], tensor: TensorSpec) -> NDArray[np.intp]:
        """Rows that may reach the threshold, found without dequantising the rest."""
        limit = stored_limit(self.threshold, self._how.activation, tensor)
        if limit is None:
            return np.arange(len(table))
        # NaN compares false: "not below" keeps it, so that it is counted afterwards.
        return np.flatnonzero(~(table[:, self._first :].max(axis=1) < limit))

    def _best(self, by_class: Floats) -> tuple[NDArray[np.intp], Floats]:
        if self._how.activation == "softmax" and by_class.size:
            by_class = softmax(by_class)  # the background takes its share
        told = by_class[:, self._first :]
        best = told.argmax(axis=1)
        scores = np.take_along_axis(told, best[:, None], axis=1)[:, 0]
        if self._how.activation == "sigmoid":
            scores = sigmoid(scores)
        return best + self._first, scores

    def _miscounted(self, anchors: int, candidates: int) -> InferenceError:
        return InferenceError(
            f"output.anchors makes {anchors} anchors, the model has {candidates} candidates",
            remedy="Correct strides, levels and shapes of output.anchors in its model.toml.",
        )

    # --- which is which --------------------------------------------------------------------

    def _find(self, package: Package, outputs: tuple[TensorSpec, ...]) -> list[tuple[int, int]]:
        """(boxes, scores) of all anchors, or of each layer, the finest first."""
        places = stateless(package, outputs)
        told = named(package, outputs, "boxes", "scores")
        if len(places) == 2:
            like = [place for place in places if outputs[place].shape[-1:] == (4,)]
            boxes = told.get("boxes", like[0] if len(like) == 1 else None)
            if boxes is None and "scores" in told:
                boxes = next(place for place in places if place != told["scores"])
            if boxes is not None:
                return [(boxes, next(place for place in places if place != boxes))]
        maps = [place for place in places if len(outputs[place].shape) == 4]
        if self._anchors and len(maps) == len(places) and len(places) % 2 == 0:
            pairs = self._by_layer(outputs, places)
            if pairs:
                return pairs
        raise PackageError(
            "output.decoder: ssd without suppression in the graph reads boxes [1,n,4] and scores "
            f"[1,n,classes], or such a pair of maps per layer, the model has "
            f"{shapes(outputs, places)}",
            remedy="Say which is which with output.tensors, or set another output.decoder.",
        )

    def _by_layer(
        self, outputs: tuple[TensorSpec, ...], places: list[int]
    ) -> list[tuple[int, int]]:
        """Pairs of maps of one size; scores have more channels than boxes, or come after them."""
        axes = slice(2, 4) if self._how.layout == "columns" else slice(1, 3)
        channel = 1 if self._how.layout == "columns" else 3
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place in places:
            by_size.setdefault(outputs[place].shape[axes], []).append(place)
        pairs = []
        classes = len(self._package.labels) - self._how.label_offset
        for size in sorted(by_size, reverse=True):
            group = by_size[size]
            if len(group) != 2 or min(size) < 1:
                return []
            one, other = (outputs[place].shape[channel] for place in group)
            # scores / boxes = classes / 4 tells which is which; without labels, the wider is.
            turned = one * 4 == other * classes if classes != 4 else False
            if not self._package.labels:
                turned = one > other
            pairs.append((group[1], group[0]) if turned else (group[0], group[1]))
        return pairs
