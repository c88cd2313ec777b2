"""Pictures into tensors: fit, colour, layout, quantization, and where the picture then lies.

What is the same for every frame of one size (where it goes, which steps its colour and values
need) is settled at the first one: see `edgeagent.prepare.paint`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from msgspec import Struct

from edgeagent.errors import InputError, PackageError
from edgeagent.prepare.paint import Painter
from edgeagent.prepare.resample import RESAMPLE
from edgeagent.types import Frame, Placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.manifest import InputSpec
    from edgeagent.types import Sample, TensorSpec

    Picture = NDArray[np.uint8]

# A second thread of OpenCV doubles the CPU time and saves little of the wall time.
cv2.setNumThreads(1)

_STEP = 32
"""Pixels: what fully convolutional models with five halvings take."""


class Form(Struct, frozen=True):
    """What the tensor holds: one picture of this size, channels last or first (planar)."""

    width: int
    height: int
    channels: int
    planar: bool
    shape: tuple[int, ...]


class Cut(Struct, frozen=True):
    """The part of the frame that is taken and the place in the tensor where it goes, pixels."""

    source: tuple[slice, slice]
    target: tuple[slice, slice]
    placement: Placement


class ImagePreparer:
    """Frames into one input tensor.

    Args:
        spec: the ``[[input]]`` of the package.
        tensor: the session's input; NHWC, NCHW, NHW (grey), or flattened to (1, n).

    Raises:
        PackageError: size, colour or layout do not fit the tensor.
    """

    def __init__(self, spec: InputSpec, tensor: TensorSpec) -> None:
        self.name = spec.name
        self.form = form(spec, tensor)
        if spec.fit == "whole" and tensor.shape[-3:].count(-1) < 2:
            raise PackageError(
                f"input.{spec.name}.fit: tensor {tensor.name!r} fixes the picture's size: "
                f"{_text(tensor.shape)}",
                remedy='Set fit to "letterbox", "stretch" or "crop".',
            )
        self._spec = spec
        self._resample = RESAMPLE[spec.resample]
        self._spec_of_tensor = tensor
        self._resize(self.form)
        self._seen: tuple[int, ...] = ()

    def __call__(self, sample: Sample) -> tuple[NDArray[Any], Placement, None]:
        """The tensor (batch of 1), where the frame lies in it, and no features.

        The array is written anew by the next call, except for what lies around the frame: run
        the model before preparing another, and don't write into it.
        Raises InputError for a sample that is no usable picture.
        """
        pixels = usable(sample, self.name)
        if pixels.shape != self._seen:
            self._settle(pixels)
        self._resample(pixels[self._source], self._small)
        self._paint()
        return self._tensor, self._placement, None

    def _resize(self, to: Form) -> None:
        self.form = to
        self._tensor: NDArray[Any] = np.zeros(to.shape, self._spec_of_tensor.dtype)
        self._painter = Painter(self._spec, self._spec_of_tensor, to, self._tensor)

    def _settle(self, pixels: Picture) -> None:
        if self._spec.fit == "whole":
            self._resize(whole(self._spec, self.form, pixels.shape[1], pixels.shape[0]))
        place = cut(self._spec.fit, pixels.shape[1], pixels.shape[0], self.form)
        self._source, self._placement = place.source, place.placement
        self._small, self._paint = self._painter.lay(place.target, grey=pixels.ndim == 2)
        self._seen = pixels.shape


def usable(sample: Sample, name: str) -> Picture:
    """The pixels of a sample for input ``name``. Raises InputError where it is no picture."""
    if not isinstance(sample, Frame):
        raise InputError(
            f"input {name!r} takes pictures, but {sample.source!r} gives windows of values",
            remedy="Give the pipeline a source of pictures, or a model for windows.",
        )
    pixels = sample.pixels
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype != np.uint8 or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    ):
        raise InputError(
            f"{sample.origin or sample.source}: a picture is 8-bit BGR or grey, "
            f"this one is {pixels.dtype} {'×'.join(map(str, pixels.shape))}"
        )
    if not pixels.size:
        raise InputError(f"{sample.origin or sample.source}: the picture is empty")
    return pixels


# --- geometry ------------------------------------------------------------------------------


def cut(fit: str, width: int, height: int, form: Form) -> Cut:
    """How a frame of ``width`` × ``height`` pixels is laid into the tensor.

    letterbox: whole frame, aspect kept, ``pad`` around it. stretch: whole frame, aspect lost.
    crop: the middle of the frame that has the tensor's aspect, nothing around it.
    """
    every = slice(None)
    if fit in ("stretch", "whole"):
        return Cut((every, every), (every, every), Placement())
    if fit == "crop":
        ratio = max(form.width / width, form.height / height)
        inner_w = min(width, max(1, round(form.width / ratio)))
        inner_h = min(height, max(1, round(form.height / ratio)))
        left, top = (width - inner_w) // 2, (height - inner_h) // 2
        return Cut(
            (slice(top, top + inner_h), slice(left, left + inner_w)),
            (every, every),
            Placement(-left / inner_w, -top / inner_h, width / inner_w, height / inner_h),
        )
    ratio = min(form.width / width, form.height / height)
    inner_w = min(form.width, max(1, round(width * ratio)))
    inner_h = min(form.height, max(1, round(height * ratio)))
    left, top = (form.width - inner_w) // 2, (form.height - inner_h) // 2
    return Cut(
        (every, every),
        (slice(top, top + inner_h), slice(left, left + inner_w)),
        Placement(
            left / form.width, top / form.height, inner_w / form.width, inner_h / form.height
        ),
    )


def whole(spec: InputSpec, old: Form, width: int, height: int) -> Form:
    """The form of a tensor for a frame about as large as it is: the shorter side at least that of
    ``size``, both in steps of 32 pixels. Source: PaddleOCR's ``limit_type = "min"``."""
    assert spec.size is not None
    least = min(spec.size)
    ratio = max(1.0, least / min(width, height))
    across, down = (
        max(_STEP, round(int(side * ratio) / _STEP) * _STEP) for side in (width, height)
    )
    inner = (old.channels, down, across) if old.planar else (down, across, old.channels)
    batch = old.shape[: len(old.shape) - 3]
    return Form(across, down, old.channels, old.planar, (*batch, *inner))


def form(spec: InputSpec, tensor: TensorSpec) -> Form:
    """The tensor's form, held against what the package says. Raises PackageError."""
    channels = 1 if spec.colour == "gray" else 3
    shape = tensor.shape
    # (n, height, width) is how sequence models take a grey picture.
    rows_of_grey = len(shape) == 3 and channels == 1 and shape[0] in (1, -1) and shape[2] != 1
    first = 1 if len(shape) in (2, 4) or rows_of_grey else 0
    batch, axes = shape[:first], shape[first:]
    if batch and batch[0] not in (1, -1):
        raise PackageError(
            f"input.{spec.name}: tensor {tensor.name!r} takes {batch[0]} pictures at once",
            remedy="Export the model with a batch of 1, or a dynamic one.",
        )
    one = tuple(1 for _ in batch)
    if len(axes) == 1:
        return _flat(spec, tensor, channels, one)
    if len(axes) == 2 and channels == 1:
        width, height = _size(spec, tensor, axes[1], axes[0])
        return Form(width, height, 1, False, (*one, height, width))
    if len(axes) != 3:
        raise PackageError(
            f"input.{spec.name}.kind: a picture needs a tensor of 3 or 4 dimensions, "
            f"{tensor.name!r} is {_text(shape)}",
            remedy='Use kind = "window" or "tensor" for it.',
        )
    planar = _planar(spec, tensor, axes, channels)
    rows, columns = (axes[1], axes[2]) if planar else (axes[0], axes[1])
    width, height = _size(spec, tensor, columns, rows)
    inner = (channels, height, width) if planar else (height, width, channels)
    return Form(width, height, channels, planar, (*one, *inner))


def _planar(spec: InputSpec, tensor: TensorSpec, axes: tuple[int, ...], channels: int) -> bool:
    if spec.layout != "auto":
        planar = spec.layout == "nchw"
        if axes[0 if planar else 2] in (channels, -1):
            return planar
    elif channels in (axes[2], axes[0]):
        return axes[2] != channels
    else:
        raise PackageError(
            f"input.{spec.name}.colour = {spec.colour!r} means {channels} channel"
            f"{'s' if channels > 1 else ''}, tensor {tensor.name!r} is {_text(tensor.shape)}",
            remedy='Set colour to "gray" for one channel, "rgb" or "bgr" for three.',
        )
    raise PackageError(
        f"input.{spec.name}.layout = {spec.layout!r} does not fit {channels} channels "
        f"in tensor {tensor.name!r}, {_text(tensor.shape)}",
        remedy='Leave layout out ("auto") or set the other one.',
    )


def _flat(spec: InputSpec, tensor: TensorSpec, channels: int, one: tuple[int, ...]) -> Form:
    count = tensor.shape[-1]
    if spec.size is None or spec.size[0] * spec.size[1] * channels != count:
        size = "absent" if spec.size is None else f"{list(spec.size)}"
        raise PackageError(
            f"input.{spec.name}.size is {size}, tensor {tensor.name!r} holds {count} values",
            remedy=f"Set size to [width, height] with width × height × {channels} = {count}.",
        )
    planar = spec.layout == "nchw" and channels > 1
    return Form(spec.size[0], spec.size[1], channels, planar, (*one, count))


def _size(spec: InputSpec, tensor: TensorSpec, columns: int, rows: int) -> tuple[int, int]:
    if spec.size is None:
        if columns < 1 or rows < 1:
            raise PackageError(
                f"input.{spec.name}.size is missing, and tensor {tensor.name!r} leaves it open: "
                f"{_text(tensor.shape)}",
                remedy="Set size = [width, height].",
            )
        return columns, rows
    width, height = spec.size
    if width < 1 or height < 1:
        raise PackageError(f"input.{spec.name}.size = {list(spec.size)}: both must be above 0")
    if columns not in (-1, width) or rows not in (-1, height):
        raise PackageError(
            f"input.{spec.name}.size = [{width}, {height}] (width, height), but tensor "
            f"{tensor.name!r} is {_text(tensor.shape)}",
            remedy=f"Set size = [{columns}, {rows}] or leave it out.",
        )
    return width, height


def _text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join("?" if axis < 0 else str(axis) for axis in shape) + "]"
