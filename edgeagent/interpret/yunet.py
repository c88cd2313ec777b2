"""YuNet, OpenCV's face detector: three grids, five landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.boxes import corners
from edgeagent.interpret.grid import Cells
from edgeagent.interpret.outputs import Canvas, all_labels, real, shapes, stateless
from edgeagent.interpret.sieve import Sieve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Prepared, TensorSpec

_POINTS = 5
"""Right eye, left eye, nose, right and left corner of the mouth (of the person shown)."""


class Layer(NamedTuple):
    """Places of one grid's outputs. Class and objectness are multiplied: which is which
    does not matter."""

    scores: tuple[int, int]
    boxes: int
    points: int


class YuNet:
    """Four outputs for each stride: class and objectness (1, n, 1), box (1, n, 4), landmarks
    (1, n, 10), all in strides from the cell, sizes as logarithms.

    The score is √(class × objectness). Pixels are BGR, 0 to 255; width and height are multiples
    of the largest stride.

    Source: OpenCV's modules/objdetect/src/face_detect.cpp, which suppresses with an overlap of
    0.3 (say ``nms_iou = 0.3``).
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.labels = all_labels(package) or ("face",)
        self._sieve = Sieve(package, threshold, names=self.labels)
        self._canvas = Canvas(package)
        self._cells = Cells(package)
        self._outputs = outputs
        self._places = stateless(package, outputs)
        self._layers: list[Layer] | None = None
        if len(self._places) != 4 * len(self._cells.strides):
            raise self._unlike()
        told = [outputs[place].shape for place in self._places]
        if all(len(shape) == 3 and min(shape[1:]) > 0 for shape in told):
            self._layers = self._find([tensor.shape for tensor in outputs])

    @property
    def dropped(self) -> int:
        return self._sieve.dropped

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        if self._layers is None:
            try:
                self._layers = self._find([output.shape for output in outputs])
            except PackageError as error:  # the shapes were open until now
                raise InferenceError(str(error), remedy=error.remedy) from error
        size = self._canvas.size(prepared)
        cells, strides = self._cells.of(size)
        first, second = (
            np.concatenate([self._flat(outputs, layer.scores[k]) for layer in self._layers])
            for k in (0, 1)
        )
        if len(first) != len(cells):
            raise InferenceError(
                f"the model answered for {len(first)} cells, {size[0]} × {size[1]} pixels have "
                f"{len(cells)}",
                remedy="Give width and height as multiples of 32, and the model's strides.",
            )
        scores = np.sqrt(np.clip(first[:, 0], 0, 1) * np.clip(second[:, 0], 0, 1))
        hopeful = np.flatnonzero(~(scores < self.threshold))
        cells, strides = cells[hopeful], strides[hopeful]
        raw = np.concatenate([self._flat(outputs, layer.boxes) for layer in self._layers])[hopeful]
        marks = np.concatenate([self._flat(outputs, layer.points) for layer in self._layers])
        scale = np.array(size, np.float32)
        middle = (raw[:, :2] + cells) * strides / scale
        sizes = np.exp(np.minimum(raw[:, 2:], 20.0)) * strides / scale
        boxes = corners(np.concatenate([middle, sizes], axis=1), "cxcywh")
        points = marks[hopeful].reshape(-1, _POINTS, 2) + cells[:, None, :]
        points = points * strides[:, :, None] / scale
        kind = np.zeros(len(hopeful), np.int64)
        return self._sieve(
            boxes, scores[hopeful], kind, prepared.placement, of=len(scores), points=points
        )

    def _flat(self, outputs: Sequence[NDArray[Any]], place: int) -> NDArray[np.float32]:
        output = outputs[place]
        return real(output.reshape(-1, output.shape[-1]), self._outputs[place])

    def _find(self, every: list[tuple[int, ...]]) -> list[Layer]:
        """The layers, the finest first, told by their shapes. Raises PackageError."""
        by_cells: dict[int, dict[int, list[int]]] = {}
        for place in self._places:
            cells, values = every[place][-2:] if len(every[place]) == 3 else (0, 0)
            by_cells.setdefault(cells, {}).setdefault(values, []).append(place)
        layers = []
        for cells in sorted(by_cells, reverse=True):
            group = by_cells[cells]
            if {values: len(places) for values, places in group.items()} != {
                1: 2, 4: 1, 2 * _POINTS: 1,
            }:  # fmt: skip
                raise self._unlike()
            one, other = group[1]
            layers.append(Layer((one, other), group[4][0], group[2 * _POINTS][0]))
        return layers

    def _unlike(self) -> PackageError:
        return PackageError(
            "output.decoder: yunet reads class and objectness [1,n,1], box [1,n,4] and landmarks "
            f"[1,n,10] for each of {len(self._cells.strides)} strides, the model has "
            f"{shapes(self._outputs, self._places)}",
            remedy="Set another output.decoder, or the strides in output.anchors.",
        )
