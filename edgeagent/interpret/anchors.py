"""Anchors: the boxes that a detector corrects. They stand in no model file, only in its package.

``output.anchors`` is a table with ``kind``: ``ssd``, ``pyramid`` (EfficientDet, RetinaNet) or
``file``. Anchors run by layer, then rows, then columns, then shapes of a cell, as both
generators' training code has it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Union

import msgspec
import numpy as np

from edgeagent.errors import PackageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.manifest import Package

    Floats = NDArray[np.floating[Any]]

_CLIP = 10.0
"""e^10 times its anchor is larger than any picture."""


class _Anchors(msgspec.Struct, tag_field="kind", frozen=True, forbid_unknown_fields=True):
    """What all kinds have."""

    order: Literal["yxhw", "xywh"] = "yxhw"
    """Of the four corrections."""


class SsdAnchors(_Anchors, frozen=True, tag="ssd"):
    """SSD: scales between the smallest and the largest, several widths for each.

    Source: `multiple_grid_anchor_generator.create_ssd_anchors` of TensorFlow's object detection.
    """

    scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    """What the corrections were multiplied with in training (y, x, h, w)."""
    min_scale: float = 0.2
    max_scale: float = 0.95
    strides: list[int] = msgspec.field(default_factory=lambda: [16, 32, 64, 128, 256, 512])
    aspect_ratios: list[float] = msgspec.field(default_factory=lambda: [1.0, 2.0, 0.5, 3.0, 1 / 3])
    reduce_lowest: bool = True
    """Only three shapes in the finest layer."""
    between: float = 1.0
    """Aspect of one more shape between this layer's scale and the next one's; 0 = none."""

    def __post_init__(self) -> None:
        _positive(self.min_scale, self.max_scale, *self.strides, *self.aspect_ratios)

    def boxes(self, width: int, height: int) -> Floats:
        """(n, 4) centre x, centre y, width, height in 0..1."""
        layers = len(self.strides)
        scales = np.linspace(self.min_scale, self.max_scale, layers).tolist()
        parts = []
        for layer, stride in enumerate(self.strides):
            scale = scales[layer]
            following = scales[layer + 1] if layer + 1 < layers else 1.0
            if layer == 0 and self.reduce_lowest:
                shapes = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
            else:
                shapes = [(scale, ratio) for ratio in self.aspect_ratios]
                if self.between:
                    shapes.append((math.sqrt(scale * following), self.between))
            sizes = [(s * math.sqrt(ratio), s / math.sqrt(ratio)) for s, ratio in shapes]
            columns, rows = math.ceil(width / stride), math.ceil(height / stride)
            parts.append(_cells(columns, rows, 1 / columns, 1 / rows, sizes))
        return np.concatenate(parts)


class PyramidAnchors(_Anchors, frozen=True, tag="pyramid"):
    """Feature pyramids: each level doubles the size of the one before.

    Source: `anchors.py` of EfficientDet (google/automl); the lite models have ``scale = 3``.
    """

    scales: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    levels: tuple[int, int] = (3, 7)
    """First and last; the stride of a level is 2^level."""
    scale: float = 4.0
    """Size of the smallest anchor of a level in its strides."""
    per_octave: int = 3
    aspect_ratios: list[float] = msgspec.field(default_factory=lambda: [1.0, 2.0, 0.5])

    def __post_init__(self) -> None:
        _positive(self.scale, self.per_octave, *self.aspect_ratios)
        if not 0 <= self.levels[0] <= self.levels[1] <= 12:
            raise ValueError(f"levels = {list(self.levels)}: first and last of 0..12")

    def boxes(self, width: int, height: int) -> Floats:
        """(n, 4) centre x, centre y, width, height in 0..1."""
        parts = []
        for level in range(self.levels[0], self.levels[1] + 1):
            stride = 2**level
            sizes = [
                (base * math.sqrt(ratio) / width, base / math.sqrt(ratio) / height)
                for octave in range(self.per_octave)
                for base in [self.scale * stride * 2 ** (octave / self.per_octave)]
                for ratio in self.aspect_ratios
            ]
            columns, rows = math.ceil(width / stride), math.ceil(height / stride)
            parts.append(_cells(columns, rows, stride / width, stride / height, sizes))
        return np.concatenate(parts)


class FileAnchors(_Anchors, frozen=True, tag="file", kw_only=True):
    """Anchors of one's own: a text file of the package, four numbers a line, by comma."""

    file: str
    scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    columns: Literal["yxhw", "xywh"] = "yxhw"
    """Centre and size in 0..1, in this order."""

    def read(self, package: Package) -> Floats:
        """(n, 4) centre x, centre y, width, height in 0..1. Raises PackageError."""
        path = package.path(self.file)
        try:
            table = np.loadtxt(path, np.float32, delimiter=",", ndmin=2)
        except (OSError, ValueError, UnicodeDecodeError) as error:
            raise PackageError(
                f"{path}: no anchors can be read from it: {error}",
                remedy="Write four numbers a line, separated by commas.",
            ) from error
        if table.shape[1] != 4:
            raise PackageError(f"{path}: {table.shape[1]} numbers a line instead of four")
        return table[:, [1, 0, 3, 2]] if self.columns == "yxhw" else table


AnchorTable = Union[SsdAnchors, PyramidAnchors, FileAnchors]


class Anchors:
    """The anchors that ``output.anchors`` describes.

    Raises PackageError for a wrong table or file.
    """

    def __init__(self, package: Package) -> None:
        table: dict[str, Any] = {"kind": "ssd", **package.manifest.output.anchors}
        try:
            self._how: AnchorTable = msgspec.convert(table, AnchorTable)
        except (msgspec.ValidationError, ValueError) as error:
            raise PackageError(f"output.anchors: {error}") from error
        self._read = self._how.read(package) if isinstance(self._how, FileAnchors) else None
        self._made: dict[tuple[int, int], Floats] = {}
        y, x, h, w = self._how.scales
        self._scales = np.array([x, y, w, h], np.float32)
        self._turn = [1, 0, 3, 2] if self._how.order == "yxhw" else [0, 1, 2, 3]

    def boxes(self, size: tuple[int, int]) -> Floats:
        """(n, 4) centre x, centre y, width, height for an input of this width and height."""
        if self._read is not None:
            return self._read
        if size not in self._made:
            assert not isinstance(self._how, FileAnchors)
            self._made[size] = self._how.boxes(*size).astype(np.float32)
        return self._made[size]

    def correct(self, anchors: Floats, raw: Floats) -> Floats:
        """(n, 4) x1, y1, x2, y2 in 0..1 from anchors and the model's corrections (n, 4)."""
        moves = raw[:, self._turn] / self._scales
        middle = moves[:, :2] * anchors[:, 2:] + anchors[:, :2]
        half = np.exp(np.minimum(moves[:, 2:], _CLIP)) * anchors[:, 2:] / 2
        return np.concatenate([middle - half, middle + half], axis=1)


def _cells(
    columns: int, rows: int, step_x: float, step_y: float, sizes: list[tuple[float, float]]
) -> Floats:
    y, x = np.mgrid[0:rows, 0:columns].reshape(2, -1)
    centres = np.stack([(x + 0.5) * step_x, (y + 0.5) * step_y], axis=1)
    each = len(sizes)
    shapes = np.tile(np.array(sizes), (len(centres), 1))
    return np.concatenate([np.repeat(centres, each, axis=0), shapes], axis=1)


def _positive(*values: float) -> None:
    if any(value <= 0 for value in values):
        raise ValueError("scales, strides and ratios are above 0")
