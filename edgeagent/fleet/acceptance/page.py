"""The acceptance sheets as one HTML page that needs nothing else, for a screen and for paper."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from edgeagent.fleet.acceptance.sheet import Sheet

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:0}
p.when{color:#57606a;margin:0 0 1.25rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem .25rem 0;
vertical-align:top;border-bottom:1px solid #d8dee4}th{font-weight:600}
.sheet{border:1px solid #d0d7de;border-radius:8px;padding:1rem 1.25rem;margin:1.25rem 0;
break-inside:avoid}.sheet header{display:flex;justify-content:space-between;gap:1rem}
.ok{color:#116329}.no{color:#b42318}.mark{font-weight:600;white-space:nowrap}
.both{display:flex;gap:1.25rem;flex-wrap:wrap;margin-top:.75rem}.both>div{flex:1 1 20rem}
img{max-width:20rem;width:100%;border-radius:4px}ul{margin:.5rem 0 0;padding-left:1.2rem}
.sign{display:flex;gap:2rem;margin-top:1rem;color:#57606a;font-size:.85rem}
.sign span{flex:1;border-top:1px solid #8c959f;padding-top:.2rem;margin-top:1.6rem}
@media print{body{margin:0;max-width:none}.sheet{page-break-inside:avoid}}
"""


def page(sheets: Sequence[Sheet], *, when: str, by: str) -> str:
    """All of them, with a table of contents first.

    Args:
        sheets: in the order of the page.
        when: shown, with a time zone.
        by: who has asked.
    """
    accepted = sum(its.accepted for its in sheets)
    rows = "".join(_row(its) for its in sheets)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Acceptance: {accepted} of {len(sheets)}</title>"
        f"<style>{_STYLE}</style></head><body>"
        f"<h1>{accepted} of {len(sheets)} devices are in order</h1>"
        f'<p class="when">{escape(when)}, asked by {escape(by)}</p>'
        "<table><thead><tr><th>device</th><th>name</th><th>site</th><th>state</th>"
        f"<th>first number</th><th></th></tr></thead><tbody>{rows}</tbody></table>"
        + "".join(_sheet(its) for its in sheets)
        + "</body></html>\n"
    )


def _row(its: Sheet) -> str:
    cells = (its.device, its.name, its.site, its.state or "unknown", str(its.first_seq or "–"))
    link = f'<td><a href="#{escape(its.device)}">{escape(its.device)}</a></td>'
    return f"<tr>{link}{''.join(f'<td>{escape(cell)}</td>' for cell in cells[1:])}{_mark(its)}</tr>"


def _mark(its: Sheet, tag: str = "td") -> str:
    kind, said = ("ok", "✓ in order") if its.accepted else ("no", "✗ not in order")
    return f'<{tag} class="mark {kind}">{said}</{tag}>'


def _sheet(its: Sheet) -> str:
    facts = [
        ("state", f"{its.state or 'unknown'} {'; '.join(its.reasons)}".strip()),
        ("board", its.profile), ("agent", its.version),
        ("runs on", "; ".join(f"{name}: {on}" for name, on in its.runs.items())),
        ("rate", "; ".join(f"{name}: {rate:g} a second" for name, rate in its.rates.items())),
        ("doctor", _doctor(its)),
        ("first number", f"{its.first_seq} at {its.first_at}" if its.first_seq else "none yet"),
        ("records here", f"{its.records:,}"), ("clock", its.clock),
    ]  # fmt: skip
    table = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value or '–')}</td></tr>" for name, value in facts
    )
    faults = "".join(f"<li>{escape(fault)}</li>" for fault in its.faults)
    title = f"{its.name} ({its.device})" if its.name else its.device
    return (
        f'<section class="sheet" id="{escape(its.device)}"><header>'
        f"<h2>{escape(title)}{escape(f', {its.site}' if its.site else '')}</h2>"
        f'{_mark(its, "span")}</header><div class="both"><div><table>{table}</table>'
        + (f'<ul class="no">{faults}</ul>' if faults else "")
        + f"</div><div>{_picture(its)}</div></div>"
        '<div class="sign"><span>hung up by</span><span>accepted by</span><span>date</span></div>'
        "</section>"
    )


def _doctor(its: Sheet) -> str:
    if its.doctor != "successful":
        return its.doctor or "not asked"
    notes = [finding["what"] for finding in its.findings if finding["severity"] == "note"]
    wrong = len(its.findings) - len(notes)
    said = "nothing is wrong" if not wrong else f"{wrong} to be looked at"
    return said + (f" (notes: {'; '.join(notes)})" if notes else "")


def _picture(its: Sheet) -> str:
    if not its.picture:
        return "<p>It has sent no picture.</p>"
    data = base64.b64encode(its.picture).decode()
    return (
        f'<img alt="what {escape(its.device)} sees" '
        f'src="data:{escape(its.picture_type)};base64,{data}">'
    )
