"""The soak's summary: JSON, a page of Markdown, and a plot of all series over one another."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.soak.samples import UNITS
from benchmarks.soak.slope import Slope, slope
from edgeagent.demo.svg import Axis, Sheet, ticks
from edgeagent.fleet.audit import StreamAudit

LIMITS = {"anonymous_mb": (1.0, 3.0), "descriptors": (1.0, 3.0), "threads": (1.0, 3.0),
          "processes": (1.0, 2.0), "disk_mb": (5.0, 8.0)}  # fmt: skip
"""Series → growth per hour, and in all, that is a leak if the whole interval lies above both: in
ten minutes what is learned and cached still grows by a megabyte or two."""
LEAST_EVENTS = 10.0
"""A minute, at the far side."""
_WIDTH, _LEFT, _RIGHT, _PANEL, _TOP = 900.0, 60.0, 130.0, 96.0, 44.0
_STYLE = """
text{font-family:system-ui,sans-serif;fill:#222}.muted{fill:#666}.axis{stroke:#888}
.fault{fill:#f3d9d9}.warm{fill:#eee}.ground{fill:#fff}.l{fill:none;stroke-width:1.5}
.l0{stroke:#1565c0}.l1{stroke:#c62828}.l2{stroke:#2e7d32}.t0{fill:#1565c0}.t1{fill:#c62828}
.t2{fill:#2e7d32}
"""
_PANELS: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (
    ("memory, MB", (("rss_mb", "RSS"), ("pss_mb", "PSS"), ("anonymous_mb", "anonymous"))),
    ("counts", (("descriptors", "descriptors"), ("threads", "threads"))),
    ("disk, MB", (("disk_mb", "data folder"),)),
    ("collector, MB", (("collector_mb", "anonymous"),)),
    ("events a minute", (("events", "arrived"),)),
)


@dataclass
class Happened:
    """A fault."""

    name: str
    began_s: float
    ended_s: float
    well_s: float
    """From its end until the device was well; -1 = it was not in time."""
    said: str
    wrong: str = ""


@dataclass
class Soak:
    """All that is known at the end."""

    minutes: float
    warm_up_s: float
    rows: list[dict[str, float]]
    faults: list[Happened]
    arrived: list[float]
    """When each event came to the collector, seconds since the start."""
    streams: list[StreamAudit]
    produced: int
    closes: bool
    """Whether the device's own account closes."""
    wrong: list[str]
    """What was not as it has to be while it ran."""
    stop_s: float
    exit_code: int | None

    def column(self, name: str) -> list[float]:
        return [row[name] for row in self.rows]

    def slopes(self, block: int) -> dict[str, Slope]:
        """Of each series after the warm-up."""
        rows = [row for row in self.rows if row["at_s"] >= self.warm_up_s]
        seconds = [row["at_s"] for row in rows]
        return {
            name: slope(seconds, [row[name] for row in rows], block)
            for name in UNITS
            if name != "cpu_s"
        }

    @property
    def cpu(self) -> float:
        """Share of one core that the agent used; children that have ended are left out."""
        used = [max(0.0, b["cpu_s"] - a["cpu_s"])
                for a, b in zip(self.rows, self.rows[1:], strict=False)]  # fmt: skip
        return sum(used) / max(self.rows[-1]["at_s"] - self.rows[0]["at_s"], 1e-9)

    @property
    def events_a_minute(self) -> float:
        return len(self.arrived) / self.minutes

    def complaints(self, slopes: dict[str, Slope]) -> list[str]:
        """What is not as it has to be."""
        hours = (self.rows[-1]["at_s"] - self.warm_up_s) / 3600
        found = self.wrong + [
            f"{name} grows: {slopes[name].text(UNITS[name])}"
            for name, (per_hour, in_all) in LIMITS.items()
            if slopes[name].low > per_hour and slopes[name].low * hours > in_all
        ]
        if self.events_a_minute < LEAST_EVENTS:
            found.append(f"{self.events_a_minute:.1f} events a minute arrived")
        if not self.closes:
            found.append("the device's account does not close")
        for stream in self.streams:
            if stream.state != "complete":
                found.append(f"audit of epoch {stream.epoch}: {stream.state}")
        if self.rows[-1]["at_s"] < self.minutes * 60 - 60:
            found.append("the samples end early")
        if self.exit_code != 0:
            found.append(f"the agent ended with {self.exit_code}")
        return found


def document(its: Soak, slopes: dict[str, Slope]) -> dict[str, Any]:
    """As JSON."""
    return {
        "minutes": its.minutes, "warm_up_s": its.warm_up_s, "machine": machine(),
        "slopes_per_hour": {name: asdict(one) for name, one in slopes.items()},
        "cpu_share": round(its.cpu, 3),
        "events": {"arrived": len(its.arrived),
                   "a_minute": round(its.events_a_minute, 1)},
        "audit": [asdict(stream) | {"state": stream.state} for stream in its.streams],
        "produced": its.produced, "account_closes": its.closes, "stop_s": round(its.stop_s, 2),
        "exit_code": its.exit_code, "faults": [asdict(one) for one in its.faults],
        "complaints": its.complaints(slopes),
        "series": {name: its.column(name) for name in ("at_s", *UNITS)},
    }  # fmt: skip


def machine() -> str:
    """What it ran on, in words."""
    return (f"{platform.machine()}, {os.cpu_count()} processors, {platform.system()} "
            f"{platform.release()}, Python {platform.python_version()}")  # fmt: skip


def markdown(its: Soak, slopes: dict[str, Slope], plot: str) -> str:
    """The page."""
    complaints = its.complaints(slopes)
    verdict = "**Not as it has to be:** " + "; ".join(complaints) if complaints else (
        "Nothing grew, nothing is missing, and every fault was got over."
    )  # fmt: skip
    gaps: Counter[str] = Counter()
    for stream in its.streams:
        gaps.update(stream.gaps)
    lost = ", ".join(f"{count} {reason}" for reason, count in gaps.items()) or "none"
    lines = [
        f"# Soak of {its.minutes:g} minutes", "", verdict, "",
        f"{machine()}; warm-up of {its.warm_up_s:.0f} s left out; the agent used "
        f"{its.cpu:.0%} of a core.", "",
        "| series (agent and children) | first | last | highest | slope, 95 % interval |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    rows = [row for row in its.rows if row["at_s"] >= its.warm_up_s]
    for name, one in slopes.items():
        values = [row[name] for row in rows]
        lines.append(f"| {name} | {values[0]:g} | {values[-1]:g} | {max(values):g} | "
                     f"{one.text(UNITS[name])} |")  # fmt: skip
    lines += [
        "", f"![series]({plot})", "",
        f"Events: {len(its.arrived)} at the collector "
        f"({its.events_a_minute:.1f} a minute). Audit: "
        + ", ".join(f"{one.received} of {one.produced} ({one.state})" for one in its.streams)
        + f"; told lost: {lost}. The device's account of {its.produced} records "
        f"{'closes' if its.closes else 'DOES NOT CLOSE'}. Stop: {its.stop_s:.1f} s.", "",
        "| at | fault | well again after | what happened |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {one.began_s / 60:.1f} min | {one.name} | "
        f"{f'{one.well_s:.1f} s' if one.well_s >= 0 else 'NOT'} | {one.wrong or one.said} |"
        for one in its.faults
    ]
    return "\n".join(lines) + "\n"


def draw(its: Soak) -> str:
    """All series over one another, with the faults behind them, as SVG."""
    high = _TOP + len(_PANELS) * (_PANEL + 26) + 24
    sheet = Sheet(_WIDTH, high, f"Soak of {its.minutes:g} minutes", "soak")
    sheet.rect(0, 0, _WIDTH, high, "ground")
    sheet.text(_LEFT, 18, f"{its.minutes:g} minutes; grey: warm-up; red: a fault until the device "
               "was well again", "")  # fmt: skip
    x = Axis(0.0, its.rows[-1]["at_s"] / 60, _LEFT, _WIDTH - _RIGHT)
    floor = high - 48
    sheet.rect(x.start, _TOP - 8, x(its.warm_up_s / 60) - x.start, floor - _TOP + 8, "warm")
    for one in its.faults:
        until = one.ended_s + max(one.well_s, 0.0)
        sheet.rect(x(one.began_s / 60), _TOP - 8, max(x(until / 60) - x(one.began_s / 60), 1.5),
                   floor - _TOP + 8, "fault", tip=f"{one.name}: {one.said}")  # fmt: skip
    for number, (title, series) in enumerate(_PANELS):
        _panel(sheet, its, title, series, x, _TOP + number * (_PANEL + 26))
    for minute in ticks(x.low, x.high, 10):
        sheet.text(x(minute), high - 10, f"{minute:g} min", "muted", "middle")
    return sheet.document(_STYLE)


def _points(its: Soak, name: str) -> list[tuple[float, float]]:
    if name != "events":
        return [(row["at_s"] / 60, row[name]) for row in its.rows]
    counts = Counter(int(at // 60) for at in its.arrived)
    return [(minute + 0.5, float(counts[minute])) for minute in range(int(its.minutes))]


def _panel(
    sheet: Sheet, its: Soak, title: str, series: Sequence[tuple[str, str]], x: Axis, top: float
) -> None:
    lines = [(name, _points(its, key)) for key, name in series]
    highest = max((value for _, points in lines for _, value in points), default=1.0)
    y = Axis(0.0, highest * 1.08, top + _PANEL, top)
    sheet.line(x.start, y.start, x.end, y.start, "axis")
    sheet.text(_LEFT, top - 1, title, "muted")
    for value in ticks(0.0, y.high, 3):
        sheet.text(_LEFT - 6, y(value) + 4, f"{value:g}", "muted", "end")
    for number, (name, points) in enumerate(lines):
        sheet.path([(x(at), y(value)) for at, value in points], f"l l{number}")
        if points:
            sheet.text(x.end + 8, top + 14 + 16 * number, f"{name} {points[-1][1]:g}",
                       f"t{number}")  # fmt: skip


def write(its: Soak, slopes: dict[str, Slope], folder: Path) -> None:
    """``soak.json``, ``soak.md``, ``soak.svg``."""
    import json

    (folder / "soak.json").write_text(json.dumps(document(its, slopes), indent=1) + "\n")
    (folder / "soak.svg").write_text(draw(its))
    (folder / "soak.md").write_text(markdown(its, slopes, "soak.svg"))
