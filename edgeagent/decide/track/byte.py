"""Tracking with the doubtful detections too: ByteTrack.

A detector that sees something half hidden does not miss it, it doubts: the score falls. So
sure detections are matched first, to all tracks; doubtful ones then keep alive the tracks that
are left, and never begin one. Source: Zhang et al. 2022, "ByteTrack: Multi-Object Tracking by
Associating Every Detection Box".

Our own: time in seconds, a common shift of the picture (`shake`), and a third pass with grown
boxes for what moves by more than its size between two frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.decide.track.assign import assign
from edgeagent.decide.track.motion import Motion
from edgeagent.decide.track.port import Boxed, numbered
from edgeagent.decide.track.shake import common_shift
from edgeagent.types import Detection, Keypoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.types import Prediction

    Floats = NDArray[np.floating[Any]]
    Places = NDArray[np.intp]

_SURE, _DOUBTFUL, _GROWN = 0.2, 0.4, 0.305
"""Least overlap in the three passes."""
_FRESH = 99
_LOWFRESH = 1
_BLUR = 2.0
"""A doubtful box is so much less exact."""
_LONGEST_S = 1.0
"""A longer step is a pause: nothing is expected to have gone on for so long."""


class ByteTracker:
    """Gives numbers to detections and poses, label by label.

    Detections below ``threshold`` are welcome: they get the number of a track that they
    continue, else 0.

    Args:
        threshold: from this score on something is sure enough to begin a track.
        missed: samples in a row that a track may be missing before it is forgotten …
        keep_s: … but not before so many seconds.
    """

    def __init__(self, threshold: float, *, missed: int = 5, keep_s: float = 2.0) -> None:
        self._threshold = threshold
        self._allowed = missed
        self._keep_s = keep_s
        self._motion = Motion()
        self._numbers: Places = np.zeros(0, np.intp)
        self._labels: Places = np.zeros(0, np.intp)
        self._hits: Places = np.zeros(0, np.intp)
        self._missed: Places = np.zeros(0, np.intp)
        self._seen_s: Floats = np.zeros(0)
        self._known: dict[str, int] = {}
        self._next = 1
        self._last_s: float | None = None

    def update(self, predictions: Sequence[Prediction], mono_ms: float) -> list[Prediction]:
        """See `Tracker`."""
        found: list[tuple[int, Boxed]] = [
            (place, prediction)
            for place, prediction in enumerate(predictions)
            if isinstance(prediction, (Detection, Keypoints))
        ]
        now = mono_ms / 1000
        passed = 0.0 if self._last_s is None else min(max(now - self._last_s, 0.0), _LONGEST_S)
        self._last_s = now
        told = list(predictions)
        if not found and not len(self._motion):
            return told
        boxes = np.array([one.box for _, one in found], float).reshape(-1, 4)
        scores = np.array([one.score for _, one in found], float)
        labels = np.array([self._label(one.label) for _, one in found], np.intp)
        numbers = self._follow(boxes, scores, labels, passed, now)
        for (place, prediction), number in zip(found, numbers.tolist(), strict=True):
            told[place] = numbered(prediction, number)
        return told

    def _label(self, label: str) -> int:
        return self._known.setdefault(label, len(self._known))

    def _follow(
        self, boxes: Floats, scores: Floats, labels: Places, passed: float, now: float
    ) -> Places:
        """Numbers for the detections; 0 = none."""
        motion = self._motion
        motion.advance(passed)
        sure = scores >= self._threshold
        self._steady(boxes, labels, sure)
        pairs = self._match(boxes, labels, sure)
        numbers = np.zeros(len(boxes), np.intp)
        if pairs:
            rows, places = np.array(pairs, np.intp).T
            numbers[places] = self._numbers[rows]
            for kind, blur in ((sure[places], 1.0), (~sure[places], _BLUR)):
                motion.follow(rows[kind], boxes[places[kind]], blur)
        else:
            rows = np.zeros(0, np.intp)
        self._age(rows, now)
        fresh = np.flatnonzero(sure & (numbers == 0))
        numbers[fresh] = self._begin(boxes[fresh], labels[fresh], now)
        return numbers

    def _steady(self, boxes: Floats, labels: Places, sure: NDArray[np.bool_]) -> None:
        """Undo what the camera did."""
        steady = self._missed == 0
        if steady.sum() < 3:
            return
        shift = common_shift(
            self._motion.place[steady], self._labels[steady], boxes, labels
        )
        if shift is not None:
            self._motion.shift(shift)

    def _match(
        self, boxes: Floats, labels: Places, sure: NDArray[np.bool_]
    ) -> list[tuple[int, int]]:
        """Pairs (track, detection) of the three passes."""
        expected = self._motion.boxes()
        same = self._labels[:, None] == labels[None, :]
        overlap = np.where(same, overlaps(expected, boxes), 0.0)
        free = np.ones(len(expected), bool)
        left = np.ones(len(boxes), bool)
        pairs: list[tuple[int, int]] = []

        def take(likeness: Floats, tracks: NDArray[np.bool_], places: Any, least: float) -> None:
            rows, columns = np.flatnonzero(tracks & free), np.flatnonzero(places & left)
            if not len(rows) or not len(columns):
                return
            for row, column in assign(likeness[np.ix_(rows, columns)], least):
                pairs.append((int(rows[row]), int(columns[column])))
                free[rows[row]] = left[columns[column]] = False

        take(overlap, free, sure, _SURE)
        take(overlap, self._missed <= _LOWFRESH, ~sure, _DOUBTFUL)
        if (left & sure).any() and free.any():
            near = np.where(same, np.exp(-self._motion.distance(boxes) / 8), 0.0)
            take(near, self._missed <= _FRESH, sure, _GROWN)
        return pairs

    def _age(self, seen: Places, now: float) -> None:
        """Count misses; forget what has been missing for long, or was seen but once."""
        self._missed += 1
        self._missed[seen] = 0
        self._hits[seen] += 1
        self._seen_s[seen] = now
        self._motion.coast(self._missed > 0)
        gone = (self._missed > self._allowed) & (now - self._seen_s > self._keep_s)
        gone |= (self._hits < 2) & (self._missed > 2)
        if gone.any():
            keep = ~gone
            self._motion.keep(keep)
            self._numbers, self._labels = self._numbers[keep], self._labels[keep]
            self._hits, self._missed = self._hits[keep], self._missed[keep]
            self._seen_s = self._seen_s[keep]

    def _begin(self, boxes: Floats, labels: Places, now: float) -> Places:
        count = len(boxes)
        numbers = np.arange(self._next, self._next + count)
        self._next += count
        self._motion.add(boxes)
        self._numbers = np.concatenate([self._numbers, numbers])
        self._labels = np.concatenate([self._labels, labels])
        self._hits = np.concatenate([self._hits, np.ones(count, np.intp)])
        self._missed = np.concatenate([self._missed, np.zeros(count, np.intp)])
        self._seen_s = np.concatenate([self._seen_s, np.full(count, now)])
        return numbers


def overlaps(one: Floats, other: Floats) -> Floats:
    """Intersection over union of each of (n, 4) with each of (m, 4): (n, m) in 0..1.

    Turned-over and empty boxes overlap nothing.
    """
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    sides = np.maximum(high - low, 0.0)
    shared = sides[..., 0] * sides[..., 1]
    sizes = [np.maximum(b[:, 2:] - b[:, :2], 0.0).prod(axis=1) for b in (one, other)]
    whole = sizes[0][:, None] + sizes[1][None, :] - shared
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0))
