"""Bars as SVG: one thing a line, ours beside the other's, and the limit as a stroke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeagent.demo.svg import Axis, Sheet, ticks

_WIDTH, _LEFT, _RIGHT, _TOP = 850.0, 360.0, 150.0, 54.0
_BAR, _GAP, _BELOW = 12.0, 12.0, 34.0
_STYLE = """
text{font-family:system-ui,sans-serif;fill:#222}.muted{fill:#666}.axis{stroke:#888}
.grid{stroke:#e4e4e4}.ground{fill:#fff}.s0{fill:#1565c0}.s1{fill:#b0bec5}.s2{fill:#ffb74d}
.limit{stroke:#c62828;stroke-width:2}
"""


@dataclass(frozen=True)
class Line:
    """What stands beside one name."""

    name: str
    values: Sequence[float]
    """One for each series."""
    told: str = ""
    """Written behind the bars."""
    limit: float | None = None

    @property
    def longest(self) -> float:
        return max(*self.values, self.limit or 0.0)


def bars(title: str, unit: str, series: Sequence[str], lines: Sequence[Line]) -> str:
    """An SVG file. Values are at least 0; what is below it is drawn as 0."""
    each = len(series) * _BAR + _GAP
    floor = _TOP + each * len(lines)
    sheet = Sheet(_WIDTH, floor + _BELOW, title, "results")
    most = max((its.longest for its in lines), default=0.0) or 1.0
    x = Axis(0.0, most, _LEFT, _WIDTH - _RIGHT)
    sheet.rect(0, 0, _WIDTH, floor + _BELOW, "ground")
    sheet.text(10, 20, title)
    at = 10.0
    for number, name in enumerate(series if len(series) > 1 else ()):
        sheet.rect(at, 32, 10, 10, f"s{number}")
        sheet.text(at + 15, 41, name, "muted")
        at += 40 + 7 * len(name)
    for value in ticks(0.0, most, 6):
        sheet.line(x(value), _TOP - 4, x(value), floor, "grid")
        sheet.text(x(value), floor + 18, f"{value:g} {unit}", "muted", "middle")
    for number, line in enumerate(lines):
        top = _TOP + each * number
        sheet.text(_LEFT - 8, top + each / 2 - 2, line.name, "", "end")
        for place, value in enumerate(line.values):
            tip = f"{line.name}: {series[place]} {value:g} {unit}"
            sheet.rect(_LEFT, top + _BAR * place, x(value) - _LEFT, _BAR - 1, f"s{place}", tip=tip)
        if line.limit is not None:
            high = top + _BAR * len(series)
            sheet.line(x(line.limit), top - 2, x(line.limit), high + 1, "limit")
        told = line.told or " / ".join(f"{value:g}" for value in line.values)
        sheet.text(x(line.longest) + 8, top + each / 2 - 2, told, "muted")
    sheet.line(_LEFT, _TOP - 4, _LEFT, floor, "axis")
    return sheet.render().replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1
    ).replace(">", f"><style>{_STYLE}</style>", 1)  # fmt: skip
