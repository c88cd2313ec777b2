"""Lines of text into tensors: all of the height, as much of the width as the line needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import PackageError
from edgeagent.prepare.image import Form, form, usable
from edgeagent.prepare.paint import Painter, border
from edgeagent.prepare.resample import RESAMPLE
from edgeagent.types import Placement, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.manifest import InputSpec
    from edgeagent.types import Sample

_LONGEST = 80
"""Heights: a longer line is squeezed, for no memory bears every width."""


class LinePreparer:
    """Frames into one input tensor, laid to the left, ``pad`` on the right.

    Widths are those of PaddleOCR's ``resize_norm_img``: the line's own, at least the one of
    ``size``; one that the tensor fixes is kept, and a longer line is squeezed into it.

    Args:
        spec: the ``[[input]]`` of the package; ``size`` = least width, height.
        tensor: the session's input; its width may be open.

    Raises:
        PackageError: size, colour or layout do not fit the tensor.
    """

    def __init__(self, spec: InputSpec, tensor: TensorSpec) -> None:
        if spec.size is None:
            raise PackageError(
                f"input.{spec.name}.size is missing",
                remedy='fit = "line" needs size = [least width, height].',
            )
        self.name = spec.name
        self._spec = spec
        self._tensor = tensor
        self._form = form(spec, tensor)
        self._open = -1 in tensor.shape[2:]
        grey = self._form.channels == 1 and self._form.shape[-1] != 1
        self._axis = -1 if self._form.planar or grey else -2
        self._resample = RESAMPLE[spec.resample]

    def __call__(self, sample: Sample) -> tuple[NDArray[Any], Placement, None]:
        """The tensor (batch of 1), where the frame lies in it, and no features.

        Raises InputError for a sample that is no usable picture.
        """
        pixels = usable(sample, self.name)
        least, height = self._form.width, self._form.height
        ratio = min(pixels.shape[1] / pixels.shape[0], float(_LONGEST))
        width = max(least, int(height * ratio)) if self._open else least
        inner = min(width, max(1, math.ceil(height * ratio)))
        its = self._sized(width)
        tensor: NDArray[Any] = np.empty(its.shape, self._tensor.dtype)
        painter = Painter(self._spec, self._tensor, its, tensor)
        small, paint = painter.lay((slice(None), slice(0, inner)), grey=pixels.ndim == 2)
        self._resample(pixels, small)
        paint()
        return tensor, Placement(width=inner / width), None

    def join(self, many: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """One batch as wide as the widest; what others lack is ``pad``."""
        axis = self._axis
        width = max(one.shape[axis] for one in many)
        around = border(self._spec, self._tensor, self._form.channels)
        shape = list(many[0].shape)
        shape[0], shape[axis] = len(many), width
        batch: NDArray[Any] = np.empty(shape, many[0].dtype)
        batch[:] = around[:, None, None] if self._form.planar else around
        for place, one in enumerate(many):
            whole = batch[place : place + 1]
            (whole[..., : one.shape[-1]] if axis == -1 else whole[..., : one.shape[-2], :])[:] = one
        return batch

    def _sized(self, width: int) -> Form:
        old = self._form
        shape = list(old.shape)
        shape[self._axis] = width
        return Form(width, old.height, old.channels, old.planar, tuple(shape))
