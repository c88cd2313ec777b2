"""Where something stands: the zones that hold the middle of its box's lower edge.

A thing stands on the floor with its lower edge, so that point, not the box's centre, tells
which area of the picture it is in. Points on a polygon's edge count as inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeagent.config.model import Zone
    from edgeagent.types import Box

Point = tuple[float, float]


def foot(box: Box) -> Point:
    """Middle of the lower edge, kept inside the frame (a box may leave it by a little)."""
    x = (box[0] + box[2]) / 2
    return min(1.0, max(0.0, x)), min(1.0, max(0.0, box[3]))


def inside(point: Point, polygon: Sequence[Point]) -> bool:
    """Whether a polygon holds a point (even-odd rule, any shape, edges included)."""
    x, y = point
    odd = False
    ax, ay = polygon[-1]
    for bx, by in polygon:
        if _on_edge(x, y, ax, ay, bx, by):
            return True
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            odd = not odd
        ax, ay = bx, by
    return odd


def _on_edge(x: float, y: float, ax: float, ay: float, bx: float, by: float) -> bool:
    if not (min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by)):
        return False
    return abs((bx - ax) * (y - ay) - (by - ay) * (x - ax)) <= 1e-12


class Zones:
    """The named polygons of a pipeline."""

    def __init__(self, zones: Mapping[str, Zone]) -> None:
        self._polygons = [(name, tuple(zone.polygon)) for name, zone in zones.items()]
        self.names = tuple(zones)
        """In the order of the configuration."""

    def __len__(self) -> int:
        return len(self._polygons)

    def of(self, box: Box) -> tuple[str, ...]:
        """Names of the zones that a box stands in, in the order of the configuration."""
        if not self._polygons:
            return ()
        point = foot(box)
        return tuple(name for name, polygon in self._polygons if inside(point, polygon))
