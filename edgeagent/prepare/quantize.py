"""From real values to what a tensor stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeagent.errors import PackageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.types import TensorSpec

Rounding = Literal["round", "truncate"]


class Quantize:
    """Writes real values into an array of the tensor's own dtype.

    Integers are ``real / scale + zero_point``, rounded half to even (or cut towards zero, as
    some reference front ends do) and clipped to the dtype; floats are only cast. A tensor
    without quantization, or with scale 0 as TFLite reports for "none", has scale 1 and zero
    point 0.
    """

    def __init__(self, tensor: TensorSpec, rounding: Rounding = "round") -> None:
        self.dtype = np.dtype(tensor.dtype)
        if self.dtype.kind not in "iuf":
            raise PackageError(
                f"tensor {tensor.name!r} stores {tensor.dtype}: only numbers can be fed",
                remedy="Export the model with a float or integer input.",
            )
        quantization = tensor.quantization
        self.scale = quantization.scale if quantization and quantization.scale else 1.0
        self.zero_point = quantization.zero_point if quantization and quantization.scale else 0
        self._truncate = rounding == "truncate"
        self._wide: type[np.floating[Any]] = np.float32
        if self.dtype.kind in "iu":
            if self.dtype.itemsize > 2:  # float32 can't hold the ends of int32 exactly
                self._wide = np.float64
            limits = np.iinfo(self.dtype)
            self._low, self._high = self._wide(limits.min), self._wide(limits.max)
            if int(self._high) > limits.max:  # nor float64 those of int64
                self._high = np.nextafter(self._high, self._wide(0))
        self._buffer: NDArray[Any] = np.empty(0, self._wide)

    def __call__(self, real: NDArray[Any], out: NDArray[Any]) -> None:
        """Store ``real`` in ``out``; both have the same shape, and no value is NaN."""
        if self.dtype.kind == "f":
            np.copyto(out, real, casting="unsafe")
            return
        if self._buffer.shape != real.shape:
            self._buffer = np.empty(real.shape, self._wide)
        work = self._buffer
        np.divide(real, self.scale, out=work, casting="unsafe")
        if self.zero_point:
            work += self.zero_point
        (np.trunc if self._truncate else np.rint)(work, out=work)
        np.maximum(work, self._low, out=work)
        np.minimum(work, self._high, out=work)
        np.copyto(out, work, casting="unsafe")
