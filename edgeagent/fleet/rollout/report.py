"""What became of a rollout: one document (JSON), and pages made of it for people."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from edgeagent import clock
from edgeagent.fleet.database import Database
from edgeagent.fleet.rollout import threshold
from edgeagent.fleet.rollout.ledger import Ledger, Rollout, Wave
from edgeagent.fleet.rollout.standing import BAD, OPEN, Row

_MOST_NAMED = 10
"""Devices that are named for each reason."""
_DRIVEN_S = 10.0
"""A driver that has not been heard of for so long is gone."""


def document(ledger: Ledger, rollout: Rollout, *, evidence: bool = True) -> dict[str, Any]:
    """All that is known of a rollout; ``evidence`` looks into the collector's records as well.

    Raises what `Database` does.
    """
    rows, now = ledger.rows(rollout.id), ledger.db.now()
    waves = {wave.number: wave for wave in ledger.waves(rollout.id)}
    total, profiles = threshold.count(rows)
    return {
        "rollout": rollout.id,
        "model": rollout.plan.model,
        "version": rollout.plan.version,
        "state": rollout.state,
        "reason": rollout.reason,
        "wish": rollout.wish,
        "author": rollout.author,
        "created": _time(rollout.created),
        "ended": _time(rollout.ended),
        "took_s": round((rollout.ended or now) - rollout.created, 1),
        "driver": rollout.driver if now - rollout.beat < _DRIVEN_S else "",
        "wave": rollout.wave + 1,
        "plan": msgspec.to_builtins(rollout.plan),
        "total": _counts(total),
        "under_way": sum(row.standing in OPEN for row in rows),
        "profiles": {name: _counts(its) for name, its in sorted(profiles.items())},
        "waves": [
            _wave(
                number, [row for row in rows if row.wave == number], waves.get(number), rollout, now
            )
            for number in sorted({row.wave for row in rows})
        ],
        "reasons": _reasons(ledger.db, rows, rollout, evidence=evidence),
        "notes": [
            {"at": _time(note.at), "what": note.what, "text": note.text}
            for note in ledger.notes(rollout.id)
        ],
        "devices": [_device(row) for row in rows],
    }


def _wave(
    number: int, rows: Sequence[Row], opened: Wave | None, rollout: Rollout, now: float
) -> dict[str, Any]:
    total, profiles = threshold.count(rows)
    state = "waiting" if opened is None else "through" if opened.closed else "open"
    if opened is not None and number == rollout.wave and rollout.state.startswith("abort"):
        state = "stopped"
    found: dict[str, Any] = {
        "wave": number + 1,
        "state": state,
        **_counts(total),
        "under_way": sum(row.standing in OPEN for row in rows),
        "profiles": {name: _counts(its) for name, its in sorted(profiles.items())},
    }
    if opened is not None:
        found["opened"], found["closed"] = _time(opened.opened), _time(opened.closed)
        found["took_s"] = round((opened.closed or now) - opened.opened, 1)
        found["quality"] = msgspec.to_builtins(opened.findings)
    return found


def _counts(its: threshold.Count) -> dict[str, Any]:
    return {
        "size": its.size, "asked": its.asked, "well": its.well, "bad": its.bad,
        "bad_share": round(its.share, 4), "held": its.held, "unreached": its.unreached,
        "cancelled": its.cancelled,
    }  # fmt: skip


def _device(row: Row) -> dict[str, Any]:
    return {
        "device": row.device, "profile": row.profile, "wave": row.wave + 1,
        "standing": row.standing, "step": row.step, "reason": row.reason, "detail": row.detail,
        "was": row.was, "rev": row.rev, "asked": _time(row.asked), "ended": _time(row.ended),
        "took_s": round(row.ended - row.asked, 1) if row.ended and row.asked else None,
    }  # fmt: skip


def _reasons(
    db: Database, rows: Sequence[Row], rollout: Rollout, *, evidence: bool
) -> list[dict[str, Any]]:
    """Why devices went wrong, the commonest first, with examples and their own evidence."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        if row.standing in BAD or row.standing == "held":
            grouped.setdefault(threshold.cause(row), []).append(row)
    found = []
    for cause, those in sorted(grouped.items(), key=lambda item: (-len(item[1]), item[0])):
        profiles: dict[str, int] = {}
        for row in those:
            profiles[row.profile] = profiles.get(row.profile, 0) + 1
        named = [row.device for row in those[:_MOST_NAMED]]
        entry: dict[str, Any] = {
            "cause": cause, "devices": len(those), "profiles": profiles, "named": named,
            "detail": next((row.detail for row in those if row.detail), ""),
        }  # fmt: skip
        if evidence:
            entry["evidence"] = _evidence(db, named, rollout)
        found.append(entry)
    return found


def _evidence(db: Database, devices: Sequence[str], rollout: Rollout) -> list[dict[str, Any]]:
    """Deployment records of these devices about this version, as the collector has them."""
    among, value = db.among("s.device", devices)
    found = db.rows(
        "SELECT s.device, s.epoch, r.seq, r.body FROM record r JOIN stream s ON s.id = r.stream"
        f" WHERE {among} AND r.kind = 'deployment' AND r.received >= ? AND NOT r.copy"
        " ORDER BY s.device, r.received, r.seq",
        (value, db.stamp(rollout.created)),
    )
    last: dict[str, dict[str, Any]] = {}
    for device, epoch, seq, body in found:
        record = body if isinstance(body, dict) else msgspec.json.decode(body)
        data = record.get("data", {})
        if rollout.plan.version in (data.get("version"), data.get("wanted")):
            last[device] = {"device": device, "epoch": epoch, "seq": seq, "data": data}
    return list(last.values())


def _time(at: float) -> str:
    return clock.rfc3339(int(at * 1e9)) if at else ""


# --- for people ----------------------------------------------------------------------------


def headline(found: Mapping[str, Any]) -> str:
    """One sentence."""
    total = found["total"]
    name = f"{found['model']}@{found['version']}"
    if found["state"] == "done":
        bad = f", {total['bad']} went wrong" if total["bad"] else ""
        return f"{name} runs well on {total['well']} of {total['size']} devices{bad}."
    if found["state"] in ("aborted", "aborting"):
        return f"{name} was stopped in wave {found['wave']}: {found['reason']}."
    where = f"{name}: wave {found['wave']} of {len(found['waves'])}, {found['state']}"
    return f"{where} ({found['reason']})." if found["reason"] else f"{where}."


COLUMNS = (
    "wave", "profile", "size", "asked", "well", "bad", "bad %", "held", "not reached",
    "called back",
)  # fmt: skip


def table(found: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    """Rows under `COLUMNS`: each wave, then its profiles."""
    for wave in found["waves"]:
        yield _cells(f"{wave['wave']} {wave['state']}", "all", wave)
        for name, its in wave["profiles"].items():
            yield _cells("", name, its)


def _cells(wave: str, profile: str, its: Mapping[str, Any]) -> tuple[str, ...]:
    share = f"{100 * its['bad_share']:.0f} %" if its["asked"] else "–"
    numbers = (its["size"], its["asked"], its["well"], its["bad"])
    return (
        wave,
        profile,
        *map(str, numbers),
        share,
        *(str(its[name]) for name in ("held", "unreached", "cancelled")),
    )


def markdown(found: Mapping[str, Any]) -> str:
    """A page with headline, waves, reasons with their evidence, quality, and what happened."""
    lines = [f"# Rollout {found['rollout']}", "", headline(found), ""]
    took = f"{found['took_s']:.0f} s"
    lines += [
        f"Created {found['created']} by {found['author']}; {found['state']} after {took}.",
        "",
    ]
    lines += [
        "## Waves",
        "",
        _md(COLUMNS),
        "|" + "---|" * len(COLUMNS),
        *map(_md, table(found)),
        "",
    ]
    if found["reasons"]:
        lines += ["## What went wrong", ""]
        for entry in found["reasons"]:
            lines += _md_reason(entry)
        lines.append("")
    findings = [(wave["wave"], its) for wave in found["waves"] for its in wave.get("quality", ())]
    if findings:
        lines += ["## Outputs before and after", ""]
        lines += [
            f"- wave {number}: {'**bad** ' if its['bad'] else ''}{its['sentence']}"
            for number, its in findings
        ]
        lines.append("")
    lines += ["## What happened", ""]
    lines += [f"- {note['at']} {note['what']}: {note['text']}" for note in found["notes"]]
    return "\n".join(lines) + "\n"


def _md(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _md_reason(entry: Mapping[str, Any]) -> list[str]:
    profiles = ", ".join(f"{count} × {name}" for name, count in sorted(entry["profiles"].items()))
    lines = [f"- **{entry['cause']}**: {entry['devices']} devices ({profiles})"]
    if entry["detail"]:
        lines.append(f"  - e.g. {entry['detail']}")
    more = ", …" if entry["devices"] > len(entry["named"]) else ""
    lines.append(f"  - {', '.join(entry['named'])}{more}")
    lines += [
        f"  - {its['device']}, record {its['seq']} of epoch {its['epoch']}: "
        f"{its['data'].get('detail') or its['data'].get('reason', '')}"
        for its in entry.get("evidence", ())[:3]
    ]
    return lines


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.2rem .7rem;border-bottom:1px solid #ccc;"
    "text-align:left}.bad{color:#b00020;font-weight:600}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}.bad{color:#ff6b6b}}"
)


def page(found: Mapping[str, Any]) -> str:
    """The same as one HTML file that needs nothing else."""
    said = html.escape
    parts = [f"<p><strong>{said(headline(found))}</strong></p>"]
    parts.append(
        f"<p>Created {said(found['created'])} by {said(found['author'])}; {said(found['state'])} "
        f"after {found['took_s']:.0f} s.</p><h2>Waves</h2>{_html_table(found)}"
    )
    if found["reasons"]:
        parts.append("<h2>What went wrong</h2><ul>")
        parts += [_html_reason(entry) for entry in found["reasons"]]
        parts.append("</ul>")
    findings = [(wave["wave"], its) for wave in found["waves"] for its in wave.get("quality", ())]
    if findings:
        parts.append("<h2>Outputs before and after</h2><ul>")
        parts += [
            f"<li{' class=bad' if its['bad'] else ''}>wave {number}: {said(its['sentence'])}</li>"
            for number, its in findings
        ]
        parts.append("</ul>")
    parts.append("<h2>What happened</h2><ul>")
    parts += [
        f"<li>{said(note['at'])} {said(note['what'])}: {said(note['text'])}</li>"
        for note in found["notes"]
    ]
    title = f"Rollout {said(found['rollout'])}"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<style>{_STYLE}</style><h1>{title}</h1>{''.join(parts)}</ul></html>\n"
    )


def _html_table(found: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells in table(found)
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _html_reason(entry: Mapping[str, Any]) -> str:
    first, *more = (html.escape(line.strip(" -")) for line in _md_reason(entry))
    nested = "".join(f"<li>{line}</li>" for line in more)
    return f"<li>{first.replace('**', '')}<ul>{nested}</ul></li>"
