"""``edgeagent drill``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir

_LONGEST_S = 120.0
"""Silence of an agent that waits for its recovery."""


def drill(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="camera, broker, disk, heat, slow-model, update. [default: all]"),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1.0, max=60.0, help="How long each fault lasts.")
    ] = 5.0,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make faults on the running agent and see how it copes. Exit 1 if it does not.

    What is begun meanwhile carries "test": true, so that no siren goes off.
    """
    client = options.control(config, data_dir)
    client.timeout_s = _LONGEST_S + seconds
    told = client.result("drill", what=what or [], seconds=seconds)
    render.show(told, as_json, lambda: _view(told))
    raise typer.Exit(0 if told["passed"] else 1)


def _view(told: dict[str, Any]) -> None:
    render.table(
        ("DRILL", "NOTICED", "DEGRADED", "RECOVERED", "ACCOUNTED", "WHAT IT SAID"),
        [
            (its["drill"], _mark(its["noticed"], its["noticed_s"]), _mark(its["degraded"]),
             _mark(its["recovered"], its["recovered_s"]), _mark(its["accounted"]), its["said"])
            for its in told["drills"]
        ],
    )  # fmt: skip


def _mark(good: bool | None, seconds: float | None = None) -> str:
    if good is None:
        return "-"
    return ("ok" if good else "FAILED") + (f" {seconds:.1f} s" if good and seconds else "")
