"""Which zones a box stands in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.config.model import Zone
from edgeagent.decide.zones import Zones, foot, inside

SQUARE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
L_SHAPE = [(0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.5, 0.5), (0.5, 1.0), (0.0, 1.0)]
BOW = [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)]

sixteenth = st.integers(-4, 20).map(lambda value: value / 16)


@pytest.mark.parametrize(
    ("point", "polygon", "within"),
    [
        ((0.5, 0.5), SQUARE, True),
        ((0.0, 0.0), SQUARE, True),  # a corner
        ((1.0, 0.3), SQUARE, True),  # an edge
        ((1.0001, 0.3), SQUARE, False),
        ((0.75, 0.75), L_SHAPE, False),  # the notch
        ((0.25, 0.75), L_SHAPE, True),
        ((0.75, 0.5), L_SHAPE, True),  # the notch's edge
        ((0.9, 0.5), BOW, True),  # right wing
        ((0.5, 0.1), BOW, False),  # above the knot
        ((0.5, 0.5), BOW, True),  # the knot itself
    ],
)
def test_inside(point: Any, polygon: Any, within: bool) -> None:
    assert inside(point, polygon) is within
    assert inside(point, polygon[::-1]) is within
    assert inside(point, polygon[2:] + polygon[:2]) is within


@given(x=sixteenth, y=sixteenth, x1=sixteenth, y1=sixteenth, x2=sixteenth, y2=sixteenth)
def test_rectangles_are_the_obvious(
    x: float, y: float, x1: float, y1: float, x2: float, y2: float
) -> None:
    polygon = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    want = min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2)
    assert inside((x, y), polygon) is want


def test_a_box_stands_on_its_lower_edge() -> None:
    zones = Zones(
        {
            "lower": Zone([(0, 0.5), (1, 0.5), (1, 1), (0, 1)]),
            "left": Zone([(0, 0), (0.5, 0), (0.5, 1), (0, 1)]),
        }
    )
    assert zones.of((0.1, 0.1, 0.3, 0.6)) == ("lower", "left")  # its centre is in neither half
    assert zones.of((0.6, 0.1, 0.8, 0.4)) == ()
    assert zones.of((0.6, 0.9, 0.8, 1.2)) == ("lower",)  # reaches out below the frame
    assert Zones({}).of((0, 0, 1, 1)) == ()


def test_foot_stays_in_the_frame() -> None:
    assert foot((0.2, 0.2, 0.4, 0.8)) == pytest.approx((0.3, 0.8))
    assert foot((-0.4, 0.2, 0.2, 1.3)) == (0.0, 1.0)
