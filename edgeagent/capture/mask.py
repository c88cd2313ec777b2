"""Places that nobody may see, blackened before anything else gets the frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from edgeagent.types import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

Polygons = Sequence[Sequence[tuple[float, float]]]


class Mask:
    """Polygons in 0..1 of the frame. Rounded outward: a pixel that is touched is black."""

    def __init__(self, polygons: Polygons) -> None:
        self._polygons = [np.array(polygon, np.float64) for polygon in polygons]
        self._drawn: tuple[int, int] = (0, 0)
        self._points: list[NDArray[Any]] = []

    def blacken(self, frame: Frame) -> Frame:
        """The frame without what the polygons cover; its own pixels are changed where they
        may be, else a copy's."""
        import cv2

        if not self._polygons:
            return frame
        if not (frame.pixels.flags.writeable and frame.pixels.flags.c_contiguous):
            frame = replace(frame, pixels=frame.pixels.copy())
        pixels = frame.pixels
        points = self._scaled(pixels.shape[0], pixels.shape[1])
        cv2.fillPoly(pixels, points, (0, 0, 0))
        # The filling alone ends at pixel centres; the line covers what is touched by less.
        cv2.polylines(pixels, points, True, (0, 0, 0), 2)
        return frame

    def _scaled(self, height: int, width: int) -> list[NDArray[Any]]:
        if self._drawn != (height, width):
            size = np.array([width, height], np.float64)
            self._points = [
                np.rint(np.clip(polygon, -1.0, 2.0) * size).astype(np.int32)
                for polygon in self._polygons
            ]
            self._drawn = (height, width)
        return self._points
