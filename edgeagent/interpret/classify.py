"""Classes with scores: pictures, keywords, states of a machine."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.outputs import (
    all_labels,
    check_labels,
    named,
    real,
    scaling,
    sigmoid,
    softmax,
    stateless,
    width,
)
from edgeagent.types import Label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Prepared, TensorSpec

_FEW = 64
"""Up to so many classes plain Python is faster than numpy's calls."""


class Classify:
    """The ``top`` classes of one output tensor, whatever their score.

    The threshold is not applied here: which class is on top is worth knowing even when none
    is sure, and `decide` makes no event of what is below it. With ``smooth`` the scores are
    the mean over the last samples (fewer at first), which must follow one another.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels = all_labels(package)
        self._package = package
        self._activation = package.manifest.output.activation
        self._top = max(1, package.manifest.output.top)
        smooth = package.manifest.output.smooth
        if smooth < 1:
            raise PackageError(f"output.smooth: {smooth} samples; 1 means each for itself")
        self._recent: deque[NDArray[np.float32]] | None = deque(maxlen=smooth)
        if smooth == 1:
            self._recent = None
        self._place = _scores_place(package, outputs)
        self._tensor = tensor = outputs[self._place]
        check_labels(package, width(tensor.shape))
        self._float = np.dtype(tensor.dtype).kind == "f"
        self._scale, self._zero_point = scaling(tensor)
        self._names: list[str] = []

    def __call__(self, outputs: Sequence[NDArray[Any]], _prepared: Prepared) -> list[Prediction]:
        stored = outputs[self._place].ravel()
        if len(self._names) != stored.shape[0]:
            self._name(stored.shape[0])
        if self._recent is not None:
            return self._smoothed(stored, self._recent)
        if stored.shape[0] <= _FEW:
            values = stored.tolist()
            ranked = sorted(range(len(values)), key=values.__getitem__, reverse=True)[: self._top]
        else:
            # Widened, because −x of an unsigned or smallest integer is no number to sort by.
            wide = stored.astype(np.float32)
            ranked = np.argsort(-wide, kind="stable")[: self._top].tolist()
            values = {index: float(stored[index]) for index in ranked}
        if self._float and not math.isfinite(float(stored.sum())):
            _refuse_nan(stored)
        scores = self._scores([values[index] for index in ranked], stored)
        names = self._names
        return [Label(names[index], score) for index, score in zip(ranked, scores, strict=True)]

    def reset(self) -> None:
        """Forget the last samples: the next one begins a new stream."""
        if self._recent is not None:
            self._recent.clear()

    def _smoothed(
        self, stored: NDArray[Any], recent: deque[NDArray[np.float32]]
    ) -> list[Prediction]:
        if self._float and not np.isfinite(stored).all():
            _refuse_nan(stored)
        scores = real(stored, self._tensor)
        if self._activation != "none":
            scores = sigmoid(scores) if self._activation == "sigmoid" else softmax(scores)
        if recent and len(recent[0]) != len(scores):
            recent.clear()
        recent.append(np.array(scores))
        mean = np.mean(recent, axis=0)
        ranked = np.argsort(-mean, kind="stable")[: self._top].tolist()
        return [Label(self._names[index], float(mean[index])) for index in ranked]

    def _scores(self, ranked: list[float], stored: NDArray[Any]) -> list[float]:
        scale, zero_point = self._scale, self._zero_point
        logits = [scale * (value - zero_point) for value in ranked]
        if self._activation == "none":
            return logits
        if self._activation == "sigmoid":
            return [_sigmoid(logit) for logit in logits]
        every = scale * (stored.astype(np.float64) - zero_point)
        peak = float(every.max())
        total = float(np.exp(every - peak).sum())
        return [math.exp(logit - peak) / total for logit in logits]

    def _name(self, classes: int) -> None:
        try:
            check_labels(self._package, classes)
        except PackageError as error:  # the shape was open until now
            raise InferenceError(str(error), remedy=error.remedy) from error
        self._names = [self._package.label(index) for index in range(classes)]


def _scores_place(package: Package, outputs: tuple[TensorSpec, ...]) -> int:
    """The output that holds the scores: named, or as wide as there are labels, or the first."""
    places = stateless(package, outputs)
    told = named(package, outputs, "scores")
    if told:
        return told["scores"]
    classes = len(package.labels) - package.manifest.output.label_offset
    fitting = [place for place in places if width(outputs[place].shape) == classes]
    return (fitting or places)[0]


def _refuse_nan(stored: NDArray[Any]) -> None:
    if not np.isfinite(stored).all():
        raise InferenceError(
            "the model answered with NaN or infinity instead of scores",
            remedy="Check its input scaling (mean, scale) and its file.",
        )


def _sigmoid(logit: float) -> float:
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    growth = math.exp(logit)
    return growth / (1.0 + growth)
