"""Hiding what must not be seen before a picture is stored or sent. Fails closed.

Whatever a detector found with one of the labels is hidden there for `hold` before and after,
because detectors miss single frames, the first ones above all, and the eye does not. A track
that was missed is hidden wherever it may have been in between. All of a box and a margin around
it are hidden, in a copy; the frame itself is never written to.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from msgspec import Struct

from edgeagent.config.units import seconds
from edgeagent.types import Detection, Keypoints, Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.config.model import Redact
    from edgeagent.types import Box, Prediction

    Picture = NDArray[np.uint8]

log = logging.getLogger("edgeagent.redact")

_CELLS = 6
"""A hidden box is told in 6 × 6 colours: too few to know a face or read a word."""
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class _Look(Struct):
    """What was found at one time, to be hidden."""

    when_ms: float
    whole: bool
    """False where one of the finders gave no answer."""
    found: list[tuple[Hashable, Box]]
    """Each with the key of its track; None = it has none."""


class Redactor:
    """Watches every sample of a pipeline, and hides on demand.

    Args:
        how: ``[pipelines.X.redact]``.
    """

    def __init__(self, how: Redact) -> None:
        self._labels = frozenset(how.labels)
        self._method = how.method
        self._margin = how.margin
        self.hold_ms = seconds(how.hold) * 1000
        self._looks: deque[_Look] = deque()
        self._now_ms = -math.inf
        self._broken = False

    def watch(
        self,
        predictions: Sequence[Prediction],
        when_ms: float,
        hidden: Sequence[Prediction] | None = (),
        keep_from_ms: float = math.inf,
    ) -> None:
        """Remember what is to be hidden in a sample, and around it.

        Args:
            predictions: of the pipeline's model, with tracks.
            when_ms: the sample's time; samples come in order.
            hidden: of the model that finds what must be hidden; None = it did not answer.
            keep_from_ms: time of the oldest sample that may still have to be hidden.
        """
        if when_ms < self._now_ms:  # a stream that begins anew: hold everything from here on
            boxes = [(None, box) for look in self._looks for _, box in look.found]
            self._looks = deque([_Look(when_ms, True, list(boxes))])
        self._now_ms = when_ms
        found: list[tuple[Hashable, Box]] = []
        for origin, its in ((0, predictions), (1, hidden or ())):
            for prediction in its:
                track = getattr(prediction, "track", 0)
                key = (origin, track) if track else None
                found += [(key, box) for box in _boxes(prediction, self._labels)]
        self._looks.append(_Look(when_ms, hidden is not None, found))
        oldest = min(when_ms, keep_from_ms) - self.hold_ms
        while self._looks and self._looks[0].when_ms < oldest:
            self._looks.popleft()

    def known(self, when_ms: float) -> bool:
        """Whether all is known that a picture of this time must hide: what a detector finds
        only later is looked for backwards as well."""
        return self._now_ms - when_ms >= self.hold_ms

    def covers(self, when_ms: float) -> list[Box] | None:
        """What to hide in the sample of this time, by what is known now; None = that is not
        known: it was not watched, a finder failed on it, or the stream stalled after it."""
        watched = any(look.when_ms == when_ms and look.whole for look in self._looks)
        if not watched or self._interrupted(when_ms):
            return None
        near: dict[Hashable, list[tuple[float, Box]]] = {}
        boxes: list[Box] = []
        for look in self._looks:
            if abs(look.when_ms - when_ms) > self.hold_ms:
                continue
            for key, box in look.found:
                boxes.append(box)
                if key is not None:
                    near.setdefault(key, []).append((look.when_ms, box))
        for seen in near.values():
            missed = _missed(seen, when_ms)
            if missed is not None:
                boxes.append(missed)
        return [grown(box, self._margin) for box in boxes]

    def _interrupted(self, when_ms: float) -> bool:
        """Whether the stream stalled right after this time: nobody looked for as long as is
        held, though looks came faster before."""
        before = max((its.when_ms for its in self._looks if its.when_ms < when_ms), default=None)
        after = min((its.when_ms for its in self._looks if its.when_ms > when_ms), default=None)
        if before is None or after is None:
            return False
        return after - when_ms > self.hold_ms >= when_ms - before

    def hide(self, pixels: Picture, when_ms: float) -> Picture | None:
        """A redacted copy of a frame that was watched, by what is known now; None rather than
        a doubtful one.

        Args:
            pixels: uint8 (h, w, 3) or (h, w).
            when_ms: of that frame: a picture of another time is refused.
        """
        covers = self.covers(when_ms)
        return None if covers is None else self.paint(pixels, covers)

    def paint(self, pixels: Picture, covers: Sequence[Box]) -> Picture | None:
        """A copy of a frame in which nothing below the covers can be known; None where that
        fails."""
        try:
            hidden: Picture = pixels.copy()
            for box in covers:
                cover(hidden, box, self._method)
        except Exception:
            # Whatever it was: a picture that is not known to be redacted does not exist.
            if not self._broken:
                log.exception("redaction failed: no pictures until it works again")
            self._broken = True
            return None
        if self._broken:
            log.info("redaction works again")
            self._broken = False
        return hidden


def _missed(seen: list[tuple[float, Box]], when_ms: float) -> Box | None:
    """Where a track may have been at a time at which it was not found: between the places
    before and after, or as far on as it went before (or came from after)."""
    before = [each for each in seen if each[0] <= when_ms]
    after = [each for each in seen if each[0] >= when_ms]
    if before and after:
        return _hull(before[-1][1], after[0][1])  # the same box where it was found just then
    known = before[::-1] if before else after
    (last_ms, last), *others = known
    if not others or others[0][0] == last_ms:
        return None
    part = (when_ms - last_ms) / (last_ms - others[0][0])
    moved = [edge + part * (edge - was) for edge, was in zip(last, others[0][1], strict=True)]
    return _hull(last, (moved[0], moved[1], moved[2], moved[3]))


def _hull(one: Box, other: Box) -> Box:
    return (
        min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])
    )  # fmt: skip


def _boxes(prediction: Prediction, labels: frozenset[str]) -> list[Box]:
    if isinstance(prediction, (Detection, Keypoints)) and prediction.label in labels:
        return [prediction.box]
    if isinstance(prediction, Mask) and prediction.label in labels:
        if not prediction.polygons:
            return [_WHOLE]
        return [_bounds(polygon) for polygon in prediction.polygons]
    return []


def _bounds(polygon: Sequence[tuple[float, float]]) -> Box:
    xs, ys = [x for x, _ in polygon], [y for _, y in polygon]
    return min(xs), min(ys), max(xs), max(ys)


def grown(box: Box, margin: float) -> Box:
    """The box with ``margin`` of its width and height added on each side.

    A box that is not made of numbers becomes the whole frame.
    """
    if not all(math.isfinite(edge) for edge in box):
        return _WHOLE
    x1, x2 = sorted((box[0], box[2]))
    y1, y2 = sorted((box[1], box[3]))
    dx, dy = (x2 - x1) * margin, (y2 - y1) * margin
    return x1 - dx, y1 - dy, x2 + dx, y2 + dy


def cover(pixels: Picture, box: Box, method: str) -> None:
    """Make a box (0..1 of the picture) unrecognisable, in place: fill, pixelate or blur.

    Every pixel that the box touches is covered.
    """
    height, width = pixels.shape[:2]
    left, right = max(0, math.floor(box[0] * width)), min(width, math.ceil(box[2] * width))
    top, bottom = max(0, math.floor(box[1] * height)), min(height, math.ceil(box[3] * height))
    if left >= right or top >= bottom:
        return
    area = pixels[top:bottom, left:right]
    if method == "fill":
        area[...] = 0
        return
    cells = (min(_CELLS, right - left), min(_CELLS, bottom - top))
    coarse = cv2.resize(area, cells, interpolation=cv2.INTER_AREA)
    # Blurring the few colours instead of the pixels leaves nothing that could be sharpened.
    smooth = cv2.INTER_LINEAR if method == "blur" else cv2.INTER_NEAREST
    area[...] = cv2.resize(coarse, (right - left, bottom - top), interpolation=smooth)
