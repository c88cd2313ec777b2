"""Tracking by overlap alone: the least that works, without numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.decide.track.port import Boxed, iou, numbered
from edgeagent.types import Detection, Keypoints

if TYPE_CHECKING:
    from edgeagent.types import Box, Prediction


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
            told[place] = numbered(prediction, numbers[place])
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
