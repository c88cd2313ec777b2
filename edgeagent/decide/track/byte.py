"""Tracking with the doubtful detections too: ByteTrack.

A detector that sees something half hidden does not miss it, it doubts: the score falls. So
sure detections are matched first, to all tracks; doubtful ones then keep alive the tracks that
are left, and never begin one. Source: Zhang et al. 2022, "ByteTrack: Multi-Object Tracking by
Associating Every Detection Box".

Our own: time in seconds instead of frames (`motion`), a common shift of the picture (`shake`),
and a third pass by Mahalanobis distance, for what moves by more than its size between two
frames and for what was hidden for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.decide.track.motion import Motion
from edgeagent.decide.track.port import Boxed, numbered
from edgeagent.decide.track.shake import common_shift
from edgeagent.types import Detection, Keypoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.types import Prediction

    Floats = NDArray[np.floating[Any]]
    Places = NDArray[np.intp]
    Chosen = NDArray[np.bool_]

_OVERLAP = 0.3
"""Least overlap with where a track is expected, in the first two passes."""
_FAR = 9.5
"""Largest squared Mahalanobis distance in the third: 95 % of four coordinates lie within."""
_FEW = 2
"""Where so few are seen, a thing of the same size nearby can only be the same thing: they may
jump by their own size, as they do before a camera that shakes."""
_BLUR = 2.0
"""The box of a doubtful detection is so much less exact."""
_SAME = 0.5
"""Two shifts are one motion if they differ by less than this part of their length."""
_PAUSE_S = 1.0
"""Nothing is expected to go on for longer than this without being seen."""
_TRIAL = 2
"""Samples that something may be missing which was seen but once."""
_SMALL = 64
"""Cells of a table that is sorted without numpy."""


class ByteTracker:
    """Gives numbers to detections and poses, label by label.

    Detections below ``threshold`` are welcome: they get the number of a track that they
    continue, else 0. The same input always gives the same numbers.

    Args:
        threshold: from this score on something is sure enough to begin a track.
        missed: samples in a row that a track may be missing before it is forgotten …
        keep_s: … but not before so many seconds.
    """

    def __init__(self, threshold: float, *, missed: int = 5, keep_s: float = 2.0) -> None:
        self.threshold = threshold
        self._allowed = missed
        self._keep_s = keep_s
        self._next = 1
        self._known: dict[str, int] = {}
        self.reset()

    def reset(self) -> None:
        """Forget all tracks: the next sample begins a new stream. Numbers are not given again."""
        self._motion = Motion()
        self._numbers: Places = np.zeros(0, np.intp)
        self._labels: Places = np.zeros(0, np.intp)
        self._hits: Places = np.zeros(0, np.intp)
        self._missed: Places = np.zeros(0, np.intp)
        self._seen_s: Floats = np.zeros(0)
        self._last_s: float | None = None
        self._shift: Floats | None = None
        """What the whole picture did in the sample before, beyond what was expected."""

    def update(self, predictions: Sequence[Prediction], mono_ms: float) -> list[Prediction]:
        """See `Tracker`."""
        found: list[tuple[int, Boxed]] = [
            (place, prediction)
            for place, prediction in enumerate(predictions)
            if isinstance(prediction, (Detection, Keypoints))
        ]
        now = mono_ms / 1000
        passed = 0.0 if self._last_s is None else min(max(now - self._last_s, 0.0), _PAUSE_S)
        self._last_s = now
        told = list(predictions)
        if not found and not len(self._motion):
            return told
        boxes = np.array([one.box for _, one in found], float).reshape(-1, 4)
        sure = np.array([one.score >= self.threshold for _, one in found], bool)
        labels = np.array([self._label(one.label) for _, one in found], np.intp)
        numbers = self._follow(boxes, sure, labels, passed, now)
        for (place, prediction), number in zip(found, numbers.tolist(), strict=True):
            told[place] = numbered(prediction, number)
        return told

    def _label(self, label: str) -> int:
        return self._known.setdefault(label, len(self._known))

    def _follow(
        self, boxes: Floats, sure: Chosen, labels: Places, passed: float, now: float
    ) -> Places:
        """Numbers for the detections; 0 = none."""
        motion = self._motion
        motion.advance(passed)
        self._steady(boxes, labels, passed)
        rows, places = self._match(boxes, labels, sure)
        motion.follow(rows, boxes[places], np.where(sure[places], 1.0, _BLUR))
        numbers = np.zeros(len(boxes), np.intp)
        numbers[places] = self._numbers[rows]
        self._age(rows, now)
        fresh = (sure & (numbers == 0)).nonzero()[0]
        if len(fresh):
            numbers[fresh] = self._begin(boxes[fresh], labels[fresh], now)
        return numbers

    def _steady(self, boxes: Floats, labels: Places, passed: float) -> None:
        """Follow a picture that moves as a whole."""
        seen = self._missed == 0
        shift = common_shift(self._motion.place[seen], self._labels[seen], boxes, labels)
        before, self._shift = self._shift, shift
        if shift is None:
            return
        self._motion.shift(shift)
        goes_on = before is not None and np.hypot(*(shift - before)) < _SAME * np.hypot(*shift)
        if goes_on and passed:
            # A camera that shakes comes back; what goes on is a belt that was started, or a
            # camera that turns.
            self._motion.push(shift / passed)
            self._shift = None

    def _match(self, boxes: Floats, labels: Places, sure: Chosen) -> tuple[Places, Places]:
        """Tracks and their detections, by the three passes."""
        expected = self._motion.boxes()
        same = self._labels[:, None] == labels[None, :]
        overlap = np.where(same, overlaps(expected, boxes), 0.0)
        free, left = np.ones(len(expected), bool), np.ones(len(boxes), bool)
        rows: list[int] = []
        places: list[int] = []

        def take(tracks: Places, found: Places, likeness: Floats, least: float) -> None:
            for row, column in pairs(likeness, least):
                rows.append(int(tracks[row]))
                places.append(int(found[column]))
            free[rows] = left[places] = False

        # Most frames are done after the first pass: what is left is looked for only where there
        # is something left on both sides.
        for which in (sure, ~sure):
            tracks, found = free.nonzero()[0], (which & left).nonzero()[0]
            if len(tracks) and len(found):
                take(tracks, found, overlap[tracks[:, None], found], _OVERLAP)
        tracks, found = free.nonzero()[0], (sure & left).nonzero()[0]
        if len(tracks) and len(found):
            away = self._motion.distance(tracks, boxes[found])
            away = np.where(same[tracks[:, None], found], away, np.inf)
            take(tracks, found, 1 / (1 + away), 1 / (1 + _FAR))
            present = self._missed == 0
            if np.count_nonzero(present) <= _FEW:
                tracks, found = (free & present).nonzero()[0], (sure & left).nonzero()[0]
                jumps = self._motion.jumps(tracks, boxes[found])
                take(tracks, found, np.where(same[tracks[:, None], found], 2 - jumps, 0.0), 1.0)
        return np.array(rows, np.intp), np.array(places, np.intp)

    def _age(self, seen: Places, now: float) -> None:
        """Count misses; forget what has been missing for long, or was seen but once."""
        self._missed += 1
        self._missed[seen] = 0
        self._hits[seen] += 1
        self._seen_s[seen] = now
        missing = self._missed > 0
        if not missing.any():
            return
        self._motion.coast(missing)
        gone = (self._missed > self._allowed) & (now - self._seen_s > self._keep_s)
        gone |= (self._hits < 2) & (self._missed > min(_TRIAL, self._allowed))
        if gone.any():
            keep = ~gone
            self._motion.keep(keep)
            self._numbers, self._labels = self._numbers[keep], self._labels[keep]
            self._hits, self._missed = self._hits[keep], self._missed[keep]
            self._seen_s = self._seen_s[keep]

    def _begin(self, boxes: Floats, labels: Places, now: float) -> Places:
        """New tracks; their numbers."""
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
    sides = []
    for low, high in ((0, 2), (1, 3)):
        side = np.minimum(one[:, high, None], other[:, high])
        side -= np.maximum(one[:, low, None], other[:, low])
        sides.append(np.maximum(side, 0.0, out=side))
    shared = sides[0]
    shared *= sides[1]
    sizes = [np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).prod(axis=1) for boxes in (one, other)]
    whole = sizes[0][:, None] + sizes[1] - shared
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0))


def pairs(likeness: Floats, least: float) -> list[tuple[int, int]]:
    """(row, column) of the best pairs first, each row and column once, none below ``least``.

    Among equals the lower row (the older track), then the lower column. Greedy on purpose: on
    scenes with up to 60 people crossing, the assignment with the largest sum was no better.
    """
    taken_rows, taken_columns, told = set(), set(), []
    for row, column in _best_first(likeness, least):
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            told.append((row, column))
    return told


def _best_first(likeness: Floats, least: float) -> Iterable[tuple[int, int]]:
    if likeness.size <= _SMALL:
        # numpy takes longer to be asked than a few numbers take to be sorted.
        cells = [
            (-value, row, column)
            for row, values in enumerate(likeness.tolist())
            for column, value in enumerate(values)
            if value >= least
        ]
        return [(row, column) for _, row, column in sorted(cells)]
    rows, columns = np.nonzero(likeness >= least)
    order = np.argsort(-likeness[rows, columns], kind="stable")
    return zip(rows[order].tolist(), columns[order].tolist(), strict=True)
