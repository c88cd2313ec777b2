"""Windows of sensor values and sound into tensors: channels, front end, scaling, quantization."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InputError, PackageError
from edgeagent.prepare.audio import front_end
from edgeagent.prepare.quantize import Quantize, Rounding
from edgeagent.types import WHOLE, Placement, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.manifest import InputSpec
    from edgeagent.prepare.audio import Extract
    from edgeagent.types import Sample, TensorSpec

    Floats = NDArray[np.float32]

_RATE_TOLERANCE = 0.01
"""Relative error of a sampling rate that still counts as the same rate."""


class WindowPreparer:
    """Windows into one input tensor.

    Args:
        spec: the ``[[input]]`` of the package (kind ``window``, ``audio`` or ``tensor``).
        tensor: the session's input; at most its batch and one more dimension may be open.

    Raises:
        PackageError: the front end, the length or the scaling do not fit the tensor.
    """

    def __init__(self, spec: InputSpec, tensor: TensorSpec) -> None:
        self.name = spec.name
        self._spec = spec
        self._shape = _shape(spec, tensor)
        self._length = spec.rows
        self._extract, rounding = _extractor(spec)
        self._channels: tuple[str, ...] = ()
        self._columns: list[int] | None = None
        self._quantize = Quantize(tensor, rounding)
        self._mean = _scaling(spec, "mean", spec.mean, 0.0)
        self._scale = _scaling(spec, "scale", spec.scale, 1.0)
        self._zeros: NDArray[np.float32] = np.zeros(0, np.float32)
        self._tensor: NDArray[Any] = np.zeros(0, tensor.dtype)
        if self._length and (spec.channels or self._extract):
            self._rehearse(max(1, len(spec.channels)))

    def __call__(self, sample: Sample) -> tuple[NDArray[Any], Placement, Floats]:
        """The tensor (batch of 1), no placement, and the values before quantization.

        The tensor is written anew by the next call: run the model before preparing another.
        Raises InputError for a picture, missing channels, a wrong rate or length, NaN or inf.
        """
        values = self._values(sample)
        features = self._features(values)
        if self._tensor.shape != features.shape:
            self._tensor = np.zeros(features.shape, self._tensor.dtype)
        self._quantize(features, self._tensor)
        return self._tensor, WHOLE, features

    def _values(self, sample: Sample) -> Floats:
        if not isinstance(sample, Window):
            raise InputError(
                f"input {self.name!r} takes windows of values, {sample.source!r} gives pictures",
                remedy="Give the pipeline a sensor or sound source, or a model for pictures.",
            )
        values = sample.values
        if values.ndim != 2 or not values.size:
            raise InputError(f"{sample.origin or sample.source}: the window holds no values")
        rate = self._spec.rate_hz
        if rate and abs(sample.rate_hz - rate) > rate * _RATE_TOLERANCE:
            raise InputError(
                f"{sample.origin or sample.source} has {sample.rate_hz:g} values a second, "
                f"input {self.name!r} was trained on {rate:g}",
                remedy="Sample or resample the source at the model's rate.",
            )
        if sample.channels != self._channels or self._columns is None:
            self._columns = self._choose(sample)
            self._channels = sample.channels
        if self._columns:
            values = values[:, self._columns]
        if self._length and values.shape[0] != self._length:
            values = self._fit_length(values, sample)
        flat = np.ascontiguousarray(values).reshape(-1)
        if self._zeros.shape != flat.shape or self._zeros.dtype != flat.dtype:
            self._zeros = np.zeros(flat.shape, flat.dtype)
        # 0 × x is 0 for every number but NaN and inf: one pass, no temporary array.
        with np.errstate(invalid="ignore"):
            numbers = float(flat.dot(self._zeros)) == 0.0
        if not numbers:
            raise InputError(f"{sample.origin or sample.source}: the window holds NaN or infinity")
        return values

    def _choose(self, sample: Window) -> list[int]:
        """Columns to take, in the model's order; empty = all as they are."""
        wanted = self._spec.channels
        if not wanted:
            mono = self._spec.kind == "audio"
            if mono and sample.values.shape[1] != 1:
                raise InputError(
                    f"{sample.origin or sample.source} has {sample.values.shape[1]} channels, "
                    f"input {self.name!r} takes one",
                    remedy="Choose one with the source's key channel.",
                )
            return []
        missing = [name for name in wanted if name not in sample.channels]
        if missing:
            raise InputError(
                f"{sample.origin or sample.source} has no channel {', '.join(missing)}; "
                f"it has {', '.join(sample.channels) or 'none'}",
                remedy=f"Name the source's channels as the model does: {', '.join(wanted)}.",
            )
        if tuple(wanted) == sample.channels:
            return []
        return [sample.channels.index(name) for name in wanted]

    def _fit_length(self, values: Floats, sample: Window) -> Floats:
        short = self._length - values.shape[0]
        if short > 0 and self._spec.kind == "audio":
            # The end of a recording: references fill it with silence as well.
            return np.pad(values, ((0, short), (0, 0)))
        raise InputError(
            f"{sample.origin or sample.source}: the window holds {values.shape[0]} values a "
            f"channel, input {self.name!r} takes {self._length}",
            remedy=f"Cut windows of {self._length}.",
        )

    def _features(self, values: Floats) -> Floats:
        """Real values in the tensor's shape. Raises InputError when they don't fill it."""
        features = self._extract(values) if self._extract else values
        try:
            if self._mean is not None:
                features = features - _along(self._mean, features)
            if self._scale is not None:
                features = features / _along(self._scale, features)
            if self._turned(features):
                features = features.T
            return np.asarray(features, np.float32).reshape(self._shape)
        except ValueError as error:
            text = "×".join(map(str, features.shape))
            raise InputError(
                f"input {self.name!r}: {text} values do not fill a tensor of {list(self._shape)}",
                remedy="Check length and channels of the source against the model.",
            ) from error

    def _turned(self, features: Floats) -> bool:
        """Whether the tensor wants channels before time."""
        if features.ndim != 2 or self._spec.layout == "nhwc":
            return False
        if self._spec.layout == "nchw":
            return True
        axes = tuple(axis for axis in self._shape if axis != 1)
        own = tuple(axis for axis in features.shape if axis != 1)
        return len(own) == 2 and axes != own and axes == own[::-1]

    def _rehearse(self, channels: int) -> None:
        """Find out now, not at the first sample, that the package contradicts itself."""
        zeros = np.zeros((self._length, channels), np.float32)
        try:
            self._features(zeros)
        except (InputError, ValueError) as error:
            raise PackageError(
                f"input.{self.name}: windows of {self._length} values × {channels} channels do "
                f"not make this tensor: {error}",
                remedy="Correct length (or window_ms), channels or frontend.",
            ) from error


def _shape(spec: InputSpec, tensor: TensorSpec) -> tuple[int, ...]:
    """The tensor's shape with a batch of 1; at most one −1 is left."""
    shape = list(tensor.shape)
    if len(shape) > 1 and shape[0] == -1:
        shape[0] = 1
    if shape.count(-1) > 1:
        raise PackageError(
            f"input.{spec.name}: tensor {tensor.name!r} leaves more than one dimension open",
            remedy="Export the model with fixed dimensions.",
        )
    return tuple(shape)


def _extractor(spec: InputSpec) -> tuple[Extract | None, Rounding]:
    if not spec.frontend:
        return None, "round"
    key = f"input.{spec.name}.frontend"
    try:
        table = front_end(spec.frontend)
        if not spec.rate_hz:
            raise ValueError("rate_hz of the input must be given")
        if table.mono and len(spec.channels) > 1:
            raise ValueError(f"{len(spec.channels)} channels, but this front end takes one")
        return table.extractor(spec.rate_hz), table.rounding
    except ValueError as error:
        raise PackageError(
            f"{key}: {error}",
            remedy="Known kinds: mfcc, log-mel, lfbe, log-spectrum.",
        ) from error


def _scaling(spec: InputSpec, key: str, values: list[float], neutral: float) -> Floats | None:
    if all(value == neutral for value in values):
        return None
    if not all(math.isfinite(value) for value in values):
        raise PackageError(f"input.{spec.name}.{key} holds NaN or infinity")
    return np.array(values, np.float32)


def _along(values: Floats, features: Floats) -> Floats:
    """One value, one a channel (or coefficient), or one for every feature, time before channel."""
    return values if values.size in (1, features.shape[-1]) else values.reshape(features.shape)
