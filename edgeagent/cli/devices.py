"""``edgeagent devices``: list."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import render, views
from edgeagent.cli.options import AsJson

if TYPE_CHECKING:
    from edgeagent.device.profile import Board, Match

app = typer.Typer(help="This board and what is attached to it.", invoke_without_command=True)

Explain = Annotated[
    bool, typer.Option("--explain", help="Which profile matched, why, and what it sets.")
]


@app.callback()
def devices(context: typer.Context, explain: Explain = False, as_json: AsJson = False) -> None:
    """This board, its runtimes and accelerators, and what is attached to it: as `list`."""
    context.obj = (explain, as_json)
    if context.invoked_subcommand is None:
        _show(explain, as_json)


@app.command("list")
def list_(context: typer.Context, explain: Explain = False, as_json: AsJson = False) -> None:
    """This board, its runtimes and accelerators, and what is attached to it."""
    earlier = context.obj
    _show(explain or earlier[0], as_json or earlier[1])


def _show(explain: bool, as_json: bool) -> None:
    from edgeagent.cli.attached import attached
    from edgeagent.device import health
    from edgeagent.device.profile import Board, detect
    from edgeagent.infer.installed import runtimes

    board, match = Board(), detect()
    data = {
        "profile": match.profile.name,
        "title": match.profile.title,
        "evidence": list(match.evidence),
        "verified": match.profile.verified,
        "arch": board.architecture(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": health.memory().get("total"),
        "temperature": health.temperature(match.profile.thermal.zones),
        "disk_free_bytes": health.disk(Path.cwd()).free_bytes,
        "runtimes": runtimes(),
        "accelerators": _accelerators(board, match),
        "attached": [asdict(its) for its in attached()],
    }
    if explain:
        data["explained"] = _explained(board, match)
    render.show(data, as_json, lambda: views.devices(data))


def _accelerators(board: Board, match: Match) -> list[dict[str, Any]]:
    return [
        {"kind": its.kind, "present": its.node is None or board.has(its.node), "note": its.note}
        for its in match.profile.accelerator
    ]


def _explained(board: Board, match: Match) -> dict[str, Any]:
    """What the machine says of itself, on which the choice rests, and what the profile sets."""
    return {
        "model": board.model(),
        "compatible": board.compatible(),
        "product": " ".join(filter(None, map(board.dmi, ("sys_vendor", "product_name")))),
        "cpu": board.cpu(),
        "verified": match.profile.verified,
        "sets": views.flat(match.profile.config),
    }
