"""How a device and its sources are laid out for people; what prints is `render`."""

from __future__ import annotations

from typing import Any

from edgeagent.cli import render
from edgeagent.plugins import to_install


def devices(data: dict[str, Any]) -> None:
    warm = data["temperature"]
    memory = data["memory_bytes"]
    render.facts(
        [
            ("board", f"{data['title']} (profile {data['profile']})"),
            ("because", "; ".join(data["evidence"])),
            ("processor", f"{data['arch']}, {data['cores']} cores usable"),
            ("memory", render.size(memory) if memory else "unknown"),
            ("temperature", f"{warm[1]:.0f} °C ({warm[0]})" if warm else "unknown"),
            ("runtimes", [f"{name} {version}" for name, version in data["runtimes"].items()]
             or f"none: {to_install('litert')}"),
            ("accelerators", [its["kind"] for its in data["accelerators"] if its["present"]]
             or "none"),
        ]
    )  # fmt: skip
    if "explained" in data:
        _explained(data["explained"])
    render.blank()
    _attached(data["attached"])


def _attached(attached: list[dict[str, Any]]) -> None:
    if not attached:
        render.plain("No camera, microphone, serial line or sensor is attached.")
        return
    rows = [(its["kind"], its["path"], its["name"], _about(its)) for its in attached]
    render.table(("KIND", "DEVICE", "NAME", "ABOUT"), rows)
    if not all(its["verified"] for its in attached):
        render.note("Cameras (V4L2) were not tried on real hardware by the makers of this version.")
    render.note("See one at work: edgeagent devices try DEVICE")
    render.note("Use it:          edgeagent devices add DEVICE")


def _about(its: dict[str, Any]) -> str:
    used = f"used by {', '.join(its['used_by'])}" if its["used_by"] else ""
    return "; ".join(part for part in (its["detail"], used) if part)


def tried(report: dict[str, Any]) -> None:
    """A source at work."""
    from edgeagent.cli import trying

    render.facts(trying.shown(report))
    rows = trying.values(report)
    if rows:
        render.blank()
        render.table(("CHANNEL", ">VALUE", "UNIT", ">LEAST", ">MOST", "LATELY"), rows)
    if "picture" in report:
        render.note(f"Saved to {report['picture']}.")
    for line in report.get("heard", ())[:3]:
        render.note(f"heard: {line}")


def added(data: dict[str, Any], watched: bool) -> None:
    """What was added, or would be."""
    render.text(data["toml"])
    if data["file"] is None:
        return
    render.note(f"Written to {data['file']}.")
    render.note(f"See it at work: edgeagent devices try {data['source']}")
    if not watched:
        render.note("No pipeline reads it yet: add one, or give --model.")
    render.note("A running agent takes it up when it is started anew.")


def _explained(its: dict[str, Any]) -> None:
    said = [("model", its["model"]), ("product", its["product"]), ("CPU", its["cpu"]),
            ("compatible", ", ".join(its["compatible"]))]  # fmt: skip
    sets = ", ".join(f"{key} = {value}" for key, value in its["sets"].items() if key)
    render.blank()
    render.facts(
        [
            ("it says", "; ".join(f"{name}: {text}" for name, text in said if text) or "nothing"),
            ("profile", "tried on this board" if its["verified"] else "written from documents"),
            ("it sets", sets or "nothing"),
        ]
    )
