"""A decoder: of all that a detector finds, the label of which there is most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeagent.errors import PackageError
from edgeagent.interpret.outputs import real
from edgeagent.manifest import Package
from edgeagent.types import Label, Prediction, Prepared, TensorSpec


class Commonest:
    """For one output of rows: four edges, then a score for each label."""

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.labels = package.labels
        self.dropped = 0
        self._tensor = outputs[0]
        self._threshold = threshold
        if self._tensor.shape[-1] != 4 + len(self.labels):
            raise PackageError(
                f"output: {self._tensor.shape[-1]} values a row; commonest reads 4 edges and "
                f"{len(self.labels)} scores"
            )

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        del prepared
        scores = real(outputs[0].reshape(-1, outputs[0].shape[-1])[:, 4:], self._tensor)
        best = scores.max(axis=1)
        sure = best >= self._threshold
        counts = np.bincount(scores[sure].argmax(axis=1), minlength=len(self.labels))
        if not counts.sum():
            return []
        winner = int(counts.argmax())
        return [Label(self.labels[winner], float(counts[winner] / counts.sum()))]
