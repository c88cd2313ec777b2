"""``edgeagent devices``."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from edgeagent.cli import render, views
from edgeagent.cli.options import AsJson


def devices(as_json: AsJson = False) -> None:
    """This board, its runtimes and accelerators, and what is attached to it."""
    from edgeagent.cli.attached import attached, runtimes
    from edgeagent.device import health
    from edgeagent.device.profile import Board, detect

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
        "accelerators": [
            {"kind": its.kind, "present": its.node is None or board.has(its.node), "note": its.note}
            for its in match.profile.accelerator
        ],
        "attached": [asdict(its) for its in attached()],
    }
    render.show(data, as_json, lambda: views.devices(data))
