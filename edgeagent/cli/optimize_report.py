"""The report of an optimization: one HTML file with nothing to load."""

from __future__ import annotations

import base64
import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.demo.svg import Axis, Sheet, ticks
from edgeagent.errors import unwritable

if TYPE_CHECKING:
    from edgeagent.prove.optimize.variants import Judged, Optimized, Worst

_SHOWN = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".bmp": "bmp"}
_LARGEST = 1 << 20
"""Bytes of a picture that is put into the page."""
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3em .6em;
border-bottom:1px solid #ddd;vertical-align:top}td.n,th.n{text-align:right}
.no{color:#c62828}.front{font-weight:600}svg{max-width:100%;height:auto}
.axis{stroke:#888}.grid{stroke:#e4e4e4}.on{fill:#1565c0}.off{fill:#bbb}.line{fill:none;
stroke:#1565c0;stroke-width:1.5}.muted{fill:#666}figure{display:inline-block;width:13em;
margin:.5em;vertical-align:top}figure img{max-width:100%;max-height:11em}figcaption{font-size:13px}
"""


def write_report(made: Optimized, file: Path) -> None:
    """Raises as `unwritable`."""
    try:
        file.write_text(page(made), encoding="utf-8")
    except OSError as error:
        raise unwritable(file, error) from error


def page(made: Optimized) -> str:
    """The whole page."""
    title = f"{escape(made.package)}, made from {escape(made.source)}"
    notes = "".join(f"<p>{escape(note)}</p>" for note in made.notes)
    parts = [
        f"<h1>{title}</h1>{notes}",
        f"<p>Calibrated on {made.calibrated_on} samples. Quality is "
        + ("the share of labelled samples that are right."
           if made.measured_by == "accuracy"
           else "the share of samples that are answered as by the float model.") + "</p>",
        _table(made), _front(made), *(_worst(its) for its in made.variants if its.worst),
    ]  # fmt: skip
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _table(made: Optimized) -> str:
    heads = ("variant", "size", "ms", "CPU ms", "MB", made.measured_by, "convolutions", "verdict")
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f"<table><tr>{head}</tr>{''.join(_row(its) for its in made.variants)}</table>"


def _row(its: Judged) -> str:
    quality = f"{its.quality:.1%}" if its.quality is not None else "–"
    numbers = (f"{its.bytes / 1024:,.0f} KiB", _number(its.ms), _number(its.cpu_ms),
               _number(its.pss_mb), quality)  # fmt: skip
    cells = "".join(f'<td class="n">{text}</td>' for text in numbers)
    kept = escape(its.kept.sentence()) if its.kept else "–"
    verdict = "in the package" if its.written else f'<span class="no">{escape(its.why)}</span>'
    style = ' class="front"' if its.front else ""
    return f"<tr{style}><td>{escape(its.file)}</td>{cells}<td>{kept}</td><td>{verdict}</td></tr>"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _front(made: Optimized) -> str:
    """Time against quality; what is on the Pareto front is joined."""
    there = [its for its in made.variants if its.ms is not None and its.quality is not None]
    if len(there) < 2:
        return ""
    there.sort(key=_log_ms)
    floor = 130.0 + 16 * len(there)
    sheet = Sheet(720, floor + 30, "Quality against time", "front-plot")
    lowest = min(its.quality or 0 for its in there)
    x = Axis(_log_ms(there[0]) - 0.1, _log_ms(there[-1]) + 0.3, 60, 700)
    y = Axis(max(0.0, lowest - 0.02), 1.0, floor - 10, floor - 110)
    for value in ticks(y.low, y.high, 4):
        sheet.line(60, y(value), 700, y(value), "grid")
        sheet.text(54, y(value) + 4, f"{value:.0%}", "muted", "end")
    sheet.line(60, floor, 700, floor, "axis")
    front = [its for its in there if its.front]
    sheet.path([(x(_log_ms(its)), y(its.quality or 0)) for its in front], "line")
    for number, its in enumerate(there):
        at = x(_log_ms(its)), y(its.quality or 0)
        # Names stand one below the other: variants are often alike.
        line = 14.0 + 16 * number
        sheet.line(at[0], line + 4, at[0], floor, "grid")
        sheet.text(at[0], line, f"{its.precision}, {its.runtime}: {its.ms:.3g} ms")
        sheet.dot(*at, 5, "on" if its.front else "off", tip=its.file)
    return f"<h2>Pareto front</h2><p>Time is logarithmic.</p>{sheet.render()}"


def _log_ms(its: Judged) -> float:
    return math.log10(max(its.ms or 0.0, 1e-4))


def _worst(its: Judged) -> str:
    figures = "".join(_figure(one) for one in its.worst)
    return f"<h2>Where {escape(its.file)} errs, or differs from the float model</h2>{figures}"


def _figure(one: Worst) -> str:
    file = Path(one.file)
    kind = _SHOWN.get(file.suffix.lower())
    picture = ""
    if kind and file.is_file() and file.stat().st_size <= _LARGEST:
        content = base64.b64encode(file.read_bytes()).decode()
        picture = f'<img alt="" src="data:image/{kind};base64,{content}">'
    label = f"<b>{escape(one.label)}</b><br>" if one.label else ""
    said = f"float: {escape(one.was)}<br>here: {escape(one.now)}"
    return (
        f"<figure>{picture}<figcaption>{label}{said}<br>{escape(file.name)}</figcaption></figure>"
    )
