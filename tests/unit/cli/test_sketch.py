"""A picture in a terminal."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgeagent.cli import sketch
from edgeagent.errors import InputError


def jpeg(height: int = 240, width: int = 320) -> bytes:
    """Left black, right white, a red block in the lower right corner."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, width // 2 :] = 255
    pixels[height // 2 :, 3 * width // 4 :] = (0, 0, 255)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def test_ink_is_where_light_is() -> None:
    lines = [line.plain for line in sketch.lines(jpeg(), 40, blocks=False)]
    assert {len(line) for line in lines} == {40}
    assert len(lines) == 15, "as high as it is wide, at characters twice as high as wide"
    assert all(line[:18].isspace() and line[22:28] == "@" * 6 for line in lines)
    assert lines[-2][34] not in " @"


def test_half_blocks_have_both_colours() -> None:
    lines = sketch.lines(jpeg(), 40, blocks=True)
    assert {line.plain for line in lines} == {"▀" * 40}
    upper, lower = (lines[at].spans[36].style for at in (2, -2))
    assert upper.color.triplet.hex == "#ffffff" == upper.bgcolor.triplet.hex
    red, green, blue = lower.color.triplet
    assert red > 240 and green < 20 and blue < 20


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (1920, 1080), (96, 96), (40, 2000)])
def test_it_fits_the_terminal(height: int, width: int) -> None:
    lines = sketch.lines(jpeg(height, width), 80, blocks=True)
    assert 1 <= len(lines) <= 22
    assert all(len(line.plain) <= 80 for line in lines)


def test_half_a_picture_is_an_error() -> None:
    with pytest.raises(InputError, match="cut off"):
        sketch.lines(jpeg()[:-200], 80, blocks=True)
