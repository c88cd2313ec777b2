"""Hiding what must not be seen before a picture is stored or sent. Fails closed.

Whatever a detector found with one of the labels stays hidden for `hold` after it was last
found there, because detectors miss single frames and the eye does not. All of a box and a
margin around it are hidden, in a copy; the frame itself is never written to.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

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


class Redactor:
    """Watches every sample of a pipeline, and hides on demand.

    Args:
        how: ``[pipelines.X.redact]``.
    """

    def __init__(self, how: Redact) -> None:
        self._labels = frozenset(how.labels)
        self._method = how.method
        self._margin = how.margin
        self._hold_ms = seconds(how.hold) * 1000
        self._found: deque[tuple[float, Box]] = deque()
        self._now_ms = -math.inf
        self._broken = False

    def watch(self, predictions: Iterable[Prediction], mono_ms: float) -> None:
        """Remember what is to be hidden in this sample and for a while after it."""
        if mono_ms < self._now_ms:  # a recording that begins anew: hold everything from here on
            self._found = deque((mono_ms, box) for _, box in self._found)
        self._now_ms = mono_ms
        for prediction in predictions:
            for box in _boxes(prediction, self._labels):
                self._found.append((mono_ms, box))
        while self._found and mono_ms - self._found[0][0] > self._hold_ms:
            self._found.popleft()

    def hide(self, pixels: Picture, mono_ms: float) -> Picture | None:
        """A redacted copy of the frame that was watched last; None rather than a doubtful one.

        Args:
            pixels: uint8 (h, w, 3) or (h, w).
            mono_ms: of that frame: a picture of another time is refused.
        """
        if mono_ms != self._now_ms:
            return None
        try:
            hidden: Picture = pixels.copy()
            for _, box in self._found:
                cover(hidden, grown(box, self._margin), self._method)
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
