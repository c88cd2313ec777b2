"""A part of a frame as a picture of its own: a box, or a quadrilateral made straight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeagent.types import Placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.types import Box

    Picture = NDArray[np.uint8]

UPRIGHT = 1.5
"""A quadrilateral so much higher than wide holds a line of text that runs downwards."""


def box_of(pixels: Picture, box: Box, margin: float = 0.0) -> tuple[Picture, Placement] | None:
    """The pixels in a box with a margin (a share of its sides), cut at the frame's edges.

    Returns:
        A view of ``pixels``, and where the *whole frame* lies in it: ``placement.to_frame``
        leads from 0..1 of the part to 0..1 of the frame. None where nothing of it is inside.
    """
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        return None
    across, down = (x2 - x1) * margin, (y2 - y1) * margin
    left, right = _span(x1 - across, x2 + across, width)
    top, bottom = _span(y1 - down, y2 + down, height)
    if left >= right or top >= bottom:
        return None
    inner_w, inner_h = right - left, bottom - top
    placement = Placement(-left / inner_w, -top / inner_h, width / inner_w, height / inner_h)
    return pixels[top:bottom, left:right], placement


def _span(low: float, high: float, length: int) -> tuple[int, int]:
    return max(0, math.floor(low * length)), min(length, math.ceil(high * length))


def quad_of(pixels: Picture, points: Sequence[tuple[float, float]]) -> Picture | None:
    """What lies between four points (0..1, clockwise from the top left), made a rectangle.

    A line of text that runs downwards is turned by a quarter. Whole pixels, sides and
    interpolation are those of PaddleOCR's ``get_rotate_crop_image``. None where nothing lies
    between them.
    """
    height, width = pixels.shape[:2]
    corners = np.array([(x * width, y * height) for x, y in points], np.float32)
    if not np.isfinite(corners).all():
        return None
    corners = np.clip(np.rint(corners), 0, (width - 1, height - 1)).astype(np.float32)
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    across, down = int(max(sides[0], sides[2])), int(max(sides[1], sides[3]))
    if across < 1 or down < 1:
        return None
    straight = np.array([(0, 0), (across, 0), (across, down), (0, down)], np.float32)
    matrix: Any = cv2.getPerspectiveTransform(corners, straight)
    part: Any = cv2.warpPerspective(
        pixels, matrix, (across, down), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.ascontiguousarray(np.rot90(part)) if down >= UPRIGHT * across else part
