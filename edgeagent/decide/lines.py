"""Lines that count what crosses them, each thing once a crossing, by direction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from edgeagent.decide.zones import foot

if TYPE_CHECKING:
    from edgeagent.config.model import Line
    from edgeagent.types import Box

Way = Literal["in", "out"]
Point = tuple[float, float]

_NEAR = 0.1
"""A thing is on neither side while it is nearer to the line than this part of its height …"""
_NEAREST, _FARTHEST = 0.003, 0.02
"""… but at least and at most this part of the picture: a box that trembles on the line has
not crossed it ten times."""


class Side(Struct):
    """Where a thing was last clearly on one side of a line."""

    right: bool
    point: Point


class Lines:
    """The named lines of a pipeline, and how often they were crossed since it began."""

    def __init__(self, lines: Mapping[str, Line]) -> None:
        self._lines = [_Drawn(name, line) for name, line in lines.items()]
        self.crossed: Counter[str] = Counter()
        """By ``gate`` and by ``gate:in``, ``gate:out``."""

    def __len__(self) -> int:
        return len(self._lines)

    def follow(self, sides: dict[str, Side], box: Box) -> Iterator[tuple[str, Way]]:
        """Lines that a thing has just crossed. ``sides`` is what is remembered of it."""
        for line in self._lines:
            way = line.crossed_by(sides, box)
            if way is not None:
                yield line.name, way

    def count(self, name: str, way: Way) -> None:
        """Add a crossing."""
        self.crossed[name] += 1
        self.crossed[f"{name}:{way}"] += 1

    def table(self) -> dict[str, dict[str, int]]:
        """``{line: {"in": n, "out": n}}`` of all lines."""
        return {
            line.name: {way: self.crossed[f"{line.name}:{way}"] for way in ("in", "out")}
            for line in self._lines
        }


class _Drawn:
    def __init__(self, name: str, line: Line) -> None:
        self.name = name
        (self._ax, self._ay), (bx, by) = line.points
        self._dx, self._dy = bx - self._ax, by - self._ay
        self._length = (self._dx**2 + self._dy**2) ** 0.5 or 1e-9
        self._foot = line.anchor == "foot"

    def crossed_by(self, sides: dict[str, Side], box: Box) -> Way | None:
        """The way in which a thing has crossed since it was last clearly beside the line."""
        point = foot(box) if self._foot else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        off = self._off(point)
        if abs(off) < min(max(_NEAR * (box[3] - box[1]), _NEAREST), _FARTHEST):
            return None
        before = sides.get(self.name)
        sides[self.name] = Side(off > 0, point)
        if before is None or before.right == (off > 0) or not self._between(before.point, point):
            return None
        # The picture's y points down, so what lies to the right has the positive sign.
        return "in" if off > 0 else "out"

    def _off(self, point: Point) -> float:
        """Distance from the line that the two points make, positive to the right of it."""
        x, y = point[0] - self._ax, point[1] - self._ay
        return (self._dx * y - self._dy * x) / self._length

    def _between(self, one: Point, other: Point) -> bool:
        """Whether the way from one side to the other leads between the line's end points."""
        first, second = self._off(one), self._off(other)
        part = first / (first - second)
        x = one[0] + part * (other[0] - one[0]) - self._ax
        y = one[1] + part * (other[1] - one[1]) - self._ay
        return 0.0 <= (x * self._dx + y * self._dy) / self._length**2 <= 1.0
