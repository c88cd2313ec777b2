"""Colour and values: a small 8-bit picture as what the tensor stores.

A stored value depends on one pixel value only, so whatever a package asks for (mean, scale,
quantization) is folded into a table of 256 entries per channel. Tables that say "as it is" or
"minus 128" are recognised and cost no look-up. After a large model has run nothing is left in
the caches: each step fewer, and each buffer fewer, saves several times what it costs by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeagent.errors import PackageError
from edgeagent.prepare.quantize import Quantize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.manifest import InputSpec
    from edgeagent.prepare.image import Form
    from edgeagent.types import TensorSpec

    Picture = NDArray[np.uint8]
    Region = tuple[slice, slice]
    Paint = Callable[[], object]

_PIXELS = np.arange(256, dtype=np.uint8)
# OpenCV moves table entries without reading them; it does not know all of our dtypes.
_CARRIERS: dict[int, Any] = {1: np.uint8, 2: np.int16, 4: np.float32, 8: np.float64}


class Painter:
    """Lays pictures into ``out``, the buffer of a tensor.

    Args:
        spec: colour, mean and scale.
        tensor: dtype and quantization of ``out``.
        form: how ``out`` holds a picture.
        out: is filled with what ``pad`` becomes, and written by what `lay` gives.
    """

    def __init__(self, spec: InputSpec, tensor: TensorSpec, form: Form, out: NDArray[Any]) -> None:
        entries = table(spec, tensor, form.channels)
        self._around = border(spec, tensor, form.channels)
        carrier = _CARRIERS[out.dtype.itemsize]
        self._colour = spec.colour
        self._entries = entries.view(carrier)
        self._same = out.dtype == np.uint8 and bool((entries == _PIXELS).all())
        # Flipping the top bit is the same as subtracting 128 and reading it signed.
        self._flip = out.dtype == np.int8 and bool((self._entries == _PIXELS ^ 128).all())
        height, width, channels = form.height, form.width, form.channels
        self._planar = form.planar
        rows = (height, width, channels) if channels > 1 else (height, width)
        self._buffer = out.view(carrier).reshape((channels, height, width) if form.planar else rows)

    def lay(self, target: Region, *, grey: bool) -> tuple[Picture, Paint]:
        """How frames of one size get into ``target`` (rows, columns); around it is ``pad``.

        Returns:
            Where the resampled frame must be written: (h, w, 3) BGR, or (h, w) if ``grey``;
            and what to call then. It may be the tensor itself.
        """
        around, (rows, columns) = self._around.view(self._buffer.dtype), target
        if self._planar:
            self._buffer[:] = around[:, None, None]
            return self._in_planes(self._buffer[:, rows, columns], grey)
        self._buffer[:] = around if self._buffer.ndim == 3 else around[0]
        return self._in_rows(self._buffer[rows, columns], grey)

    def _in_rows(self, inner: NDArray[Any], grey: bool) -> tuple[Picture, Paint]:
        code = self._conversion(grey)
        small: Any = _canvas(inner, grey)
        coloured: Any = small
        steps: list[Paint] = []
        if code is None and (self._same or self._flip):
            small = inner
        elif code is not None:
            coloured = inner if self._same or self._flip else np.zeros(inner.shape, np.uint8)
            steps.append(partial(cv2.cvtColor, small, code, coloured))
        if self._flip:
            steps.append(partial(np.bitwise_xor, inner, 128, inner))
        elif not self._same:
            look = np.ascontiguousarray(self._entries.T).reshape(1, 256, len(self._entries))
            steps.append(partial(cv2.LUT, coloured, look, inner))
        return small, _all(steps)

    def _in_planes(self, planes: NDArray[Any], grey: bool) -> tuple[Picture, Paint]:
        if grey or len(planes) == 1:
            return self._one_in_planes(planes, grey)
        small = _canvas(planes[0], grey=False)
        order = (2, 1, 0) if self._colour == "rgb" else (0, 1, 2)
        steps: list[Paint]
        if self._same or self._flip:
            steps = [partial(cv2.split, small, [planes[place] for place in order])]
            if self._flip:
                steps.append(partial(np.bitwise_xor, planes, 128, planes))
            return small, _all(steps)
        parts = list(np.zeros(planes.shape, np.uint8))
        steps = [partial(cv2.split, small, parts)]
        for part, place in zip(parts, order, strict=True):
            steps.append(partial(cv2.LUT, part, self._entries[place], planes[place]))
        return small, _all(steps)

    def _one_in_planes(self, planes: NDArray[Any], grey: bool) -> tuple[Picture, Paint]:
        """A grey picture into every plane."""
        small = _canvas(planes[0], grey)
        single: Any = small
        steps: list[Paint] = []
        if not grey:
            single = np.zeros(planes.shape[1:], np.uint8)
            steps.append(partial(cv2.cvtColor, small, cv2.COLOR_BGR2GRAY, single))
        for plane, look in zip(planes, self._entries, strict=True):
            steps.append(partial(cv2.LUT, single, look, plane))
        return small, _all(steps)

    def _conversion(self, grey: bool) -> int | None:
        if grey:
            return None if self._colour == "gray" else cv2.COLOR_GRAY2BGR
        return {
            "bgr": None, "rgb": cv2.COLOR_BGR2RGB, "gray": cv2.COLOR_BGR2GRAY
        }[self._colour]  # fmt: skip


def _canvas(like: NDArray[Any], grey: bool) -> Picture:
    return np.zeros(like.shape[:2] if grey else (*like.shape[:2], 3), np.uint8)


def _all(steps: list[Paint]) -> Paint:
    if len(steps) == 1:
        return steps[0]

    def paint() -> None:
        for step in steps:
            step()

    return paint


def table(spec: InputSpec, tensor: TensorSpec, channels: int) -> NDArray[Any]:
    """(channels, 256): what the tensor stores for each pixel value.

    Without mean and scale an 8-bit tensor takes the picture as it is: uint8 the pixel, int8
    the pixel − 128, whatever real values its quantization gives them.

    Raises PackageError: mean or scale do not fit the channels, or the tensor holds no numbers.
    """
    return _stored(spec, tensor, np.tile(np.arange(256.0), (channels, 1)))


def border(spec: InputSpec, tensor: TensorSpec, channels: int) -> NDArray[Any]:
    """(channels,): what the tensor stores around a picture. Raises as `table`."""
    return _stored(spec, tensor, _per_channel(spec, "pad", spec.pad, 0.0, channels)[:, None])[:, 0]


def _stored(spec: InputSpec, tensor: TensorSpec, pixels: NDArray[np.float64]) -> NDArray[Any]:
    """Values (channels, n) of 0..255 as the tensor's own."""
    dtype, channels = np.dtype(tensor.dtype), len(pixels)
    if not spec.mean and not spec.scale and dtype.itemsize == 1:
        same = np.rint(pixels).astype(np.uint8)
        return same if dtype == np.uint8 else (same ^ 128).view(np.int8)
    mean = _per_channel(spec, "mean", spec.mean, 0.0, channels)
    scale = _per_channel(spec, "scale", spec.scale, 1.0, channels)
    stored = np.empty(pixels.shape, dtype)
    Quantize(tensor)((pixels - mean[:, None]) / scale[:, None], stored)
    return stored


def _per_channel(
    spec: InputSpec, key: str, values: list[float], absent: float, channels: int
) -> NDArray[np.float64]:
    if len(values) not in (0, 1, channels):
        raise PackageError(
            f"input.{spec.name}.{key} has {len(values)} values for {channels} channels",
            remedy=f"Give one value, or {channels}.",
        )
    return np.broadcast_to(np.array(values or [absent], np.float64), (channels,))
