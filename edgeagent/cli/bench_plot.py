"""A measurement as a picture: how latencies are spread, and where the time goes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.demo.svg import Axis, Sheet, ticks
from edgeagent.errors import unwritable

if TYPE_CHECKING:
    from edgeagent.prove.bench.result import Figures, Result

_WIDTH, _LEFT, _RIGHT = 760.0, 56.0, 20.0
_CURVES_PX, _BAR_PX = 260.0, 22.0
_STYLE = """
text{font-family:system-ui,sans-serif;fill:#222}.muted{fill:#666}.axis{stroke:#888}
.grid{stroke:#ddd}.line{fill:none;stroke-width:2}.a{stroke:#1565c0;fill:#1565c0}
.b{stroke:#c62828;fill:#c62828}.line.a,.line.b{fill:none}.prepare{fill:#90caf9}
.infer{fill:#1565c0}.interpret{fill:#ffb74d}.ground{fill:#fff}
"""
_SHARES = (0.5, 0.9, 0.99, 0.999)
_STEPS = 400
_CLASSES = ("a", "b")


def write_plot(result: Result, file: Path) -> None:
    """Draw the first scenario that has latencies. Raises as `unwritable`."""
    try:
        file.write_text(draw(result), encoding="utf-8")
    except OSError as error:
        raise unwritable(file, error) from error


def draw(result: Result) -> str:
    """The picture as SVG: percentiles of latency above, median stages of a sample below."""
    scenario = next(
        (
            one.scenario
            for its in result.candidates
            for one in its.figures
            if len(one.latencies) > 1
        ),
        "single",
    )
    shown = [
        (its.title, figures)
        for its in result.candidates
        if (figures := its.of(scenario)) is not None and figures.latencies
    ]
    staged = [(title, one) for title, one in shown if sum(one.stages.values())]
    high = 40 + _CURVES_PX + 50 + len(staged) * (_BAR_PX + 34) + (20 if staged else 0)
    sheet = Sheet(_WIDTH, high, f"Latency, {scenario}", "bench")
    sheet.rect(0, 0, _WIDTH, high, "ground")
    _curves(sheet, scenario, shown)
    _stages(sheet, staged, 40 + _CURVES_PX + 60)
    return sheet.document(_STYLE)


def _curves(sheet: Sheet, scenario: str, shown: list[tuple[str, Figures]]) -> None:
    """Share of the queries that took at most so long. The share runs to 99.9 % evenly in nines,
    because what is rare is what matters; latency is logarithmic."""
    floor, top = 40 + _CURVES_PX, 40.0
    sheet.text(_LEFT, 20, f"{scenario}: share of the queries that take at most so long", "")
    values = [value for _, one in shown for value in one.latencies if value > 0]
    if not values:
        return
    x = Axis(math.log10(min(values)), math.log10(max(values)), _LEFT, _WIDTH - _RIGHT)
    y = Axis(0.0, 3.2, floor, top)
    _frame(sheet, x, y)
    for number, (title, one) in enumerate(shown):
        took = sorted(one.latencies)
        points = [
            (x(math.log10(max(took[at], 1e-6))), y(min(-math.log10(1 - at / len(took)), 3.2)))
            for at in _picked(len(took))
        ]
        style = _CLASSES[number % len(_CLASSES)]
        sheet.path(points, f"line {style}")
        sheet.rect(_LEFT + 12, top + 6 + 18 * number, 12, 3, style)
        sheet.text(_LEFT + 30, top + 12 + 18 * number, title)


def _picked(count: int) -> list[int]:
    """Evenly, and the slowest one by one: they are what the upper half of the picture shows."""
    last = count - 1
    even = {round(k * last / _STEPS) for k in range(_STEPS + 1)}
    return sorted(even | {last - k for k in range(min(_STEPS, count))})


def _frame(sheet: Sheet, x: Axis, y: Axis) -> None:
    floor = y.start
    for share in _SHARES:
        height = y(-math.log10(1 - share))
        sheet.line(_LEFT, height, _WIDTH - _RIGHT, height, "grid")
        sheet.text(_LEFT - 6, height + 4, f"{100 * share:g} %", "muted", "end")
    sheet.line(_LEFT, floor, _WIDTH - _RIGHT, floor, "axis")
    for latency in _marks(10.0**x.low, 10.0**x.high):
        at = x(math.log10(latency))
        sheet.line(at, floor, at, floor + 4, "axis")
        sheet.text(at, floor + 18, f"{latency:.4g} ms", "muted", "middle")


def _marks(low: float, high: float) -> list[float]:
    """Round latencies for a logarithmic axis: 1, 2 and 5 of each decade, or, where an axis is so
    short that hardly one of them lies on it, evenly spaced ones."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [digit * 10.0**exponent for exponent in decades for digit in (1, 2, 5)]
    found = [its for its in found if low <= its <= high]
    return found if len(found) > 2 else [its for its in ticks(low, high, 6) if its > 0]


def _stages(sheet: Sheet, shown: list[tuple[str, Figures]], top: float) -> None:
    longest = max((sum(one.stages.values()) for _, one in shown), default=0.0)
    x = Axis(0.0, longest, 0.0, _WIDTH - _LEFT - _RIGHT)
    for number, (title, one) in enumerate(shown):
        y = top + number * (_BAR_PX + 34)
        said = ", ".join(f"{name} {value:.3g} ms" for name, value in one.stages.items())
        sheet.text(_LEFT, y - 6, f"{title}: {said}", "muted")
        at = _LEFT
        for name, value in one.stages.items():
            sheet.rect(at, y, x(value), _BAR_PX, name, tip=f"{name} {value:.3g} ms")
            at += x(value)
