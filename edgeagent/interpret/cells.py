"""What describes each cell of a grid over a picture: a backbone's feature maps, and colour.

Backbones forget the colour of what they were taught to recognise, and a stain is nothing but
colour. So each cell also has its brightness against the picture's median, the ratios of its
colours, and its contrast, all as logarithms: brighter light moves none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.outputs import real, shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.types import TensorSpec

    Floats = NDArray[np.float32]

_DARK = 8.0
"""Grey levels added before a logarithm: below it there is only noise."""


class Cells:
    """Features (rows, columns, features) of a picture on the grid of the finest map.

    Args:
        tensors: the session's outputs [1, rows, columns, features], or features first where
            ``planar``.
        pixels: (2, channels), factor and offset that make grey levels 0..255 of the values in
            the input tensor.

    Raises:
        PackageError: an output is no map.
    """

    def __init__(self, tensors: Sequence[TensorSpec], pixels: Floats, *, planar: bool) -> None:
        self._tensors = list(tensors)
        self._planar = planar
        self._pixels = pixels
        for tensor in tensors:
            if len(tensor.shape) != 4 or -1 in tensor.shape[1:]:
                raise PackageError(
                    f"output.decoder: patches reads feature maps, {tensor.name!r} is "
                    f"{shapes((tensor,), [0])}",
                    remedy="Make the package with: edgeagent models init --anomaly FOLDER",
                )
        forms = [self._form(tensor) for tensor in tensors]
        self.grid = max(form[:2] for form in forms)
        """Rows and columns."""
        self._spread = [
            None
            if form[:2] == self.grid
            else (spread(form[0], self.grid[0]), spread(form[1], self.grid[1]))
            for form in forms
        ]
        self._shrink: tuple[Floats, Floats] | None = None
        self.features = sum(form[2] for form in forms) + pixels.shape[1] + 1

    def _form(self, tensor: TensorSpec) -> tuple[int, int, int]:
        _, one, two, three = tensor.shape
        return (two, three, one) if self._planar else (one, two, three)

    def __call__(self, outputs: Sequence[NDArray[Any]], picture: NDArray[Any]) -> Floats:
        """Features of the cells.

        Args:
            outputs: of the session.
            picture: the input tensor that they were made of, one picture.

        Raises:
            InferenceError: an output holds NaN or infinity.
        """
        planes = []
        for output, tensor, between in zip(outputs, self._tensors, self._spread, strict=True):
            values = real(output, tensor)[0]
            values = values if self._planar else values.transpose(2, 0, 1)
            if between is not None:
                values = between[0] @ values @ between[1].T
            planes.append(values)
        features = np.concatenate([*planes, self._colours(picture)]).transpose(1, 2, 0)
        if not np.isfinite(features).all():
            raise InferenceError(
                "the model answered with NaN or infinity",
                remedy="Check its input scaling (mean, scale) and its file.",
            )
        return np.ascontiguousarray(features, np.float32)

    def _colours(self, picture: NDArray[Any]) -> Floats:
        """(channels + 1, rows, columns): brightness, ratios of colours, contrast."""
        factor, offset = self._pixels
        channels = len(factor)
        stored = picture[0] if picture.ndim == 4 else picture.reshape(*picture.shape[-2:], 1)
        last = stored.shape[2] == channels
        planes = (stored.transpose(2, 0, 1) if last else stored).astype(np.float32)
        planes = planes * factor[:, None, None] + offset[:, None, None]
        if self._shrink is None:
            rows, columns = (
                spread(have, want) for have, want in zip(planes.shape[1:], self.grid, strict=True)
            )
            self._shrink = rows, columns
        rows, columns = self._shrink
        means = rows @ planes @ columns.T
        grey = planes.mean(axis=0)
        bright = means.mean(axis=0)
        spread_ = np.sqrt(np.maximum(rows @ (grey * grey) @ columns.T - bright * bright, 0))
        lit = bright[bright > 1]  # not the black of a letterbox
        median = np.float32(np.median(lit)) if len(lit) else np.float32(0)
        logs = np.log(np.maximum(means, 0) + _DARK)
        level = np.log(np.maximum(bright, 0) + _DARK)
        return np.stack(
            [
                level - np.log(median + _DARK),
                *(logs[at] - logs[channels // 2] for at in range(channels) if at != channels // 2),
                np.log(spread_ + _DARK / 2) - level,
            ]
        )


def spread(have: int, want: int) -> Floats:
    """(want, have): from ``have`` values along an axis to ``want``. More are interpolated
    between the centres of cells, fewer are averages over the parts that cells cover."""
    if want >= have:
        places = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)
        return np.asarray(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(have))), np.float32)
    edges = np.arange(want + 1)[:, None] * (have / want)
    first = np.arange(have)[None, :]
    covered = np.minimum(edges[1:], first + 1) - np.maximum(edges[:-1], first)
    return np.asarray(np.maximum(0, covered) * want / have, np.float32)
