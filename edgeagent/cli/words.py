"""Things in a few words: predictions, records, the state of an agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def status_line(report: dict[str, Any]) -> str:
    """All of it in one line, for ``run``."""
    outbox = report["outbox"]
    rates = " ".join(
        f"{name} {its['fps']:.1f}/s {its['p50_ms']:.1f} ms"
        for name, its in report["pipelines"].items()
    )
    return (
        f"{report['state']} · link {report['link']['state']} · {rates or 'no pipelines'} · "
        f"{outbox['produced']:,} produced, {outbox['delivered']:,} delivered, "
        f"{outbox['pending']:,} waiting"
    )


def record_text(its: dict[str, Any]) -> str:
    """A record in a few words."""
    data = its.get("data") or {}
    if its["kind"] == "gap":
        count = its.get("count")
        number = "an unknown number" if count is None else f"{count:,}"
        return f"{number} lost: {its.get('reason')}"
    if its["kind"] == "event":
        picture = ", with picture" if its.get("blobs") else ""
        score = data.get("score", data.get("value", ""))
        second = _second(data)
        return f"{data.get('id')} {data.get('phase')} {data.get('label')} {score}{second}{picture}"
    if "predictions" in data or "alarming" in data:
        return prediction_text(data.get("predictions", [data]))
    return ", ".join(f"{key} {value}" for key, value in data.items() if not isinstance(value, dict))


def prediction_text(found: Sequence[dict[str, Any]]) -> str:
    """Predictions in a few words each."""
    return ", ".join(_one(its) for its in found) or "nothing"


def _one(its: dict[str, Any]) -> str:
    if "alarming" in its:
        verdict = "unlike the usual" if its["alarming"] else "usual"
        return f"{verdict}: {its['score']:.4g} (threshold {its['threshold']:.4g})"
    if "value" in its:
        return f"{its['name']} {its['value']:.4g}{' ' + its['unit'] if its.get('unit') else ''}"
    if "box" in its:
        box = " ".join(f"{side:.2f}" for side in its["box"])
        return f"{its['label']} {its['score']:.2f} [{box}]{_second(its)}"
    if "text" in its:
        return f"{its['text']!r} {its['score']:.2f}"
    if "label" in its:
        return f"{its['label']} {its['score']:.2f}"
    if "vector" in its:
        return f"vector of {len(its['vector'])}"
    return f"outputs {', '.join(its.get('outputs', {}))}"


def _second(its: dict[str, Any]) -> str:
    """What second models say about it."""
    return "".join(f" {name}: {_one(said)}" for name, said in its.get("refined", {}).items())
