"""Where a picture differs from what was there before.

A running background of the scaled-down luma with a running deviation of each of its points, so
that leaves in the wind raise their own threshold and nobody else's. (The idea is Wren et al.,
Pfinder, 1997: one Gaussian a point.) What differs from the background but not from a second ago
stands there, or its place was left. A change of light that is the same everywhere is no movement
either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    Floats = NDArray[np.float32]

WIDTH, HEIGHT = 160, 120
_MOST_COLUMNS = 400
_BACKGROUND_S = 5.0
"""How fast the background follows where nothing moves …"""
_PARKED_S = 20.0
"""… and where something does: what was put down belongs to the background in the end."""
_AGO_S = 0.5
"""Pictures to compare with are kept this far apart; the older of two is taken."""
_DEVIATIONS = 2.5
_SPECKLE = 4
"""Of the nine points around one, so many must differ: less is noise."""
_ALL_OF_IT = 0.6
"""Share above which not things have moved but the light was switched, or the camera turned."""
_STARTS_AT = 2.0
"""Deviation to begin with, levels."""


class MotionDetector:
    """Of one pipeline; its pictures come in the order of time.

    Args:
        zones: polygons in 0..1; empty = all of the picture.
        contrast: levels by which a point must differ, beside its own deviation.
    """

    def __init__(
        self, zones: Sequence[Sequence[tuple[float, float]]] = (), contrast: float = 10.0
    ) -> None:
        self._contrast = np.float32(contrast)
        self._mask = _mask(zones) if zones else None
        self._background: Floats | None = None
        self._deviation: Floats = np.full((HEIGHT, WIDTH), _STARTS_AT, np.float32)
        self._when_s = 0.0
        self._ago: list[tuple[float, Floats, NDArray[Any]]] = []

    def __call__(self, pixels: Picture, when_s: float) -> float:
        """Share of the picture (0..1) that moves, within the zones; 1 for the first one, of which
        nothing is known."""
        import cv2

        luma = _luma(pixels)
        if self._background is None:
            self._background, self._when_s = luma.copy(), when_s
            self._ago = [(when_s, luma, np.zeros(luma.shape, bool))]
            return 1.0
        passed_s = min(max(0.0, when_s - self._when_s), _BACKGROUND_S)
        self._when_s = when_s
        strength = _change(luma, self._background)
        differs = strength > self._contrast + _DEVIATIONS * self._deviation
        moved, was_there = self._lately(luma, differs, when_s)
        # What comes differs from the background now, what went away did so before.
        differs = moved & (differs | was_there)
        around = cv2.boxFilter(differs.astype(np.uint8), -1, (3, 3), normalize=False)
        moving: NDArray[Any] = np.asarray(around) >= _SPECKLE
        self._follow(luma, strength, moving, passed_s)
        counted = moving if self._mask is None else moving & self._mask
        return float(counted.mean())

    def _lately(
        self, luma: Floats, differs: NDArray[Any], when_s: float
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Points near which something has changed since about a second ago, and those that
        differed from the background then."""
        import cv2

        if when_s - self._ago[-1][0] >= _AGO_S:
            self._ago = [self._ago[-1], (when_s, luma, differs)]
        _, before, differed = self._ago[0]
        moved = (_change(luma, before) > self._contrast).astype(np.uint8)
        return np.asarray(cv2.dilate(moved, np.ones((5, 5), np.uint8))).astype(bool), differed

    def _follow(
        self, luma: Floats, strength: Floats, moving: NDArray[Any], passed_s: float
    ) -> None:
        assert self._background is not None
        if moving.mean() > _ALL_OF_IT:
            self._background = luma.copy()
            return
        share = np.where(moving, passed_s / _PARKED_S, passed_s / _BACKGROUND_S)
        share = share.astype(np.float32)
        self._background += share * (luma - self._background)
        # At most: what stands there is no noise, however much it differs.
        noise = np.minimum(strength, self._contrast)
        self._deviation += np.where(moving, 0, share) * (noise - self._deviation)


def _change(luma: Floats, before: Floats) -> Floats:
    """By how much each point lies outside of what it and its neighbours were before, so that a
    mast in the wind moves nothing; without what all points have changed by (the light)."""
    import cv2

    offset = np.float32(np.median(luma[::3, ::3] - before[::3, ::3]))
    near = np.ones((3, 3), np.uint8)
    above = luma - cv2.dilate(before, near) - offset
    below = cv2.erode(before, near) + offset - luma
    return np.asarray(np.maximum(np.maximum(above, below), 0), np.float32)


def _luma(pixels: Picture) -> Floats:
    import cv2

    every = max(1, -(-pixels.shape[1] // _MOST_COLUMNS))
    size = (pixels.shape[1] // every, pixels.shape[0] // every)
    thinned = cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST) if every > 1 else pixels
    small = cv2.resize(thinned, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    return np.asarray(small, np.uint8).astype(np.float32)


def _mask(zones: Sequence[Sequence[tuple[float, float]]]) -> NDArray[Any]:
    import cv2

    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    size = np.array([WIDTH, HEIGHT], np.float64)
    for polygon in zones:
        cv2.fillPoly(mask, [np.rint(np.array(polygon) * size).astype(np.int32)], (1,))
    return mask.astype(bool)
