"""Which label each pixel has: shares of the picture and outlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.contour import outlines
from edgeagent.interpret.outputs import all_labels, named, real, shapes, sigmoid, softmax, stateless
from edgeagent.types import Mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Placement, Prediction, Prepared, TensorSpec

    Pixels = NDArray[np.bool_]

_POLYGONS = 20
"""Of one label, the largest ones; the last one goes round the rest."""
_LOOKED_AT = 2000
"""Pixels of a label whose scores are averaged."""


class Segment:
    """A label for each pixel, from class numbers or from a score for each class.

    Class numbers (the graph has chosen): integers (1, h, w), perhaps with an axis of 1; their
    score is 1. Scores: (1, h, w, classes), or channels first. With ``activation = "softmax"``
    or "none" the best class takes the pixel; with "sigmoid", or a single class, each class
    takes the pixels whose score reaches the threshold, and classes may overlap.

    ``share`` and outlines are those of the part of the frame that the model saw, without the
    black of a letterbox. A label's score is the mean over its pixels.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels = all_labels(package)
        self._package = package
        self._how = package.manifest.output
        self._classes = len(package.labels) - self._how.label_offset if package.labels else 0
        places = stateless(package, outputs)
        told = named(package, outputs, "mask")
        like = [place for place in places if len(outputs[place].shape) >= 3]
        if not told and len(places) > 1 and len(like) != 1:
            raise PackageError(
                f"output.decoder: mask reads one output, the model has {shapes(outputs, places)}",
                remedy="Name it: output.tensors = { mask = … }.",
            )
        self._place = told["mask"] if told else (like or places)[0]
        self._tensor = outputs[self._place]
        if self._tensor.shape and len(self._tensor.shape) not in (3, 4):
            raise PackageError(
                "output.decoder: mask reads [1,h,w], [1,h,w,classes] or [1,classes,h,w], "
                f"{self._tensor.name!r} is {shapes(outputs, [self._place])}",
                remedy="Set another output.decoder.",
            )

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        stored = outputs[self._place]
        if stored.ndim not in (3, 4) or stored.shape[0] != 1:
            raise InferenceError(f"the model answered {list(stored.shape)}, which is no mask")
        found = [
            self._mask(number, pixels, score, prepared.placement)
            for number, pixels, score in self._patches(stored[0], prepared.placement)
        ]
        told = [mask for mask in found if mask is not None and mask.score >= self.threshold]
        told.sort(key=lambda mask: (-mask.score, -mask.share))
        return [*told]

    def _patches(
        self, stored: NDArray[Any], placement: Placement
    ) -> Iterator[tuple[int, Pixels, float]]:
        """Class number, its pixels in the visible part, its score."""
        if (
            stored.ndim == 3
            and stored.dtype.kind in "iu"
            and 1 in (stored.shape[0], stored.shape[2])
        ):
            stored = stored.reshape(stored.shape[1:] if stored.shape[0] == 1 else stored.shape[:2])
        if stored.ndim == 2 and self._tensor.quantization is None and stored.dtype.kind in "iu":
            yield from self._chosen(_visible(stored, placement))
            return
        table = stored[..., None] if stored.ndim == 2 else stored
        if self._planar(table.shape):
            table = table.transpose(1, 2, 0)
        table = _visible(table, placement)
        if (
            table.dtype.kind == "f"
            and not np.isfinite(table.sum())
            and not np.isfinite(table).all()
        ):
            raise InferenceError(
                "the model answered with NaN or infinity instead of scores",
                remedy="Check its input scaling (mean, scale) and its file.",
            )
        if table.shape[2] == 1 or self._how.activation == "sigmoid":
            yield from self._separate(table)
        else:
            yield from self._best(table)

    def _chosen(self, numbers: NDArray[Any]) -> Iterator[tuple[int, Pixels, float]]:
        if numbers.size and (int(numbers.min()) < 0 or int(numbers.max()) > 0xFFFF):
            raise InferenceError("the model's class numbers are not between 0 and 65535")
        numbers = numbers.astype(np.uint16)
        for number in np.flatnonzero(np.bincount(numbers.ravel())).tolist():
            yield number, numbers == number, 1.0

    def _best(self, table: NDArray[Any]) -> Iterator[tuple[int, Pixels, float]]:
        best = table.argmax(axis=2)
        for number, pixels, _ in self._chosen(best):
            rows = np.flatnonzero(pixels.ravel())
            rows = rows[:: -(-len(rows) // _LOOKED_AT)]
            scores = real(table.reshape(-1, table.shape[2])[rows], self._tensor)
            if self._how.activation == "softmax":
                scores = softmax(scores)
            yield number, pixels, float(scores[:, number].mean())

    def _separate(self, table: NDArray[Any]) -> Iterator[tuple[int, Pixels, float]]:
        for number in range(table.shape[2]):
            scores = real(table[..., number], self._tensor)
            if self._how.activation == "sigmoid":
                scores = sigmoid(scores)
            pixels = scores >= self.threshold
            if pixels.any():
                yield number, pixels, float(scores[pixels].mean())

    def _mask(self, number: int, pixels: Pixels, score: float, placement: Placement) -> Mask | None:
        """None for the background, for numbers that mean nothing, and for specks."""
        if (self._how.background and number == 0) or (self._classes and number >= self._classes):
            return None
        share = int(np.count_nonzero(pixels)) / pixels.size
        if share < self._how.min_area or not share:
            return None
        left, top, width, height = _part(placement)
        rows, columns = pixels.shape
        polygons = tuple(
            tuple(
                (left + x / columns * width, top + y / rows * height) for x, y in polygon.tolist()
            )
            for polygon in outlines(pixels, self._how.min_area * pixels.size, _POLYGONS)
        )
        return Mask(self._package.label(number), score, share, polygons)

    def _planar(self, shape: tuple[int, ...]) -> bool:
        if self._how.layout != "auto":
            return self._how.layout == "columns"
        if self._classes and (shape[0] == self._classes) != (shape[2] == self._classes):
            return shape[0] == self._classes
        return shape[0] < shape[2]


def _visible(table: NDArray[Any], placement: Placement) -> NDArray[Any]:
    """The part of a map (h, w, …) that shows the frame."""
    rows, columns = table.shape[:2]
    left, right = _span(placement.left, placement.width, columns)
    top, bottom = _span(placement.top, placement.height, rows)
    return table[top:bottom, left:right]


def _span(start: float, length: float, cells: int) -> tuple[int, int]:
    first = min(cells - 1, max(0, round(start * cells)))
    return first, max(first + 1, min(cells, round((start + length) * cells)))


def _part(placement: Placement) -> tuple[float, float, float, float]:
    """left, top, width, height of the part of the frame that the tensor shows."""
    left, top, right, bottom = placement.to_frame((0.0, 0.0, 1.0, 1.0))
    left, top = max(0.0, left), max(0.0, top)
    return left, top, min(1.0, right) - left, min(1.0, bottom) - top
