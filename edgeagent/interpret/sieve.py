"""What detectors without suppression in the graph have in common: from many candidates to few."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.interpret.boxes import nms
from edgeagent.interpret.outputs import refuse_all_bad, scaling
from edgeagent.types import Detection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Placement, Prediction, TensorSpec

    Floats = NDArray[np.floating[Any]]

_CANDIDATES = 1000
"""Candidates that go into suppression at most, best first; more are never different objects."""


class Sieve:
    """Leaves out what is no number or below the threshold, suppresses, and names what stays.

    Args:
        package: its ``output`` says how to suppress.
        threshold: smallest score that is told.
        names: of the classes, for models that come without labels.
    """

    def __init__(
        self,
        package: Package,
        threshold: float,
        *,
        names: tuple[str, ...] = (),
    ) -> None:
        self.threshold = threshold
        self.dropped = 0
        """Candidates left out so far because they were NaN or infinite."""
        self._name = names.__getitem__ if names else package.label
        self._how = package.manifest.output

    def __call__(
        self,
        boxes: Floats,
        scores: Floats,
        classes: NDArray[np.integer[Any]],
        placement: Placement,
        *,
        of: int,
        points: Floats | None = None,
    ) -> list[Prediction]:
        """Detections in the frame, best first.

        Args:
            boxes: (n, 4) x1, y1, x2, y2 in 0..1 of the tensor.
            scores: (n,).
            classes: (n,) numbers for the labels.
            placement: where the frame lies in the tensor.
            of: how many candidates the model gave; some may have been left out before.
            points: (n, p, 2) landmarks in 0..1 of the tensor.

        Raises:
            InferenceError: not one candidate is a number.
        """
        sound = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
        if points is not None:
            sound &= np.isfinite(points).all(axis=(1, 2))
        bad = int((~sound).sum())
        self.dropped += bad
        refuse_all_bad(bad, of)
        wanted = (sound & (scores >= self.threshold)).nonzero()[0]
        wanted = wanted[np.argsort(-scores[wanted], kind="stable")[:_CANDIDATES]]
        kept = wanted[self._suppress(boxes[wanted], scores[wanted], classes[wanted])]
        told: list[Any] = points[kept].tolist() if points is not None else [()] * len(kept)
        place = placement.to_frame
        return [
            Detection(
                self._name(number),
                score,
                place((x1, y1, x2, y2)),
                tuple(place((x, y, 0.0, 0.0))[:2] for x, y in marks),
            )
            for (x1, y1, x2, y2), score, number, marks in zip(
                boxes[kept].tolist(), scores[kept].tolist(), classes[kept].tolist(), told,
                strict=True,
            )
        ]  # fmt: skip

    def _suppress(
        self, boxes: Floats, scores: Floats, classes: NDArray[np.integer[Any]]
    ) -> list[int]:
        how = self._how
        by = classes if how.nms == "class" else None
        return nms(boxes, scores, how.nms_iou, classes=by, most=how.max_detections)


def stored_limit(threshold: float, activation: str, tensor: TensorSpec) -> float | None:
    """The stored value below which no score reaches the threshold; None where it can't be told."""
    if activation == "softmax" or (activation == "sigmoid" and not 0 < threshold < 1):
        return None
    limit = math.log(threshold / (1 - threshold)) if activation == "sigmoid" else threshold
    scale, zero_point = scaling(tensor)
    # One rounding of float32 must not lose a candidate that lies right on the threshold.
    return limit / scale + zero_point - 1e-3 * max(1.0, abs(limit / scale))
