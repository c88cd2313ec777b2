"""The plots of the page, drawn by hand. Each comes twice, for wide pages and for phones; the
style sheet shows the one that fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from edgeagent.demo.svg import Axis, Sheet, ticks

WIDE_PX, NARROW_PX = 1000.0, 342.0
_GUTTER = 92.0
"""Room for the names of lanes on wide pages; on phones they stand above."""
_BOTTOM = 26.0
_LANE_PX = 18.0
_LETTER_PX = 7.5
"""A little more than a letter of a mark is wide."""

Span = tuple[float, float]
"""From, to in seconds since the start."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that lasted."""

    span: Span
    style: str
    tip: str


@dataclass(slots=True)
class Lane:
    """One row of the timeline."""

    name: str
    bars: list[Bar] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mark:
    """An instant worth a line through all lanes."""

    at_s: float
    text: str
    style: str = "mark"


@dataclass(slots=True)
class Series:
    """Scores of one label over time."""

    name: str
    points: list[tuple[float, float]]
    style: str


def both(draw: Callable[[float, str], str]) -> str:
    """The wide and the narrow form of a plot."""
    return draw(WIDE_PX, "wide") + draw(NARROW_PX, "narrow")


def timeline(
    lanes: Sequence[Lane], outages: Sequence[Span], marks: Sequence[Mark],
    backlog: Sequence[tuple[float, float]], span_s: float,
) -> str:  # fmt: skip
    """Lanes of bars, marks through all of them, and below what waited on disk."""

    def draw(width: float, variant: str) -> str:
        narrow = variant == "narrow"
        x = Axis(0.0, span_s, 4.0 if narrow else _GUTTER, width - 10.0)
        texts = texts_of(marks, x, width)
        row, top = 38.0 if narrow else 32.0, 30.0 + 16.0 * max((its[1] for its in texts), default=0)
        floor = top + row * len(lanes) + 84.0
        sheet = Sheet(width, floor + _BOTTOM, "What happened when", variant)
        for start, end in outages:
            sheet.rect(x(start), top - 6, x(end) - x(start), floor - top + 6, "outage")
        for index, lane in enumerate(lanes):
            _lane(sheet, lane, top + row * index, x, narrow)
        _backlog(sheet, backlog, x, floor, narrow)
        for mark, line, middle in texts:
            y = 12.0 + 16.0 * line
            sheet.line(x(mark.at_s), y + 6, x(mark.at_s), floor, mark.style)
            sheet.text(middle, y, mark.text, f"{mark.style}-text", "middle")
        _seconds(sheet, x, floor, 4 if narrow else 8)
        return sheet.render()

    return both(draw)


def texts_of(marks: Sequence[Mark], x: Axis, width: float) -> list[tuple[Mark, int, float]]:
    """Mark, line of its text, middle of its text. A text that would run into its neighbour goes
    down to the next line with room; one at the edge is moved inside."""
    texts: list[tuple[Mark, int, float]] = []
    ends: list[float] = []
    for mark in sorted(marks, key=lambda its: its.at_s):
        half = len(mark.text) * _LETTER_PX / 2
        middle = min(max(x(mark.at_s), half), width - half)
        free = [line for line, end in enumerate(ends) if end <= middle - half]
        line = free[0] if free else len(ends)
        ends[line : line + 1] = [middle + half]
        texts.append((mark, line, middle))
    return texts


def _lane(sheet: Sheet, lane: Lane, y: float, x: Axis, narrow: bool) -> None:
    if narrow:
        sheet.text(4.0, y + 9.0, lane.name, "lane-text")
        y += 14.0
    else:
        sheet.text(_GUTTER - 12, y + 17.0, lane.name, "lane-text", "end")
        y += 4.0
    sheet.rect(x.start, y, x.end - x.start, _LANE_PX, "track", radius=4)
    rows = rows_of(lane.bars)
    high = _LANE_PX / max(len(rows), 1)
    for index, row in enumerate(rows):
        for bar in row:
            start, end = x(bar.span[0]), x(bar.span[1])
            top, wide = y + index * high, max(end - start - 1.0, 3.0)
            sheet.rect(start, top, wide, high - (len(rows) > 1), bar.style, tip=bar.tip, radius=2)


def rows_of(bars: Sequence[Bar]) -> list[list[Bar]]:
    """Bars that overlap, in different rows; as few rows as are needed."""
    rows: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda its: its.span):
        for row in rows:
            if row[-1].span[1] <= bar.span[0]:
                row.append(bar)
                break
        else:
            rows.append([bar])
    return rows


def _backlog(
    sheet: Sheet, backlog: Sequence[tuple[float, float]], x: Axis, floor: float, narrow: bool
) -> None:
    highest = max((count for _, count in backlog), default=0.0)
    y = Axis(0.0, max(highest, 1.0), floor - 2, floor - 56)
    if narrow:
        sheet.text(4.0, floor - 76, "waiting on disk", "lane-text")
    else:
        sheet.text(_GUTTER - 12, floor - 24, "waiting", "lane-text", "end")
        sheet.text(_GUTTER - 12, floor - 10, "on disk", "lane-text", "end")
    points = [(x(at), y(count)) for at, count in backlog]
    sheet.path(points, "area", floor=floor)
    sheet.path(points, "area-line")
    if highest:
        at, count = max(backlog, key=lambda point: point[1])
        sheet.text(x(at), y(count) - 5, f"{count:,.0f} records", "value-text", "middle")


def _seconds(sheet: Sheet, x: Axis, floor: float, at_most: int) -> None:
    sheet.line(x.start, floor, x.end, floor, "axis")
    for second in ticks(x.low, x.high, at_most):
        sheet.line(x(second), floor, x(second), floor + 4, "axis")
        sheet.text(x(second), floor + 18, f"{second:g} s", "tick-text", "middle")


def scores(
    title: str, series: Sequence[Series], threshold: float, outages: Sequence[Span],
    span_s: float, *, dots: bool,
) -> str:  # fmt: skip
    """Scores over time with the threshold; dots for single findings, else lines."""

    def draw(width: float, variant: str) -> str:
        sheet = Sheet(width, 150.0 + _BOTTOM, title, variant)
        top, floor = 14.0, 150.0
        x = Axis(0.0, span_s, 40.0, width - 10.0)
        y, marks = _upright(series, threshold, floor, top, dots)
        for start, end in outages:
            sheet.rect(x(start), top, x(end) - x(start), floor - top, "outage")
        for value in marks:
            sheet.line(x.start, y(value), x.end, y(value), "grid")
            sheet.text(x.start - 6, y(value) + 4, f"{value:g}", "tick-text", "end")
        for line in series:
            points = [(x(at), y(value)) for at, value in line.points]
            if dots:
                for at, value in points:
                    sheet.dot(at, value, 2.4, f"dot {line.style}")
            else:
                _strokes(sheet, line, x, y)
        sheet.line(x.start, y(threshold), x.end, y(threshold), "threshold")
        sheet.text(x.end, y(threshold) - 5, f"threshold {threshold:.3g}", "threshold-text", "end")
        _seconds(sheet, x, floor, 4 if variant == "narrow" else 8)
        return sheet.render()

    return both(draw)


def _upright(
    series: Sequence[Series], threshold: float, floor: float, top: float, dots: bool
) -> tuple[Callable[[float], float], Iterable[float]]:
    """The axis of scores and its marks; logarithmic where they grow far over the threshold."""
    values = [value for line in series for _, value in line.points]
    high = max([*values, threshold * 1.25, 1e-6])
    if dots or high < 8 * threshold:
        linear = Axis(0.0, 1.0 if high <= 1.0 and dots else high * 1.05, floor, top)
        return linear, ticks(linear.low, linear.high, 4)
    low = max(min([*values, threshold / 4]), high / 1e4)
    powers = Axis(math.log10(low), math.log10(high * 1.3), floor, top)
    marks = [
        step * 10.0**power
        for power in range(math.floor(powers.low), math.ceil(powers.high) + 1)
        for step in (1, 3)
    ]
    fitting = [mark for mark in marks if powers.low <= math.log10(mark) <= powers.high]
    return lambda value: powers(math.log10(max(value, low))), fitting


def _strokes(
    sheet: Sheet, line: Series, x: Axis, y: Callable[[float], float], gap_s: float = 2.0
) -> None:
    """A line that is broken where nothing was measured."""
    stroke: list[tuple[float, float]] = []
    before = -math.inf
    for at, value in line.points:
        if at - before > gap_s:
            sheet.path(stroke, f"stroke {line.style}")
            stroke = []
        stroke.append((x(at), y(value)))
        before = at
    sheet.path(stroke, f"stroke {line.style}")


_PER_DECADE = 8
_FIRST_S, _DECADES = 0.01, 4
"""The histogram reaches from 10 ms to 100 s, on a logarithmic scale."""


def delays(live: Sequence[float], kept: Sequence[float]) -> str:
    """How long records took from capture to the reader: sent at once, and kept on disk."""

    def draw(width: float, variant: str) -> str:
        sheet = Sheet(width, 170.0 + _BOTTOM, "Time from capture to the reader", variant)
        top, floor = 20.0, 170.0
        counts = [_count(live), _count(kept)]
        highest = max(a + b for a, b in zip(*counts, strict=True)) or 1
        x = Axis(0.0, float(_PER_DECADE * _DECADES), 40.0, width - 10.0)
        y = Axis(0.0, highest * 1.08, floor, top)
        for value in ticks(0.0, y.high, 4):
            sheet.line(x.start, y(value), x.end, y(value), "grid")
            sheet.text(x.start - 6, y(value) + 4, f"{value:g}", "tick-text", "end")
        for slot, (at_once, later) in enumerate(zip(*counts, strict=True)):
            left, wide = x(slot) + 1, x(slot + 1) - x(slot) - 2
            edges = f"{_time_text(_edge(slot))} to {_time_text(_edge(slot + 1))}: "
            parts = ((0, at_once, "bar live", "sent at once"),
                     (at_once, later, "bar kept", "kept on disk first"))  # fmt: skip
            for below, count, style, said in parts:
                high = y(below) - y(below + count)
                if count:
                    tip = f"{edges}{count:,} {said}"
                    sheet.rect(left, y(below + count), wide, high, style, tip=tip)
        sheet.line(x.start, floor, x.end, floor, "axis")
        for slot in range(0, _PER_DECADE * _DECADES + 1, _PER_DECADE):
            sheet.line(x(slot), floor, x(slot), floor + 4, "axis")
            sheet.text(x(slot), floor + 18, _time_text(_edge(slot)), "tick-text", "middle")
        return sheet.render()

    return both(draw)


def _edge(slot: int) -> float:
    return float(_FIRST_S * 10 ** (slot / _PER_DECADE))


def _count(values: Sequence[float]) -> list[int]:
    counts = [0] * (_PER_DECADE * _DECADES)
    for value in values:
        slot = math.floor(_PER_DECADE * math.log10(max(value, 1e-6) / _FIRST_S))
        counts[min(max(slot, 0), len(counts) - 1)] += 1
    return counts


def _time_text(span_s: float) -> str:
    if span_s < 1:
        return f"{span_s * 1e3:.0f} ms"
    return f"{span_s:.1f} s" if span_s < 10 and span_s != round(span_s) else f"{span_s:.0f} s"


def middle(values: Sequence[float]) -> str:
    """The median as text, a dash where there is none."""
    return _time_text(median(values)) if values else "–"
