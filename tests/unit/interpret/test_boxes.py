"""Overlap and suppression against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.interpret.boxes import corners, iou, nms

# Multiples of 1/16 are exact in binary, so equal overlaps are equal in both computations.
grid = st.integers(-4, 20).map(lambda value: value / 16)
box = st.tuples(grid, grid, grid, grid)
one = st.tuples(box, st.integers(0, 8), st.integers(0, 2))
# Few are compared in plain Python, many in NumPy.
candidates = st.lists(one, max_size=32) | st.lists(one, min_size=33, max_size=45)


def plain_iou(a: Any, b: Any) -> float:
    def area(c: Any) -> float:
        return max(0.0, c[2] - c[0]) * max(0.0, c[3] - c[1])

    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    union = area(a) + area(b) - shared
    return shared / union if union > 0 else 0.0


def plain_nms(boxes: Any, scores: Any, classes: Any, limit: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda k: (-scores[k], k)):
        if all(
            classes[index] != classes[other] or plain_iou(boxes[index], boxes[other]) <= limit
            for other in kept
        ):
            kept.append(index)
    return kept


@given(one=box, many=st.lists(box, min_size=1, max_size=10))
def test_iou_against_a_loop(one: Any, many: Any) -> None:
    have = iou(np.array(one), np.array(many))
    assert have == pytest.approx([plain_iou(one, other) for other in many])
    assert ((have >= 0) & (have <= 1)).all()


@given(found=candidates, limit=st.sampled_from([0.0, 0.3, 0.45, 0.5, 1.0]), by_class=st.booleans())
@settings(max_examples=120, deadline=None)
def test_nms_against_a_loop(found: Any, limit: float, by_class: bool) -> None:
    boxes = np.array([each[0] for each in found], np.float64).reshape(-1, 4)
    scores = np.array([each[1] / 8 for each in found])
    classes = np.array([each[2] for each in found], np.int64)
    kept = nms(boxes, scores, limit, classes=classes if by_class else None)
    want = plain_nms(boxes, scores, classes if by_class else classes * 0, limit)
    assert kept == want


def test_nms_stops_at_most() -> None:
    boxes = np.array([[k, 0, k + 0.5, 1] for k in range(10)], np.float32)
    assert nms(boxes, np.linspace(1, 0, 10), 0.5, most=3) == [0, 1, 2]


@given(box=box)
def test_corners(box: Any) -> None:
    x1, y1, x2, y2 = box
    centre = np.array([[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]])
    assert corners(centre, "cxcywh") == pytest.approx(np.array([box]))
    assert corners(np.array([[y1, x1, y2, x2]]), "yxyx") == pytest.approx(np.array([box]))
    assert corners(np.array([box]), "xyxy") == pytest.approx(np.array([box]))
