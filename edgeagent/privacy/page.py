"""A privacy report as something to read: tables, from which come the shell's view, Markdown and one
HTML file without anything from elsewhere."""

from __future__ import annotations

import html as markup
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

Row = Sequence[str]


class Sheet(Struct, frozen=True):
    """One table with its heading, and what has to be said about it."""

    title: str
    columns: Row
    rows: Sequence[Row]
    notes: Sequence[str] = ()


def size(count: int) -> str:
    """Bytes for people."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"


def head(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Whose report it is, name by value."""
    where = " · ".join(filter(None, (report["name"], report["site"])))
    clock = "" if report["clock"] == "synced" else " (this clock can't be trusted)"
    return [
        ("device", f"{report['device']}{f' ({where})' if where else ''}"),
        ("at", f"{report['at']}{clock}"),
        ("configuration", f"{report['config']}, in force since {report['config_since'] or '?'}"),
        ("version", report["version"]),
        ("asked", "the running agent" if report["running"] else "the files; no agent was asked"),
        ("pictures", f"privacy.pictures = {report['pictures']}"),
        ("policy", report["policy"] or "none is named: privacy.policy"),
        ("data", report["data_dir"]),
    ]


def sheets(report: dict[str, Any]) -> Iterator[Sheet]:
    """All tables."""
    yield _stores(report)
    yield _contents(report)
    yield _limits(report)
    yield _pipelines(report)
    yield _sent(report)
    if report["process"] is not None:
        yield _process(report["process"])
    yield _looks(report["looks"])


def _stores(report: dict[str, Any]) -> Sheet:
    rows = [
        (
            its["store"], "yes" if its["personal"] else "no",
            its.get("fault") or f"{its.get('count', 0):,}", size(its.get("bytes", 0)),
            _minute(its.get("oldest", "")), _minute(its.get("newest", "")), _readers(its),
        )
        for its in report["stores"]
    ]  # fmt: skip
    said = "root may read everything, and whoever takes the medium out, unless it is encrypted."
    columns = ("store", "personal", ">count", ">bytes", "oldest", "newest", "who may read")
    return Sheet("What is kept", columns, rows, (said,))


def _contents(report: dict[str, Any]) -> Sheet:
    rows = [
        (
            its["store"],
            its["contents"] + (f" ({', '.join(its['names'])})" if its.get("names") else ""),
            its["personal"] or "nothing",
        )
        for its in report["stores"]
    ]  # fmt: skip
    return Sheet("What that is", ("store", "contents", "about people"), rows)


def _readers(its: dict[str, Any]) -> str:
    if its.get("hidden"):
        return f"not to be seen: {its['hidden']}"
    if not its.get("modes"):
        return ""
    return f"{', '.join(its['readers']) or 'root alone'} ({its['owner']} {' '.join(its['modes'])})"


def _limits(report: dict[str, Any]) -> Sheet:
    gone = report["retention"].get("gone", {})
    rows = [
        (its["store"], its["max_age"] or "–", its["limit"], its["at_limit"])
        for its in report["stores"]
    ]
    notes = []
    if gone:
        said = ", ".join(f"{count:,} {what}" for what, count in gone.items())
        notes.append(f"Gone by age since the start: {said}; last {report['retention']['last']}.")
    if report["retention"].get("fault"):
        notes.append(f"Too old, and still here: {report['retention']['fault']}.")
    if not any(its["max_age"] for its in report["stores"]):
        notes.append("Nothing goes by its age: [retention] names none.")
    return Sheet("How long", ("store", "oldest allowed", "limit", "at the limit"), rows, notes)


def _pipelines(report: dict[str, Any]) -> Sheet:
    rows = [
        (
            its["pipeline"], ", ".join(its["sources"]), its["state"],
            "; ".join(its["pictures"]) or "none",
            f"{', '.join(its['redacts'])} by {its['by']}, {its['method']}, held {its['hold']}"
            if its["redacts"] else "nothing",
            ", ".join(its["masked"]) or "–",
        )
        for its in report["pipelines"]
    ]  # fmt: skip
    columns = ("pipeline", "source", "state", "pictures", "hidden in them", "masked sources")
    since = report["config_since"]
    return Sheet("What is hidden", columns, rows,
                 [f"So since {since} at the latest."] if since and rows else ())  # fmt: skip


def _sent(report: dict[str, Any]) -> Sheet:
    rows = [(its["topic"], its["what"], its["personal"] or "no") for its in report["sent"]]
    notes = []
    broker = report["broker"]
    if rows:
        how = "encrypted" if broker["encrypted"] else "not encrypted"
        how += "" if broker["checked"] or not broker["encrypted"] else ", its certificate unchecked"
        whom = f"{broker['host']}:{broker['port']} as {broker['user'] or 'nobody'}"
        notes.append(f"To {whom}, {how}. Who reads a topic there is the broker's to say.")
    else:
        notes.append("Nothing is sent: there is no broker.")
    served = report["served"]
    if served:
        notes.append(f"HTTP at {served['listen']}"
                     f"{'' if served['encrypted'] else ', not encrypted'}: pictures for "
                     f"{served['pictures_for']}.")  # fmt: skip
    else:
        notes.append("Nothing answers HTTP.")
    return Sheet("Where it goes", ("topic", "what", "personal"), rows, notes)


def _process(its: dict[str, Any]) -> Sheet:
    rings = sum(ring["bytes"] for ring in its["shared_memory"])
    rows = [
        ("core dumps", "can be written: they would hold pictures before anything is hidden"
         if its["core_dumps"] else "none is written"),
        ("other users' debuggers", "may look in" if its["traceable"] else "kept out (root is not)"),
        ("frames in shared memory", f"{len(its['shared_memory'])} rings, {size(rings)}, without a "
         "name: before anything is hidden"),
        ("/dev/shm", ", ".join(its["dev_shm"]) or "nothing of the agent"),
        ("swap", ", ".join(its["swap"]) + ": memory may be written there" if its["swap"]
         else "none"),
    ]  # fmt: skip
    return Sheet("In memory", ("what", "how it is"), rows)


def _looks(lines: list[dict[str, Any]]) -> Sheet:
    return Sheet("Who looked lately", ("at", "what", "by", "detail"), [look(its) for its in lines])


def look(line: dict[str, Any]) -> Row:
    """A line of the log of looks."""
    about = {key: its for key, its in line.items()
             if key not in ("at", "clock", "boot", "mono_ms", "what", "by", "id")}  # fmt: skip
    unsure = "" if line.get("clock") == "synced" else " ?"
    detail = ", ".join(f"{key} {_short(its)}" for key, its in about.items() if its)
    return _minute(line.get("at", "")) + unsure, line.get("what", ""), line.get("by", ""), detail


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_short(its) for its in value)
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text


def _minute(at: str) -> str:
    return at[:19].replace("T", " ")


def markdown(report: dict[str, Any]) -> str:
    """The whole report."""
    lines = [f"# What {report['device']} keeps", ""]
    lines += [f"- **{name}**: {value}" for name, value in head(report)]
    for sheet in sheets(report):
        lines += ["", f"## {sheet.title}", ""]
        if sheet.rows:
            names = [name.lstrip(">") for name in sheet.columns]
            lines += [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
            lines += [f"| {' | '.join(_cell(its) for its in row)} |" for row in sheet.rows]
            lines.append("")
        lines += [f"- {_cell(note)}" for note in sheet.notes]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em}"
    "table{border-collapse:collapse;width:100%;margin:.5em 0}td,th{text-align:left;"
    "padding:.3em .6em;border-bottom:1px solid #8886;vertical-align:top}.r{text-align:right}"
    "dt{font-weight:600;float:left;width:9em}dd{margin:0 0 .2em 9em}li{margin:.15em 0}"
    "@media print{body{margin:0;font-size:11px}}@media(prefers-color-scheme:dark)"
    "{body{background:#111;color:#ddd}}"
)


def html(report: dict[str, Any]) -> str:
    """The whole report in one file."""
    title = markup.escape(f"What {report['device']} keeps")
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1><dl>",
        *(f"<dt>{markup.escape(name)}<dd>{_linked(value)}" for name, value in head(report)),
        "</dl>",
    ]
    for sheet in sheets(report):
        parts.append(f"<h2>{markup.escape(sheet.title)}</h2>")
        if sheet.rows:
            parts.append("<table><tr>" + "".join(
                f"<th{_side(name)}>{markup.escape(name.lstrip('>'))}" for name in sheet.columns
            ))  # fmt: skip
            parts += ["<tr>" + "".join(
                f"<td{_side(name)}>{markup.escape(its)}"
                for name, its in zip(sheet.columns, row, strict=True)
            ) for row in sheet.rows]  # fmt: skip
            parts.append("</table>")
        parts.append("<ul>" + "".join(f"<li>{markup.escape(its)}" for its in sheet.notes) + "</ul>")
    return "\n".join(parts) + "\n"


def _side(column: str) -> str:
    return " class=r" if column.startswith(">") else ""


def _linked(text: str) -> str:
    safe = markup.escape(text)
    return f'<a href="{safe}">{safe}</a>' if text.startswith(("https://", "http://")) else safe
