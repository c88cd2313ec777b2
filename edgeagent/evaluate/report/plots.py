"""Small plots as SVG; colours come from the page, so that they fit light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_SIDE, _LEFT, _BOTTOM, _TOP = 300, 44, 36, 10
_SPAN = _SIDE - _LEFT - _TOP


def _x(share: float) -> float:
    return round(_LEFT + share * _SPAN, 1)


def _y(share: float) -> float:
    return round(_TOP + (1 - share) * _SPAN, 1)


def unit_square(
    title: str,
    across: str,
    upright: str,
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    diagonal: bool = False,
    bars: Sequence[tuple[float, float, float]] = (),
) -> str:
    """A plot from 0 to 1 both ways.

    Args:
        lines: name and points; drawn in this order.
        diagonal: a dashed line where both are equal.
        bars: left, right, height.
    """
    parts = [_frame(title, across, upright)]
    for low, high, height in bars:
        parts.append(
            f'<rect class="bar" x="{_x(low)}" y="{_y(height)}" '
            f'width="{round((high - low) * _SPAN - 1, 1)}" '
            f'height="{round(height * _SPAN, 1)}"/>'
        )
    if diagonal:
        parts.append(f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>')
    for number, (name, points) in enumerate(lines):
        path = " ".join(f"{_x(across_)},{_y(up)}" for across_, up in points)
        parts.append(f'<polyline class="line l{number % 6}" points="{path}"/>')
        if len(lines) > 1:
            parts.append(
                f'<text class="l{number % 6} key" x="{_x(0.04)}" y="{_y(0.06) - 13 * number}">'
                f"{escape(name)}</text>"
            )
    return f"{''.join(parts)}</svg>"


def scatter(title: str, across: str, upright: str, points: Sequence[tuple[float, float]]) -> str:
    """Said over true; equal scales, the dashed line is where they agree."""
    low = min(min(pair) for pair in points)
    high = max(max(pair) for pair in points)
    span = (high - low) or 1.0
    parts = [_frame(title, across, upright, low, high)]
    parts.append(f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>')
    for true, said in points:
        parts.append(
            f'<circle class="dot" cx="{_x((true - low) / span)}" cy="{_y((said - low) / span)}" '
            'r="2.5"/>'
        )
    return f"{''.join(parts)}</svg>"


def boxes(truth: Sequence[dict[str, Any]], said: Sequence[dict[str, Any]]) -> str:
    """Over a picture: what is there (dashed) and what was said (solid), each with its name."""
    parts = ['<svg class="over" viewBox="0 0 100 100" preserveAspectRatio="none">']
    names = []
    for kind, found in (("truth", truth), ("said", said)):
        for its in found:
            x1, y1, x2, y2 = (100 * min(1.0, max(0.0, edge)) for edge in its["box"])
            name = escape(its["label"]) + (f" {its['score']:.2f}" if "score" in its else "")
            parts.append(
                f'<rect class="{kind}" x="{x1:.2f}" y="{y1:.2f}" width="{x2 - x1:.2f}" '
                f'height="{y2 - y1:.2f}"/>'
            )
            # What is there is named below its box, what was said above: both can be read.
            place = f"top:{y2:.1f}%" if kind == "truth" else f"bottom:{100 - y1:.1f}%"
            names.append(f'<span class="{kind}" style="left:{x1:.1f}%;{place}">{name}</span>')
    return f"{''.join(parts)}</svg>{''.join(names)}"


def _frame(title: str, across: str, upright: str, low: float = 0.0, high: float = 1.0) -> str:
    bottom, middle = _SIDE - _BOTTOM + 26, _LEFT + _SPAN / 2
    parts = [
        f'<svg class="plot" viewBox="0 0 {_SIDE} {_SIDE}" role="img" '
        f'aria-label="{escape(title)}">'
        f'<rect class="area" x="{_LEFT}" y="{_TOP}" width="{_SPAN}" height="{_SPAN}"/>'
        f'<text class="axis" x="{middle}" y="{bottom + 4}">{escape(across)}</text>'
        f'<text class="axis" transform="translate(12 {_TOP + _SPAN / 2}) rotate(-90)">'
        f"{escape(upright)}</text>"
    ]
    for tick in (0.0, 0.5, 1.0):
        value = f"{low + tick * (high - low):.3g}"
        parts.append(
            f'<text class="tick" x="{_x(tick)}" y="{_y(0) + 14}">{value}</text>'
            f'<text class="tick end" x="{_LEFT - 5}" y="{_y(tick) + 4}">{value}</text>'
        )
    return "".join(parts)
