"""Reading output tensors: which is which, real values, labels that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import PackageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import TensorSpec


def scaling(tensor: TensorSpec) -> tuple[float, int]:
    """(scale, zero point); (1, 0) for a tensor without quantization."""
    quantization = tensor.quantization
    if quantization is None or not quantization.scale:
        return 1.0, 0
    return quantization.scale, quantization.zero_point


def real(values: NDArray[Any], tensor: TensorSpec) -> NDArray[np.float32]:
    """Dequantised float32 values, same shape; float tensors come back as they are."""
    scale, zero_point = scaling(tensor)
    floats = values.astype(np.float32, copy=False)
    if scale == 1.0 and zero_point == 0:
        return floats
    return np.asarray((floats - np.float32(zero_point)) * np.float32(scale))


def stateless(package: Package, outputs: tuple[TensorSpec, ...]) -> list[int]:
    """Places of the outputs that are answers, not carried state."""
    carried = {state.output for state in package.manifest.state}
    return [place for place, tensor in enumerate(outputs) if tensor.name not in carried]


def width(shape: tuple[int, ...]) -> int:
    """Number of values of one sample; 0 when the shape leaves it open."""
    total = 1
    for place, axis in enumerate(shape):
        if axis < 0:
            if place:
                return 0
            axis = 1
        total *= axis
    return total if shape else 0


def check_labels(package: Package, classes: int) -> None:
    """Hold the labels against the number of classes. Raises PackageError."""
    labels = len(package.labels)
    offset = package.manifest.output.label_offset
    if labels and classes and labels - offset != classes:
        after = f" (label_offset = {offset} leaves {labels - offset})" if offset else ""
        raise PackageError(
            f"labels: {labels} labels{after} for a model with {classes} classes",
            remedy=f"Write {classes + offset} labels, one for each class in the model's order.",
        )


def all_labels(package: Package) -> tuple[str, ...]:
    """The labels that class numbers from 0 on can have."""
    return package.labels[max(0, package.manifest.output.label_offset) :]
