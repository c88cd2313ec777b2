"""Resampling against the filter that it stands for."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.prepare.resample import area, linear

RNG = np.random.default_rng(11)


def triangle(pixels: Any, width: int, height: int) -> Any:
    """Pillow's BILINEAR, written out: a triangle as wide as two pixels of the result."""

    def weights(length: int, size: int) -> Any:
        step = length / size
        reach = max(step, 1.0)
        matrix = np.zeros((size, length))
        for row in range(size):
            centre = (row + 0.5) * step
            for column in range(length):
                matrix[row, column] = max(0.0, 1 - abs(column + 0.5 - centre) / reach)
            matrix[row] /= matrix[row].sum()
        return matrix

    across, down = weights(pixels.shape[1], width), weights(pixels.shape[0], height)
    return np.einsum("rh,hwc,kw->rkc", down, pixels.astype(float), across)


def grain(width: int, height: int) -> Any:
    """Fine noise on a slope: aliasing shows in it."""
    slope = np.linspace(40, 200, width)[None, :, None] + np.zeros((height, 1, 3))
    return np.clip(slope + RNG.normal(0, 30, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "result"),
    [
        ((200, 150), (60, 60)),
        ((320, 240), (60, 45)),
        ((100, 90), (60, 60)),
        ((75, 70), (60, 60)),
        ((300, 50), (60, 60)),
        ((50, 300), (60, 60)),
        ((120, 120), (60, 60)),
    ],
)
def test_area_is_nearly_the_triangle(size: tuple[int, int], result: tuple[int, int]) -> None:
    pixels = grain(*size)
    small = np.zeros((result[1], result[0], 3), np.uint8)
    area(pixels, small)
    want = triangle(pixels, *result)
    error = np.abs(small - want).mean()
    plain = np.zeros_like(small)
    linear(pixels, plain)
    assert error < 2.5
    assert error < 0.6 * np.abs(plain - want).mean()
    assert abs((small - want).mean()) < 0.6  # no brighter, no darker


@pytest.mark.parametrize("size", [(10, 20), (60, 60), (61, 60), (500, 7), (1, 1), (1, 900)])
def test_a_plain_colour_stays_what_it_is(size: tuple[int, int]) -> None:
    pixels = np.full((size[1], size[0], 3), (7, 130, 251), np.uint8)
    small = np.zeros((60, 60, 3), np.uint8)
    area(pixels, small)
    assert (small == (7, 130, 251)).all()


def test_enlarging_is_linear() -> None:
    pixels = grain(20, 30)
    one, two = np.zeros((60, 60, 3), np.uint8), np.zeros((60, 60, 3), np.uint8)
    area(pixels, one)
    linear(pixels, two)
    assert np.array_equal(one, two)


def test_grey_and_a_part_of_a_larger_array() -> None:
    pixels = grain(200, 150)[..., 0]
    canvas = np.zeros((100, 100), np.uint8)
    area(pixels, canvas[20:80, 10:70])
    own = np.zeros((60, 60), np.uint8)
    area(pixels.copy(), own)
    assert np.array_equal(canvas[20:80, 10:70], own)
    assert canvas[:20].max() == 0 and canvas[:, 70:].max() == 0


def test_a_fine_pattern_does_not_alias() -> None:
    """Stripes finer than the result become grey in area, and a false pattern in linear."""
    stripes = np.tile(np.array([0, 255], np.uint8), 250)[None, :, None].repeat(400, 0).repeat(3, 2)
    averaged, sampled = np.zeros((60, 71, 3), np.uint8), np.zeros((60, 71, 3), np.uint8)
    area(stripes, averaged)
    cv2.resize(stripes, (71, 60), dst=sampled)
    assert averaged.std() < 8 < sampled.std()
    assert math.isclose(averaged.mean(), 127.5, abs_tol=2)
