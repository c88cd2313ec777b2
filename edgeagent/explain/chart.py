"""A recording with what an answer depends on, as one picture: a strip for each channel, its values
as a line, and behind them how much each stretch matters."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.explain.windows import Attributed
    from edgeagent.types import Window

_WIDTH, _STRIP, _GAP, _LEFT, _TOP = 900, 90, 12, 110, 44
_POINTS = 900
_FOR, _AGAINST = "#c0392b", "#2471a3"


def chart(window: Window, found: Attributed) -> str:
    """An SVG document."""
    most = float(np.abs(found.lost).max()) or 1.0
    shares = found.by_channel()
    rows = [
        _strip(place, name, shares[name], window.values[:, place], found.lost[place] / most)
        for place, name in enumerate(found.channels)
    ]
    height = _TOP + len(rows) * (_STRIP + _GAP) + 30
    said = escape(f"{found.target.label} {found.target.score:.4g}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 20} {height}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{_LEFT}" y="18" font-size="15">{said}</text>'
        f'<text x="{_LEFT}" y="36" fill="#555">red: without it there is less of the answer; '
        "blue: more</text>"
        f"{''.join(rows)}{_axis(found.span_s, height)}</svg>\n"
    )


def _strip(
    place: int, name: str, share: float, values: NDArray[np.float32], lost: NDArray[np.float64]
) -> str:
    top = _TOP + place * (_STRIP + _GAP)
    wide = _WIDTH / len(lost)
    cells = "".join(
        f'<rect x="{_LEFT + at * wide:.2f}" y="{top}" width="{wide:.2f}" height="{_STRIP}" '
        f'fill="{_FOR if its > 0 else _AGAINST}" fill-opacity="{abs(its) * 0.8:.3f}"/>'
        for at, its in enumerate(lost.tolist())
        if abs(its) > 0.01
    )
    return (
        f'{cells}<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_STRIP}" fill="none" '
        f'stroke="#bbb"/><polyline fill="none" stroke="#222" points="{_line(values, top)}"/>'
        f'<text x="{_LEFT - 8}" y="{top + _STRIP / 2 - 4}" text-anchor="end">{escape(name)}</text>'
        f'<text x="{_LEFT - 8}" y="{top + _STRIP / 2 + 13}" text-anchor="end" fill="#555">'
        f"{share:.0%}</text>"
    )


def _line(values: NDArray[np.float32], top: float) -> str:
    """The values from the least to the greatest; of long ones every n-th."""
    step = max(1, len(values) // _POINTS)
    shown = values[::step].astype(float)
    low, high = float(shown.min()), float(shown.max())
    scaled = (shown - low) / ((high - low) or 1.0)
    ys = top + 4 + (1 - scaled) * (_STRIP - 8)
    xs = _LEFT + (np.arange(len(shown)) * step + 0.5) / len(values) * _WIDTH
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _axis(span_s: float, height: int) -> str:
    return "".join(
        f'<text x="{_LEFT + share * _WIDTH:.0f}" y="{height - 12}" text-anchor="{anchor}" '
        f'fill="#555">{share * span_s:.3g} s</text>'
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
