"""How each thing is laid out for people; what prints is `render`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeagent.cli import drift, render
from edgeagent.cli.words import prediction_text, record_text
from edgeagent.errors import ConfigError, EdgeAgentError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeagent.config.load import Loaded
    from edgeagent.diagnose.finding import Report
    from edgeagent.store.verify import VerifyReport


# --- configuration -------------------------------------------------------------------------


def faults(problem: ConfigError) -> list[dict[str, Any]]:
    """For ``--json``: one table per fault."""
    import msgspec

    found: list[dict[str, Any]] = msgspec.to_builtins(list(problem.faults))
    return found


def checked(loaded: Loaded) -> None:
    """What the check of a sound configuration says."""
    for its in loaded.warnings:
        render.finding("warn", "", its, "", "")
    files = ", ".join(str(its) for its in loaded.files)
    render.text(f"{files}: no faults (hash {loaded.hash})")


def keys(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Rows of a key and what it is set to, as it would stand in a file."""
    render.table(
        columns,
        [tuple(_shown(its, column) for column, its in zip(columns, row, strict=True))
         for row in rows],
    )  # fmt: skip


def _shown(value: Any, column: str) -> Any:
    return value if value is None or column in ("KEY", "FROM") else literal(value)


def toml(tables: dict[str, Any], prefix: str = "") -> str:
    """Tables as they would stand in a TOML file; what is not set is left out."""
    lines, below = [], []
    for key, value in tables.items():
        if isinstance(value, dict):
            below.append(toml(value, f"{prefix}.{key}" if prefix else key))
        elif value is not None:
            lines.append(f"{key} = {literal(value)}")
    head = [f"[{prefix}]"] if prefix and lines else []
    block = "\n".join([*head, *lines])
    return "\n\n".join(part for part in [block, *below] if part)


def literal(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        if not value:
            return "{}"
        return "{ " + ", ".join(f"{key} = {literal(its)}" for key, its in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return render.quoted(value)
    return str(value)


def flat(value: Any, path: tuple[str | int, ...] = ()) -> dict[str, Any]:
    """Dotted key → value, of every key that holds no further table."""
    from edgeagent.config.check import dotted

    if isinstance(value, dict) and value:
        found: dict[str, Any] = {}
        for key, item in value.items():
            found.update(flat(item, (*path, key)))
        return found
    return {dotted(path): value}


def origins(value: Any, places: dict[str, str], key: str = "") -> list[tuple[str, Any, str]]:
    """Key, value and origin of all that is at or below a key."""
    values = flat(value, tuple(key.split(".")) if key else ())
    below = (
        name for name in places if not key or name == key or name.startswith((f"{key}.", f"{key}["))
    )
    return [(name, values.get(name), places[name]) for name in below]


# --- the running agent ---------------------------------------------------------------------


def configuration(reported: dict[str, Any]) -> str:
    """What became of the configuration that was wished for; nothing was = an empty text."""
    its = reported.get("config") or {}
    if not its.get("rev"):
        return ""
    why = its.get("detail") or its.get("reason")
    state = its.get("state", "applied")
    return f"configuration of rev {its['rev']}: {state}" + (f": {why}" if why else "")


def _desired(its: dict[str, Any]) -> None:
    """What became of what is wished for: changes of models, configuration, holds."""
    lines = [
        f"{name} {one['wanted']}: {one['state']}"
        + (f" {one['progress']:.0%}" if one.get("progress") else "")
        + (f" ({one['reason']})" if one.get("reason") else "")
        + (f": {one['detail']}" if one.get("detail") else "")
        for name, one in its.get("models", {}).items()
        if one.get("wanted")
    ]
    if said := configuration(its):
        lines.append(said)
    for one in its.get("held", ()):
        end = f" until {one['until']}" if one.get("until") else ""
        lines.append(f"{one['model']} is held by {one.get('by') or 'somebody'}{end}")
    if its.get("rejected"):
        lines.append(f"not taken: {its['rejected']}")
    if lines:
        render.blank()
        for line in lines:
            render.plain(f"  {line}")


def status(report: dict[str, Any]) -> None:
    """Head, outbox, pipelines, sources."""
    link, outbox = report["link"], report["outbox"]
    memory = (report.get("memory") or {}).get("pss_mb")
    render.facts(
        [
            ("state", report["state"]),
            ("because", "; ".join(report.get("reasons") or ())),
            ("device", f"{report['device']} · edgeagent {report['version']}"),
            ("up for", render.duration(report["uptime_s"])),
            ("link", _link(link)),
            ("traffic", _traffic(link.get("traffic") or {})),
            ("serves", (report.get("serve") or {}).get("at")),
            ("outbox", _outbox_line(outbox)),
            ("storage", _storage(report.get("storage") or {})),
            ("pool", _pool(report.get("pool") or {})),
            ("memory", f"{memory:.0f} MB" if memory else None),
            ("governor", _governor(report.get("governor") or {})),
            ("tuning", _tuning(report.get("tuning") or {})),
            ("put aside", _aside(report.get("aside") or ())),
        ]
    )
    if report["pipelines"]:
        render.blank()
        render.table(
            ("PIPELINE", "STATE", "MODEL", ">PER S", ">P50 MS", ">P95 MS", ">STEPS", ">RECORDS"),
            [
                (name, its["state"], its.get("model"), f"{its['fps']:.1f}", f"{its['p50_ms']:.2f}",
                 f"{its['p95_ms']:.2f}", its["steps"], its.get("records", 0))
                for name, its in report["pipelines"].items()
            ],
        )  # fmt: skip
        for name, its in report["pipelines"].items():
            saved = f"; the gate saves {its['gate']['saved']:.0%}" if "gate" in its else ""
            said = its.get("receipt") or its.get("reason") or "not open"
            render.plain(f"  {name}: {said}{saved}{_loads(its)}")
        for name, its in (report.get("drift") or {}).items():
            render.plain(f"  {name}: {drift.sentence(its)}")
    _desired(report.get("desired") or {})
    if report["sources"]:
        render.blank()
        render.table(
            ("SOURCE", "STATE", ">READ", ">DROPPED", ">CORRUPT", ">REOPENED", "LAST ERROR"),
            [
                (name, its["state"], its["read"], its["dropped"], its["corrupt"], its["reopened"],
                 its.get("last_error") or "")
                for name, its in report["sources"].items()
            ],
        )  # fmt: skip
        for name, its in report["sources"].items():
            if its.get("verified") is False:
                render.plain(f"  {name}: this build was not tried with such hardware")


def _pool(its: dict[str, Any]) -> str | None:
    """Samples that wait for a label."""
    if not its:
        return None
    counts = [sum(reasons.values()) for reasons in its["samples"].values()]
    held = f", {its['withheld']} withheld" if its["withheld"] else ""
    faults = "".join(f"; {name}: {fault}" for name, fault in its["faults"].items())
    room = f"{render.size(its['bytes'])} of {render.size(its['max_bytes'])}"
    return f"{sum(counts)} samples to be labelled, {its['sent']} sent{held}, {room}{faults}"


def _governor(its: dict[str, Any]) -> str | None:
    """What gives way, and the heat."""
    if not its:
        return None
    heat = its.get("temperature_c")
    said = ", ".join(its["steps"]) or "everything runs in full"
    return f"{said} · {its['zone']} {heat:.0f} °C of {its['limit_c']:g} °C" if heat else said


def _tuning(models: dict[str, Any]) -> str | None:
    """Models whose choice does not hold, and what is done about it."""
    said = []
    for title, its in models.items():
        if its["state"] == "searching":
            said.append(f"{title} is tuned again: {its['reason']}")
        elif its["state"] == "stale":
            waits = its.get("failed") or its.get("waits")
            more = f" (waits: {waits})" if waits else ""
            said.append(f"{title} is to be tuned again: {its['reason']}{more}")
    return "; ".join(said) or None


def _aside(delegates: Sequence[dict[str, Any]]) -> str | None:
    """Delegates that failed, and when each is tried again."""
    said = [
        f"{its['delegate']} with {its['model']}, again in {render.duration(its['again_s'])}"
        for its in delegates
    ]
    return "; ".join(said) or None


def _loads(its: dict[str, Any]) -> str:
    """That a model is unloaded, and what it costs to have it back."""
    took = f"loads in {its['cold_start_ms']:.0f} ms" if "cold_start_ms" in its else ""
    if its.get("unloaded"):
        return f"; unloaded until it is needed{f' ({took})' if took else ''}"
    return f"; {took} when it was unloaded ({its['cold_starts']} times)" if took else ""


def _link(link: dict[str, Any]) -> str:
    broker, detail = link.get("broker"), link.get("detail")
    said = f"{link['state']}{f' ({broker})' if broker else ''}"
    return f"{said}: {detail}" if detail else said


def _traffic(traffic: dict[str, Any]) -> str | None:
    """What went over the link, what a record costs and what waits for a budget."""
    if not traffic.get("month"):
        return None
    spans = (("this hour", "hour"), ("today", "day"), ("this month", "month"))
    limits = traffic["limits"].get("total", {})
    parts = [
        f"{render.size(traffic[key].get('total', 0))} "
        + (f"of {render.size(limits[key])} {words}" if key in limits else words)
        for words, key in spans
    ]
    parts += [
        f"{traffic[key]:,} B {words}"
        for key, words in (
            ("bytes_per_event", "an event"), ("evidence_bytes_per_event", "for its evidence"),
            ("bytes_per_result", "a result"),
        )
        if key in traffic
    ]  # fmt: skip
    return "; ".join([", ".join(parts), *(f"{its} wait ({why})" for its, why in _held(traffic))])


def _held(traffic: dict[str, Any]) -> list[tuple[str, str]]:
    """Reason by reason: the classes that wait for it."""
    found: dict[str, list[str]] = {}
    for name, why in traffic["held"].items():
        found.setdefault(why, []).append(name)
    return [(", ".join(names), why) for why, names in found.items()]


def _storage(storage: dict[str, Any]) -> str | None:
    if not storage:
        return None
    said = f"{render.size(storage['used_bytes'])} of {render.size(storage['max_bytes'])} used"
    said += f", {render.size(storage['written_today_bytes'])} written in 24 h"
    most = storage["max_written_per_day_bytes"]
    return f"{said} of {render.size(most)}" if most else said


def _outbox_line(outbox: dict[str, Any]) -> str:
    dropped = sum(outbox["dropped"].values())
    said = f"{outbox['produced']:,} produced = {outbox['delivered']:,} delivered"
    said += f" + {outbox['pending']:,} pending + {dropped:,} dropped"
    return f"{said} ({render.size(outbox['bytes'])})" if outbox.get("bytes") else said


def report(found: Report, everything: bool) -> None:
    """The doctor's findings: what is wrong, the worst first; or all, in the order of the checks."""
    marks = {"ok": "ok", "note": "note", "problem": "warn", "failed": "fail"}
    for its in found.findings if everything else found.problems():
        render.finding(marks[its.severity], its.check, its.what, its.how, its.remedy)
    wrong = len(found.problems())
    said = "nothing is wrong" if not wrong else f"{wrong} problem{'s' if wrong != 1 else ''}"
    notes = sum(its.severity == "note" for its in found.findings)
    more = f"; {notes} notes: --all" if notes and not everything else ""
    render.plain(f"\n{said} ({len(found.findings)} findings, {found.took_s:.1f} s{more})")


# --- the outbox ----------------------------------------------------------------------------


def account(report: VerifyReport) -> dict[str, Any]:
    """The account of an outbox whose agent does not run, in the form of `status`."""
    return {
        "epoch": report.epoch, "produced": report.produced, "delivered": report.delivered,
        "pending": report.pending, "dropped": report.dropped,
    }  # fmt: skip


def outbox(its: dict[str, Any]) -> None:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in its["dropped"].items())
    render.facts(
        [
            ("account", _outbox_line(its)),
            ("dropped", reasons or None),
            ("oldest", render.duration(its["oldest_pending_age_s"])
             if its.get("pending") and its.get("oldest_pending_age_s") else None),
            ("pictures", render.size(its["blob_bytes"]) if its.get("blob_bytes") else None),
            ("refused", its.get("dead_letters") or None),
            ("epoch", its["epoch"]),
        ]
    )  # fmt: skip


def records(found: Sequence[dict[str, Any]]) -> None:
    if not found:
        render.note("No such record is kept.")
        return
    render.table(
        (">SEQ", "AT", "KIND", "PIPELINE", "STATE", "WHAT"),
        [
            (its["seq"], str(its.get("at", ""))[11:23], its["kind"], its.get("pipeline", ""),
             its["state"], record_text(its))
            for its in found
        ],
    )  # fmt: skip


def verified(report: VerifyReport) -> None:
    dropped = sum(report.dropped.values())
    render.plain(
        f"{report.produced:,} produced = {report.delivered:,} delivered + "
        f"{report.pending:,} pending + {dropped:,} dropped"
    )
    for reason, count in report.dropped.items():
        render.plain(f"  {count:,} {reason}")
    if report.carrying:
        render.plain("Records of a former epoch are still being carried over.")
    for problem in report.problems:
        render.finding("fail", "", problem, "", "")
    said = "every number is accounted for" if report.ok else "the account does not close"
    render.plain(f"{said} (device {report.device}, epoch {report.epoch})")


# --- predictions -------------------------------------------------------------------------


def inference(rows: Sequence[dict[str, Any]]) -> None:
    several = any(row["sample"] for row in rows)
    columns = ("INPUT", *([">SAMPLE"] if several else []), "PREDICTIONS", ">MS")
    render.table(
        columns,
        [
            (row["input"], *([row["sample"]] if several else []),
             prediction_text(row["predictions"]), f"{sum(row['ms'].values()):.1f}")
            for row in rows
        ],
    )  # fmt: skip


def gallery(file: Path, labels: dict[str, int]) -> None:
    """How many vectors each name has."""
    render.table(("NAME", ">VECTORS"), list(labels.items()))
    render.note(f"{sum(labels.values())} vectors in {file}")


def skipped(bad: Sequence[EdgeAgentError]) -> None:
    """Inputs that could not be used, on standard error."""
    for problem in bad:
        render.error(problem, label="skipped")
