"""A sheet to draw on: just enough SVG for the plots of the page. Colours are CSS classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

FONT_PX = 12
_CHARACTER_PX = 6.6


class Sheet:
    """Collects shapes; `render` gives an accessible ``<svg>`` of a fixed size in pixels."""

    def __init__(self, width: float, height: float, title: str, variant: str) -> None:
        self.width = width
        self.height = height
        self._title = title
        self._variant = variant
        self._shapes: list[str] = []

    def rect(
        self, x: float, y: float, width: float, height: float, style: str, *,
        tip: str = "", radius: float = 0.0,
    ) -> None:  # fmt: skip
        """``tip`` shows when the pointer rests on it."""
        round_ = f' rx="{radius:g}"' if radius else ""
        frame = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.0):.1f}" height="{height:.1f}"'
        self._add(f'<rect class="{style}" {frame}{round_}', tip, "rect")

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        self._shapes.append(
            f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )

    def dot(self, x: float, y: float, radius: float, style: str, *, tip: str = "") -> None:
        self._add(
            f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"', tip, "circle"
        )

    def path(self, points: Sequence[tuple[float, float]], style: str, *, floor: float = -1) -> None:
        """A line through the points, or with ``floor`` the area down to that height."""
        if not points:
            return
        steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        if floor >= 0:
            steps += f"L{points[-1][0]:.1f} {floor:.1f}L{points[0][0]:.1f} {floor:.1f}Z"
        self._shapes.append(f'<path class="{style}" d="M{steps}"/>')

    def text(
        self, x: float, y: float, content: str, style: str = "", anchor: str = "start"
    ) -> None:
        """Kept inside the sheet: a text that would leave it is moved in."""
        wide = len(content) * _CHARACTER_PX
        left = {"start": x, "middle": x - wide / 2, "end": x - wide}[anchor]
        shift = max(0.0, -left) - max(0.0, left + wide - self.width)
        self._shapes.append(
            f'<text class="{style}" x="{x + shift:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f"{escape(content)}</text>"
        )

    def _add(self, opening: str, tip: str, tag: str) -> None:
        ending = f"><title>{escape(tip)}</title></{tag}>" if tip else "/>"
        self._shapes.append(opening + ending)

    def render(self) -> str:
        size = f'width="{self.width:g}" height="{self.height:g}"'
        view = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        return (
            f'<svg class="{self._variant}" role="img" aria-label="{escape(self._title)}" '
            f'{size} {view} font-size="{FONT_PX}">{"".join(self._shapes)}</svg>'
        )

    def document(self, style: str) -> str:
        """The same as a file of its own, with its style sheet."""
        return self.render().replace(
            "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1
        ).replace(">", f"><style>{style}</style>", 1)  # fmt: skip


class Axis:
    """Seconds (or any number) to pixels, linear."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, max(high, low + 1e-9)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def nice_step(span: float, at_most: int) -> float:
    """A round distance (1, 2, 5 × 10ⁿ) that gives at most so many marks over a span."""
    step = 1e-6
    while True:
        for factor in (1, 2, 5):
            if span / (step * factor) <= at_most:
                return step * factor
        step *= 10


def ticks(low: float, high: float, at_most: int) -> Iterable[float]:
    """Round values from low to high."""
    step = nice_step(high - low, at_most)
    first = int(-(-low // step))
    return [n * step for n in range(first, int(high // step) + 1)]
