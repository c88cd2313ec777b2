"""Who is who from one sample to the next."""

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
        """The same predictions in the same order, those with a box with a track number > 0.

        Args:
            predictions: of one sample; samples come in the order of time.
            mono_ms: when the sample was taken.
        """


class _Track:
    __slots__ = ("box", "label", "missed", "number", "seen_ms", "vx", "vy")

    def __init__(self, number: int, label: str, box: Box, mono_ms: float) -> None:
        self.number = number
        self.label = label
        self.box = box
        self.seen_ms = mono_ms
        self.missed = 0
        self.vx = self.vy = 0.0

    def expected(self, mono_ms: float) -> Box:
        """Where the box would be now if it went on as it last did."""
        dx, dy = self.vx * (mono_ms - self.seen_ms), self.vy * (mono_ms - self.seen_ms)
        x1, y1, x2, y2 = self.box
        return (x1 + dx, y1 + dy, x2 + dx, y2 + dy)

    def follow(self, box: Box, mono_ms: float) -> None:
        passed = mono_ms - self.seen_ms
        if passed > 0:
            self.vx = (box[0] + box[2] - self.box[0] - self.box[2]) / 2 / passed
            self.vy = (box[1] + box[3] - self.box[1] - self.box[3]) / 2 / passed
        self.box = box
        self.seen_ms = mono_ms
        self.missed = 0


class IouTracker:
    """Greedy association by overlap with where each track is expected, label by label.

    Best overlaps are taken first, older tracks first among equals, so the same input always
    gives the same numbers. Scores do not matter here.

    Args:
        overlap: smallest intersection over union that can be the same thing.
        missed: samples in a row that a track may be missing before it is forgotten.
    """

    def __init__(self, *, overlap: float = 0.2, missed: int = 5) -> None:
        self._overlap = overlap
        self._allowed = missed
        self._tracks: list[_Track] = []
        self._next = 1

    def update(self, predictions: Sequence[Prediction], mono_ms: float) -> list[Prediction]:
        """See `Tracker`."""
        found: dict[int, Boxed] = {
            place: prediction
            for place, prediction in enumerate(predictions)
            if isinstance(prediction, (Detection, Keypoints))
        }
        if not found and not self._tracks:
            return list(predictions)
        numbers = self._follow(found, mono_ms)
        for place, prediction in found.items():
            if place not in numbers:
                self._tracks.append(_Track(self._next, prediction.label, prediction.box, mono_ms))
                numbers[place] = self._next
                self._next += 1
        told = list(predictions)
        for place, prediction in found.items():
            told[place] = _numbered(prediction, numbers[place])
        return told

    def _follow(self, found: dict[int, Boxed], mono_ms: float) -> dict[int, int]:
        """Place of each prediction that goes on a track → its number; the others are missed."""
        numbers: dict[int, int] = {}
        followed: set[int] = set()
        for _, age, place in self._pairs(found, mono_ms):
            if age not in followed and place not in numbers:
                self._tracks[age].follow(found[place].box, mono_ms)
                numbers[place] = self._tracks[age].number
                followed.add(age)
        for age, track in enumerate(self._tracks):
            track.missed += age not in followed
        self._tracks = [track for track in self._tracks if track.missed <= self._allowed]
        return numbers

    def _pairs(self, found: dict[int, Boxed], mono_ms: float) -> list[tuple[float, int, int]]:
        """(−overlap, place of the track, place of the prediction), best first."""
        pairs = []
        for age, track in enumerate(self._tracks):
            expected = track.expected(mono_ms)
            for place, prediction in found.items():
                if prediction.label != track.label:
                    continue
                # Something that stopped or turned is where it was, not where it was going.
                overlap = max(iou(expected, prediction.box), iou(track.box, prediction.box))
                if overlap >= self._overlap:
                    pairs.append((-overlap, age, place))
        pairs.sort()
        return pairs


def _numbered(prediction: Boxed, number: int) -> Prediction:
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
