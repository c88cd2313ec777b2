"""``edgeagent fleet simulate``: many devices, to try a rollout before it is for real."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli import render
from edgeagent.cli.bundle import bundled
from edgeagent.cli.reach import PlainBroker, seconds


@bundled
def simulate(
    count: Annotated[int, typer.Argument(metavar="N", min=1, max=20000, help="Devices.")],
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Their files; they go on from them.")
    ] = Path("simulation"),
    table: Annotated[
        Path | None, typer.Option("--table", metavar="FILE", help="Profiles and outcomes (TOML).")
    ] = None,
    packages: Annotated[
        str, typer.Option("--packages", metavar="DIR", help="Versions from here, unsigned.")
    ] = "",
    root: Annotated[
        str, typer.Option("--root", metavar="FILE", help="Versions from fleet serve, signed.")
    ] = "",
    processes: Annotated[int, typer.Option("--processes", min=1, max=64)] = 2,
    speed: Annotated[
        float, typer.Option("--speed", min=0.001, help="soak_s and shadow_s are so much shorter.")
    ] = 1.0,
    metrics: Annotated[str, typer.Option(metavar="TIME", help="Between metrics.")] = "60 s",
    broker: PlainBroker = PlainBroker(),
) -> None:
    """Devices that do everything but see: protocol, trust, deployments; until Ctrl-C."""
    from edgeagent.fleet.simulate.crowd import Crowd, Simulation
    from edgeagent.fleet.simulate.table import Table, load

    endpoint, *others = broker.link().endpoints
    crowd = Crowd(
        folder.absolute(),
        Simulation(
            count, endpoint, packages and str(Path(packages).absolute()),
            root and str(Path(root).absolute()), load(table) if table else Table(), broker.prefix,
            processes, speed, seconds("--metrics", metrics), tuple(others),
        ),
    )  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: crowd.stop())
    render.note(f"{count} devices in {processes} processes; their files: {folder}")
    crowd.run()
