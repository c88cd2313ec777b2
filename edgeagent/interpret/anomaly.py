"""Anomaly by reconstruction: an autoencoder repeats what it knows and fails at the rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.outputs import scaling, stateless
from edgeagent.types import Anomaly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Prepared, TensorSpec


class Autoencoder:
    """Mean squared difference between the dequantised output and the *float* input.

    Measuring against the quantized input would hide what quantization already lost. The
    threshold is fitted with the model and stands in its package.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels = ("anomaly",)
        places = stateless(package, outputs)
        if package.manifest.input[0].kind == "image":
            raise PackageError(
                "output.decoder: autoencoder compares windows of values, the input is an image"
            )
        self._place = places[0]
        scale, zero_point = scaling(outputs[self._place])
        self._scale, self._zero_point = np.float32(scale), np.float32(zero_point)

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        features = prepared.features
        if features is None:
            raise InferenceError("an autoencoder needs the float input, and the preparer gave none")
        output = outputs[self._place]
        if output.size != features.size:
            raise InferenceError(
                f"the model answered {output.size} values to {features.size}: no autoencoder",
                remedy="Set another output.decoder in its model.toml.",
            )
        difference = np.subtract(output.ravel(), self._zero_point, dtype=np.float32)
        difference *= self._scale
        difference -= features.ravel()
        score = float(difference.dot(difference)) / difference.size
        if not math.isfinite(score):
            raise InferenceError(
                "the model answered with NaN or infinity",
                remedy="Check its input scaling (mean, scale) and its file.",
            )
        return [Anomaly(score, self.threshold)]
