"""What a tracker is, and what all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Union

from edgeagent.types import Detection, Keypoints

if TYPE_CHECKING:
    from edgeagent.types import Box, Prediction

Boxed = Union[Detection, Keypoints]


class Tracker(Protocol):
    """Gives detections an identity that lasts over samples."""

    def update(self, predictions: Sequence[Prediction], mono_ms: float) -> list[Prediction]:
        """The same predictions in the same order, those with a box with a track number.

        A number above 0 is given once and never to another thing. 0 = too doubtful to be one.

        Args:
            predictions: of one sample; samples come in the order of time.
            mono_ms: when the sample was taken.
        """


def numbered(prediction: Boxed, number: int) -> Prediction:
    """The same with a track number."""
    # Made by hand, because dataclasses.replace takes several times as long.
    label, score, box = prediction.label, prediction.score, prediction.box
    if isinstance(prediction, Keypoints):
        return Keypoints(label, score, prediction.points, box, number)
    return Detection(label, score, box, prediction.points, number)


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0..1; turned-over or empty boxes overlap nothing."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    sizes = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return shared / (sizes - shared)
