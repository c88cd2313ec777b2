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

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from edgeagent.decide.track.motion import Motion, middle
from edgeagent.decide.track.port import Boxed, numbered
from edgeagent.decide.track.shake import common_shift
from edgeagent.decide.track.table import Cell, overlapping
from edgeagent.types import Detection, Keypoints

if TYPE_CHECKING:
    from edgeagent.types import Prediction

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


class _Track:
    __slots__ = ("hits", "label", "missed", "motion", "number", "seen_s")

    def __init__(self, number: int, thing: Boxed, now: float) -> None:
        self.number = number
        self.label = thing.label
        self.motion = Motion(thing.box)
        self.hits = 1
        self.missed = 0
        self.seen_s = now


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
        self.reset()

    def reset(self) -> None:
        """Forget all tracks: the next sample begins a new stream. Numbers are not given again."""
        self._tracks: list[_Track] = []
        self._last_s: float | None = None
        self._shift: tuple[float, float] | None = None
        """What the whole picture did in the sample before, beyond what was expected."""

    def update(self, predictions: Sequence[Prediction], mono_ms: float) -> list[Prediction]:
        """See `Tracker`."""
        places = [
            place
            for place, prediction in enumerate(predictions)
            if isinstance(prediction, (Detection, Keypoints))
        ]
        now = mono_ms / 1000
        passed = 0.0 if self._last_s is None else min(max(now - self._last_s, 0.0), _PAUSE_S)
        self._last_s = now
        told = list(predictions)
        if not places and not self._tracks:
            return told
        things: list[Boxed] = [predictions[place] for place in places]  # type: ignore[misc]
        for place, thing, number in zip(
            places, things, self._follow(things, passed, now), strict=True
        ):
            told[place] = numbered(thing, number)
        return told

    def _follow(self, things: list[Boxed], passed: float, now: float) -> list[int]:
        """Numbers for the detections; 0 = none."""
        numbers = [0] * len(things)
        if not self._tracks:
            self._shift = None
        else:
            if passed > 0:
                for track in self._tracks:
                    track.motion.advance(passed)
            self._steady(things, passed)
            matched = self._match(things)
            for row, place in matched:
                track, thing = self._tracks[row], things[place]
                blur = 1.0 if thing.score >= self.threshold else _BLUR
                track.motion.follow(middle(thing.box), blur)
                numbers[place] = track.number
            self._age({row for row, _ in matched}, now)
        for place, thing in enumerate(things):
            if not numbers[place] and thing.score >= self.threshold:
                numbers[place] = self._next
                self._tracks.append(_Track(self._next, thing, now))
                self._next += 1
        return numbers

    def _steady(self, things: list[Boxed], passed: float) -> None:
        """Follow a picture that moves as a whole."""
        seen = [track for track in self._tracks if not track.missed]
        shift = common_shift(
            [(track.label, track.motion.place) for track in seen],
            [(thing.label, thing.box) for thing in things],
        )
        before, self._shift = self._shift, shift
        if shift is None:
            return
        for track in self._tracks:
            track.motion.shift(shift)
        x, y = shift
        goes_on = before is not None and (
            math.hypot(x - before[0], y - before[1]) < _SAME * math.hypot(x, y)
        )
        if goes_on and passed:
            # A camera that shakes comes back; what goes on is a belt that was started, or a
            # camera that turns.
            for track in self._tracks:
                track.motion.push((x / passed, y / passed))
            self._shift = None

    def _match(self, things: list[Boxed]) -> list[tuple[int, int]]:
        """Tracks and their detections, by the three passes."""
        sure = [thing.score >= self.threshold for thing in things]
        free, left = set(range(len(self._tracks))), set(range(len(things)))
        matched: list[tuple[int, int]] = []

        def take(cells: Iterable[Cell]) -> None:
            for row, place in pairs(cells):
                matched.append((row, place))
                free.discard(row)
                left.discard(place)

        overlap = overlapping(
            [(track.label, track.motion.box()) for track in self._tracks],
            [(thing.label, thing.box) for thing in things],
            _OVERLAP,
        )
        for which in (True, False):
            take(cell for cell in overlap if sure[cell[2]] is which and cell[1] in free)
        # Most frames are done by now: what is left is looked for only where there is something
        # left on both sides.
        found = [place for place in sorted(left) if sure[place]]
        if free and found:
            take(self._near(sorted(free), things, found))
            present = [row for row, track in enumerate(self._tracks) if not track.missed]
            if len(present) <= _FEW:
                found = [place for place in found if place in left]
                take(self._jumped([row for row in present if row in free], things, found))
        return matched

    def _near(self, rows: list[int], things: list[Boxed], places: list[int]) -> list[Cell]:
        """By how little they are off what is to be expected."""
        cells = []
        for place in places:
            label, seen = things[place].label, middle(things[place].box)
            for row in rows:
                track = self._tracks[row]
                if track.label == label:
                    away = track.motion.distance(seen, _FAR)
                    if away <= _FAR:
                        cells.append((away, row, place))
        return cells

    def _jumped(self, rows: list[int], things: list[Boxed], places: list[int]) -> list[Cell]:
        """By how little they have jumped, by their own size at most."""
        cells = []
        for place in places:
            label, seen = things[place].label, middle(things[place].box)
            for row in rows:
                if self._tracks[row].label == label:
                    jump = self._tracks[row].motion.jump(seen)
                    if jump <= 1:
                        cells.append((jump, row, place))
        return cells

    def _age(self, seen: set[int], now: float) -> None:
        """Count misses; forget what has been missing for long, or was seen but once."""
        keep = []
        for row, track in enumerate(self._tracks):
            if row in seen:
                track.missed, track.seen_s = 0, now
                track.hits += 1
            else:
                track.missed += 1
                track.motion.coast()
                if track.missed > self._allowed and now - track.seen_s > self._keep_s:
                    continue
                if track.hits < 2 and track.missed > min(_TRIAL, self._allowed):
                    continue
            keep.append(track)
        self._tracks = keep


def pairs(cells: Iterable[Cell]) -> list[tuple[int, int]]:
    """(row, column) of the best cells first, each row and column once.

    Among equals the lower row (the older track), then the lower column. Greedy on purpose: on
    scenes with up to 60 people crossing, the assignment with the largest sum was no better.
    """
    taken_rows, taken_columns, told = set(), set(), []
    for _, row, column in sorted(cells):
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            told.append((row, column))
    return told
