"""Reading output tensors: which is which, real values, labels that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InferenceError, PackageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.manifest import InputSpec, Package
    from edgeagent.types import Prepared, TensorSpec

    Floats = NDArray[np.floating[Any]]


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
    """Places of the outputs that are answers, not carried state. Raises PackageError if none."""
    carried = {state.output for state in package.manifest.state}
    places = [place for place, tensor in enumerate(outputs) if tensor.name not in carried]
    if not places:
        raise PackageError("output: the model has no output besides its state")
    return places


def named(package: Package, outputs: tuple[TensorSpec, ...], *roles: str) -> dict[str, int]:
    """Places of the outputs that ``output.tensors`` names, by role.

    Raises PackageError for a role that the decoder does not know and a tensor that is not there.
    """
    places = {}
    names = [tensor.name for tensor in outputs]
    for role, name in package.manifest.output.tensors.items():
        if role not in roles:
            raise PackageError(
                f"output.tensors.{role}: decoder {package.manifest.output.decoder!r} knows no such "
                f"tensor; it knows: {', '.join(roles)}"
            )
        if name not in names:
            raise PackageError(
                f"output.tensors.{role} = {name!r} is no output of the model",
                remedy=f"Its outputs: {', '.join(names)}.",
            )
        places[role] = names.index(name)
    return places


def shapes(outputs: tuple[TensorSpec, ...], places: list[int]) -> str:
    """Shapes for an error text: ``[1,?,4], [1,?]``."""
    return ", ".join(
        "[" + ",".join("?" if axis < 0 else str(axis) for axis in outputs[place].shape) + "]"
        for place in places
    )


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
    """The labels that can be told: from class 0 on, or from 1 where 0 is the background."""
    output = package.manifest.output
    return package.labels[max(0, output.label_offset + output.background) :]


def sigmoid(logits: Floats) -> NDArray[np.float32]:
    """1 / (1 + e^−x), float32, without overflow."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -100.0, 100.0))), np.float32)


def softmax(logits: Floats) -> NDArray[np.float32]:
    """Along the last axis, float32, without overflow."""
    growth = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(growth / growth.sum(axis=-1, keepdims=True), np.float32)


def class_numbers(values: Floats) -> NDArray[np.int64]:
    """Class numbers that a graph tells as floats; what is no number becomes −1."""
    sound = np.abs(values) < 1e6  # false for NaN
    return np.rint(np.where(sound, values, -1)).astype(np.int64)


class Canvas:
    """The input that shows the picture: in its pixels many detectors count.

    Raises PackageError where the package has no picture.
    """

    def __init__(self, package: Package) -> None:
        for place, spec in enumerate(package.manifest.input):
            if spec.kind == "image":
                self._place, self._spec = place, spec
                return
        raise PackageError("output.decoder: it needs an [[input]] of kind image")

    def size(self, prepared: Prepared) -> tuple[int, int]:
        """Width and height of the tensor."""
        spec: InputSpec = self._spec
        if spec.size is not None and spec.fit != "whole":
            return spec.size
        shape = prepared.tensors[self._place].shape[-3:]
        planar = shape[0] in (1, 3) and spec.layout != "nhwc" and shape[2] not in (1, 3)
        height, width = shape[1:] if planar or spec.layout == "nchw" else shape[:2]
        return width, height

    def shares(self, boxes: Floats, prepared: Prepared) -> NDArray[np.float32]:
        """Boxes (n, 4) in pixels of the tensor as boxes in 0..1 of it."""
        return np.divide(boxes, self.size(prepared) * 2, dtype=np.float32)


def refuse_all_bad(bad: int, of: int) -> None:
    """Raise InferenceError when not one of the candidates is a number."""
    if bad and bad == of:
        raise InferenceError(
            "the model answered with NaN or infinity in every candidate",
            remedy="Check its input scaling (mean, scale) and its file.",
        )
