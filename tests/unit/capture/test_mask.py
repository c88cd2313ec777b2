"""What a mask covers is black; what it does not touch is as it was."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.mask import Mask
from edgeagent.types import Frame

LEFT = [(0.0, 0.0), (0.25, 0.0), (0.25, 1.0), (0.0, 1.0)]


def white(height: int, width: int, *, grey: bool = False) -> Frame:
    shape = (height, width) if grey else (height, width, 3)
    return Frame("s", 1, np.full(shape, 255, np.uint8), 0, 0.0)


def test_a_strip_is_black_and_the_rest_untouched() -> None:
    frame = Mask([LEFT]).blacken(white(40, 80))
    assert not frame.pixels[:, :20].any()
    assert (frame.pixels[:, 23:] == 255).all()


def test_grey_and_changing_sizes() -> None:
    mask = Mask([LEFT])
    for height, width in ((40, 80), (8, 8), (100, 60), (40, 80)):
        frame = mask.blacken(white(height, width, grey=True))
        assert not frame.pixels[:, : width // 4].any()
        assert (frame.pixels[:, width // 4 + 3 :] == 255).all()


def test_a_read_only_picture_is_copied() -> None:
    frame = white(40, 80)
    frame.pixels.flags.writeable = False
    masked = Mask([LEFT]).blacken(frame)
    assert (frame.pixels == 255).all()
    assert not masked.pixels[:, :20].any()
    assert masked.number == frame.number


points = st.tuples(st.floats(0, 1), st.floats(0, 1))


@given(
    st.lists(points, min_size=3, max_size=8),
    st.integers(4, 90),
    st.integers(4, 90),
)
def test_no_pixel_inside_stays_visible(
    polygon: list[tuple[float, float]], height: int, width: int
) -> None:
    """Judged by OpenCV's point-in-polygon test on exact coordinates, which the drawing does
    not use. Concave and self-crossing polygons count by the even-odd rule, as they are
    filled; only points clearly inside or clearly outside are judged."""
    outline = np.array(polygon, np.float32) * np.array([width, height], np.float32)
    hull = cv2.convexHull(outline)
    frame = Mask([[(float(x) / width, float(y) / height) for x, y in hull[:, 0]]]).blacken(
        white(height, width)
    )
    for y in range(height):
        for x in range(width):
            inside = cv2.pointPolygonTest(hull, (x + 0.5, y + 0.5), True)
            if inside > 0:
                assert not frame.pixels[y, x].any(), (x, y, inside)
            if inside < -4:
                assert frame.pixels[y, x].all(), (x, y, inside)
