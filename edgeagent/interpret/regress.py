"""Measured quantities, and outputs that are handed on as they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgeagent.errors import InferenceError
from edgeagent.interpret.outputs import check_labels, named, real, stateless, width
from edgeagent.types import Raw, Regression

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Prepared, TensorSpec


_REDUCED: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
    "max": max,
    "last": lambda values: values[-1],
}


class Regress:
    """Each value of the first output (or of the one named ``values``) as a quantity.

    Several values are named by the package's labels, one by ``output.name`` (or the model).
    A series over the window becomes one value with ``output.reduce``.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels = package.labels
        places = stateless(package, outputs)
        self._place = named(package, outputs, "values").get("values", places[0])
        self._tensor = outputs[self._place]
        self._reduce = package.manifest.output.reduce
        self._unit = package.manifest.output.unit
        self._name = package.manifest.output.name or package.name
        check_labels(package, width(self._tensor.shape) if self._reduce == "none" else 1)

    def __call__(self, outputs: Sequence[NDArray[Any]], _prepared: Prepared) -> list[Prediction]:
        values = real(outputs[self._place], self._tensor).ravel().tolist()
        if not all(math.isfinite(value) for value in values):
            raise InferenceError(
                f"the model answered NaN or infinity for {self._name}",
                remedy="Check its input scaling (mean, scale) and its file.",
            )
        if self._reduce != "none" and values:
            values = [_REDUCED[self._reduce](values)]
        return [
            Regression(self._label(place, len(values)), value, self._unit)
            for place, value in enumerate(values)
        ]

    def _label(self, place: int, count: int) -> str:
        if place < len(self.labels):
            return self.labels[place]
        return self._name if count == 1 else f"{self._name}.{place}"


class Nothing:
    """``decoder = "none"``: every output, dequantised, as nested lists under its name."""

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels: tuple[str, ...] = ()
        self._tensors = [(place, outputs[place]) for place in stateless(package, outputs)]

    def __call__(self, outputs: Sequence[NDArray[Any]], _prepared: Prepared) -> list[Prediction]:
        return [
            Raw({tensor.name: _nested(outputs[place], tensor) for place, tensor in self._tensors})
        ]


def _nested(values: NDArray[Any], tensor: TensorSpec) -> Any:
    if tensor.quantization is None and values.dtype.kind in "iub":
        return values.tolist()
    return real(values, tensor).tolist()
