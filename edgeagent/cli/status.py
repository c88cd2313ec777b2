"""``edgeagent status``."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import Unavailable

if TYPE_CHECKING:
    from edgeagent.serve.client import ControlClient

_WATCH_EVERY_S = 1.0


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """How the agent is: exit 0 healthy, 1 degraded, 69 not running."""
    client = options.control(config, data_dir)
    while watch:
        report = _report(client, as_json)
        render.page(report, as_json, partial(views.status, report))
        time.sleep(_WATCH_EVERY_S)
    report = _report(client, as_json)
    render.show(report, as_json, partial(views.status, report))
    raise typer.Exit(0 if healthy(report) else 1)


def _report(client: ControlClient, as_json: bool) -> dict[str, Any]:
    """The agent's report. That none runs is an answer as well, so --json prints it."""
    try:
        return client.status()
    except Unavailable as problem:
        if not as_json:
            raise
        render.json_line({"state": "not running", "detail": str(problem)})
        raise typer.Exit(problem.exit_code) from problem


def healthy(report: dict[str, Any]) -> bool:
    """Whether a status report says that nothing is wrong."""
    return bool(report.get("state") == "online")
