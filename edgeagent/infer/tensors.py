"""What a runtime's refusal of tensors means, in the terms of the model's own inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeagent.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fits(spec: TensorSpec, shape: Sequence[int]) -> bool:
    """Whether a tensor of ``shape`` is one of those that ``spec`` allows (−1 = any length)."""
    return len(shape) == len(spec.shape) and all(
        want in (-1, got) for want, got in zip(spec.shape, shape, strict=True)
    )


def mismatch(specs: Sequence[TensorSpec], tensors: Sequence[NDArray[Any]]) -> str:
    """The first thing that is wrong with ``tensors``; empty = they fit the inputs."""
    if len(tensors) != len(specs):
        names = ", ".join(spec.name for spec in specs)
        return f"the model takes {len(specs)} inputs ({names}), got {len(tensors)}"
    for spec, tensor in zip(specs, tensors, strict=True):
        shape = getattr(tensor, "shape", None)
        if shape is None:
            return f"input {spec.name!r} takes an array, got {type(tensor).__name__}"
        if not fits(spec, shape) or str(tensor.dtype) != spec.dtype:
            return (
                f"input {spec.name!r} takes {spec.dtype} {_dims(spec.shape)},"
                f" got {tensor.dtype} {_dims(shape)}"
            )
    return ""


def _dims(shape: Sequence[int]) -> str:
    if not shape:
        return "a single value (0-d)"
    return "×".join("?" if length < 0 else str(length) for length in shape)
