"""Outlines against the pixels that they go round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeagent.interpret.contour import _loops, area, outlines, simplified

masks = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def patches(mask: Any) -> list[set[tuple[int, int]]]:
    """Pixels that hang together by their sides, by flooding."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        todo, patch = [left.pop()], set()
        while todo:
            y, x = todo.pop()
            patch.add((y, x))
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in left:
                    left.remove(near)
                    todo.append(near)
        found.append(patch)
    return found


def inside(loop: Any, y: int, x: int) -> bool:
    """Whether the middle of a pixel lies inside (even-odd rule)."""
    px, py, odd = x + 0.5, y + 0.5, False
    for (ax, ay), (bx, by) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
        if (ay > py) != (by > py) and px < (bx - ax) * (py - ay) / (by - ay) + ax:
            odd = not odd
    return odd


@given(mask=masks)
@settings(deadline=None, max_examples=150)
def test_outer_and_inner_outlines_make_the_mask(mask: Any) -> None:
    loops = _loops(mask)
    assert sum(area(loop) for loop in loops) == mask.sum()
    outer = [loop for loop in loops if area(loop) > 0]
    assert len(outer) == len(patches(mask))
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            assert sum(inside(loop, y, x) for loop in loops) % 2 == mask[y, x]


@given(mask=masks)
@settings(deadline=None, max_examples=100)
def test_one_outline_a_patch_the_largest_first(mask: Any) -> None:
    told = outlines(mask, 1, 100)
    assert len(told) == len(patches(mask))
    for polygon in told:
        assert polygon.min() >= 0 and (polygon.max(axis=0) <= mask.shape[::-1]).all()
        assert len(polygon) >= 3
    most = max(map(len, patches(mask)), default=0)
    assert len(outlines(mask, most + 200, 100)) == 0  # larger than any, holes included
    few = outlines(mask, 1, 2)
    assert len(few) == min(2, len(told))
    assert [p.tolist() for p in few[:1]] == [p.tolist() for p in told[:1]]
    if len(told) > 2:  # the rest lies in the last one
        rest = np.concatenate(told[1:])
        low, high = few[1].min(axis=0), few[1].max(axis=0)
        assert (low <= rest.min(axis=0)).all() and (high >= rest.max(axis=0)).all()


def test_squares_that_touch_at_a_corner_are_two() -> None:
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = mask[2:, 2:] = True
    one, other = outlines(mask, 1, 9)
    for polygon in (one, other):
        assert len(polygon) == 4 and area(polygon) == 4


def test_small_patches_and_holes_are_not_told() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:25, 10:40] = True
    mask[10:15, 20:30] = False
    mask[30, 50] = True
    (polygon,) = outlines(mask, 2, 9)
    assert polygon.tolist() == [[10, 5], [40, 5], [40, 25], [10, 25]]


def disc(size: int, radius: float) -> Any:
    y, x = np.mgrid[0:size, 0:size] + 0.5
    return (x - size / 2) ** 2 + (y - size / 2) ** 2 < radius**2


@pytest.mark.parametrize("size", [64, 300, 513, 2000])
def test_a_disc_has_few_corners_and_its_area(size: int) -> None:
    (polygon,) = outlines(disc(size, size / 3), 1, 9)
    assert len(polygon) <= 40
    assert area(polygon) == pytest.approx(np.pi * (size / 3) ** 2, rel=0.05)
    assert np.abs(np.hypot(*(polygon - size / 2).T) - size / 3).max() < size / 60


def test_corners_that_are_left_out_lie_near() -> None:
    rng = np.random.default_rng(3)
    walk = np.cumsum(rng.normal(0, 1, (400, 2)), axis=0)
    few = simplified(walk, 2.0)
    assert 3 <= len(few) <= 64
    line = simplified(np.array([[0, 0], [5, 0.1], [10, 0], [10, 10], [0, 10]], float), 0.5)
    assert line.tolist() == [[0, 0], [10, 0], [10, 10], [0, 10]]


def test_noise_ends_soon() -> None:
    mask = np.random.default_rng(1).random((1024, 1024)) > 0.5
    assert len(outlines(mask, 20, 20)) <= 20
    assert outlines(np.zeros((5, 5), bool), 1, 5) == []
    assert outlines(np.ones((5, 7), bool), 1, 5)[0].tolist() == [[0, 0], [7, 0], [7, 5], [0, 5]]
