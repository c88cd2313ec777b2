"""Detectors without anchors: each cell of a grid tells of the thing whose middle lies in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.boxes import corners
from edgeagent.interpret.outputs import (
    Canvas,
    all_labels,
    real,
    shapes,
    sigmoid,
    stateless,
)
from edgeagent.interpret.sieve import Sieve, stored_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Prepared, TensorSpec

    Floats = NDArray[np.floating[Any]]

_CLIP = 20.0


class Strides(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``output.anchors`` of a detector with a grid: pixels a cell, the finest first."""

    strides: list[int] = msgspec.field(default_factory=lambda: [8, 16, 32])

    def __post_init__(self) -> None:
        if not self.strides or min(self.strides) < 1:
            raise ValueError("strides are whole numbers above 0")


class Cells:
    """The cells of all grids of a detector, by stride, then rows, then columns.

    Raises PackageError for a wrong ``output.anchors``.
    """

    def __init__(self, package: Package) -> None:
        try:
            self.strides = msgspec.convert(package.manifest.output.anchors, Strides).strides
        except (msgspec.ValidationError, ValueError) as error:
            raise PackageError(f"output.anchors: {error}") from error
        self._size = (0, 0)
        self._cells: tuple[Floats, Floats] = (np.zeros((0, 2), np.float32),) * 2

    def of(self, size: tuple[int, int]) -> tuple[Floats, Floats]:
        """(n, 2) column and row, and (n, 1) stride, for a picture of this width and height."""
        if size != self._size:
            corners_, strides = [], []
            for stride in self.strides:
                rows, columns = -(-size[1] // stride), -(-size[0] // stride)
                y, x = np.mgrid[0:rows, 0:columns].reshape(2, -1)
                corners_.append(np.stack([x, y], axis=1))
                strides.append(np.full((len(x), 1), stride))
            self._cells = (
                np.concatenate(corners_).astype(np.float32),
                np.concatenate(strides).astype(np.float32),
            )
            self._size = size
        return self._cells


class YoloX:
    """YOLOX as it is exported by default: offsets from the cell and logarithms of sizes.

    One tensor (1, n, 5 + classes): x, y, log w, log h in strides, objectness, classes. Exports
    with ``--decode_in_inference`` are read by ``yolo`` with ``objectness`` and ``units``.

    Source: `demo_postprocess` in Megvii's yolox/utils/demo_utils.py.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.labels = all_labels(package)
        self._sieve = Sieve(package, threshold)
        self._activation = package.manifest.output.activation
        self._canvas = Canvas(package)
        self._cells = Cells(package)
        places = stateless(package, outputs)
        self._place = places[0]
        self._tensor = outputs[self._place]
        shape = self._tensor.shape
        self._values = 5 + len(package.labels) - package.manifest.output.label_offset
        if len(places) != 1 or (shape and len(shape) != 3):
            raise PackageError(
                "output.decoder: yolox reads one tensor [1,n,5 + classes], the model has "
                f"{shapes(outputs, places)}",
                remedy="Export the model with its heads joined, or set another decoder.",
            )
        if shape and package.labels and shape[2] not in (-1, self._values):
            raise PackageError(
                f"labels: {self._values - 5} classes and 5 values before them are {self._values} "
                f"a cell, {self._tensor.name!r} is {shapes(outputs, places)}",
                remedy="Write one label for each class.",
            )

    @property
    def dropped(self) -> int:
        return self._sieve.dropped

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        stored = outputs[self._place]
        table = stored.reshape(-1, stored.shape[-1])
        size = self._canvas.size(prepared)
        cells, strides = self._cells.of(size)
        if len(table) != len(cells) or table.shape[1] < 6:
            raise InferenceError(
                f"the model answered {list(stored.shape)} for {len(cells)} cells",
                remedy="Correct output.anchors (strides) or the decoder in its model.toml.",
            )
        limit = stored_limit(self.threshold, self._activation, self._tensor)
        sure = table[:, 4] if limit is not None else None
        # NaN compares false: "not below" keeps it, so that it is counted afterwards.
        rows = np.arange(len(table)) if sure is None else np.flatnonzero(~(sure < limit))
        values = real(table[rows], self._tensor)
        chances = values[:, 4:]
        if self._activation == "sigmoid":
            chances = sigmoid(chances)
        classes = chances[:, 1:].argmax(axis=1)
        best = np.take_along_axis(chances[:, 1:], classes[:, None], axis=1)[:, 0]
        middle = (values[:, :2] + cells[rows]) * strides[rows]
        sizes = np.exp(np.minimum(values[:, 2:4], _CLIP)) * strides[rows]
        boxes = corners(np.concatenate([middle, sizes], axis=1), "cxcywh")
        return self._sieve(
            self._canvas.shares(boxes, prepared), chances[:, 0] * best, classes,
            prepared.placement, of=len(table),
        )  # fmt: skip


class FastestDet:
    """One map (1, 5 + classes, rows, columns), or channels last.

    Objectness, offset of the middle (tanh), size (sigmoid) as a share of the picture, classes.
    The score is objectness^0.6 × class^0.4.

    Source: example/onnx-runtime/runtime.py of dog-qiuqiu's FastestDet, which suppresses across
    classes (``nms = "any"``).
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.labels = all_labels(package)
        self._sieve = Sieve(package, threshold)
        self._wanted = 5 + len(package.labels) - package.manifest.output.label_offset
        self._labelled = bool(package.labels)
        places = stateless(package, outputs)
        self._place = places[0]
        self._tensor = outputs[self._place]
        shape = self._tensor.shape
        if len(places) != 1 or (shape and len(shape) != 4):
            raise PackageError(
                "output.decoder: fastestdet reads one map [1,5 + classes,rows,columns], the model "
                f"has {shapes(outputs, places)}",
                remedy="Set another output.decoder.",
            )
        if self._labelled and shape and -1 not in shape and self._wanted not in shape[1:]:
            raise PackageError(
                f"labels: {self._wanted - 5} classes and 5 values before them are {self._wanted} "
                f"a cell, {self._tensor.name!r} is {shapes(outputs, places)}",
                remedy="Write one label for each class.",
            )

    @property
    def dropped(self) -> int:
        return self._sieve.dropped

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        grid = outputs[self._place][0]
        planar = grid.shape[0] == self._wanted if self._labelled else grid.shape[0] != grid.shape[1]
        if planar:
            grid = grid.transpose(1, 2, 0)
        rows, columns, values = grid.shape
        if values < 6 or (self._labelled and values != self._wanted):
            raise InferenceError(
                f"the model answered {list(outputs[self._place].shape)}, the labels make "
                f"{self._wanted} values a cell",
                remedy="Correct labels or the decoder in its model.toml.",
            )
        table = grid.reshape(-1, values)
        # A score of t needs an objectness of t^(1 / 0.6), whatever the class says.
        least = self.threshold ** (1 / 0.6) if self.threshold > 0 else 0.0
        limit = stored_limit(least, "none", self._tensor)
        hopeful = np.flatnonzero(~(table[:, 0] < limit))
        chosen = real(table[hopeful], self._tensor)
        classes = chosen[:, 5:].argmax(axis=1)
        best = np.take_along_axis(chosen[:, 5:], classes[:, None], axis=1)[:, 0]
        scores = np.maximum(chosen[:, 0], 0) ** 0.6 * np.maximum(best, 0) ** 0.4
        y, x = np.divmod(hopeful, columns)
        cells = np.stack([x, y], axis=1)
        shape = np.array([columns, rows], np.float32)
        middle = (np.tanh(chosen[:, 1:3]) + cells) / shape
        boxes = corners(np.concatenate([middle, sigmoid(chosen[:, 3:5])], axis=1), "cxcywh")
        return self._sieve(boxes, scores, classes, prepared.placement, of=len(table))
