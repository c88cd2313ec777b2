"""``edgeagent devices``: list, try, add, learn."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import device_views, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir

if TYPE_CHECKING:
    from edgeagent.device.profile import Board, Match

app = typer.Typer(help="This board and what is attached to it.", invoke_without_command=True)

Explain = Annotated[
    bool, typer.Option("--explain", help="Which profile matched, why, and what it sets.")
]


Device = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A source of the configuration, a device (see list), a URL or a file.",
    ),
]
Baud = Annotated[
    int | None, typer.Option("--baud", help="Speed of a serial line; found out without it.")
]


@app.callback()
def devices(
    context: typer.Context,
    explain: Explain = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """This board, its runtimes and accelerators, and what is attached to it: as `list`."""
    context.obj = (explain, as_json)
    if context.invoked_subcommand is None:
        _show(explain, as_json, config, data_dir)


@app.command("list")
def list_(
    context: typer.Context,
    explain: Explain = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """This board, its runtimes and accelerators, and what is attached to it. What the running
    agent has open is told by it."""
    earlier = context.obj
    _show(explain or earlier[0], as_json or earlier[1], config, data_dir)


@app.command("try")
def try_(
    source: Device,
    seconds: Annotated[
        float, typer.Option("--seconds", "-s", min=0.5, max=60, help="How long to look.")
    ] = 5.0,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write its picture (JPEG), redacted as said."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Draw its picture in the terminal.")] = False,
    baud: Baud = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """See a source at work: rate, jitter, values, a picture (exit 69: it gives nothing).

    Where the running agent has it open, the agent is asked.
    """
    from edgeagent.cli import options, trying, wizard

    loaded = trying.loaded_or_none(config, data_dir)
    name, its, lines = trying.resolve(source, loaded, baud)
    pictured = show or save is not None
    report = trying.by_agent(config, data_dir, name, seconds, pictured)
    if report is None:
        folder = options.data_folder(config, data_dir)
        with render.line() as draw:
            report = trying.alone(loaded, folder, name, its, seconds, pictured, trying.teller(draw))
    if show:
        wizard.draw(report)
    report = trying.finished(report, its, lines, save)
    render.show(report, as_json, lambda: device_views.tried(report))
    trying.something_came(report)


@app.command()
def add(
    device: Device,
    name: Annotated[str, typer.Option("--name", help="Of the source; empty = one that fits.")] = "",
    model: Annotated[
        str, typer.Option("--model", help="Add a pipeline as well, with this model.")
    ] = "",
    pipeline: Annotated[str, typer.Option("--pipeline", help="Its name; empty = NAME.")] = "",
    fps: Annotated[float | None, typer.Option("--fps", help="Samples per second.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Readings per second.")] = None,
    baud: Baud = None,
    form: Annotated[
        str | None, typer.Option("--format", help="Of a serial line: text, csv, json, nmea.")
    ] = None,
    only_print: Annotated[bool, typer.Option("--print", help="Print it, write nothing.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Add a device to the configuration, as a file in conf.d; checked before it is kept."""
    from edgeagent.cli import adding

    wished = {"fps": fps, "rate_hz": rate, "baud": baud, "format": form}
    given = {key: value for key, value in wished.items() if value is not None}
    table, lines = adding.table_for(device, given)
    name = adding.name_for(table, name, config, data_dir)
    text = adding.stanza(name, table, model, pipeline)
    file = None if only_print else adding.keep(text, name, config, data_dir)
    data = {"source": name, "table": table, "toml": text, "file": str(file) if file else None,
            "heard": list(lines)}  # fmt: skip
    render.show(data, as_json, lambda: device_views.added(data, bool(model)))


@app.command()
def learn(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A camera of the configuration.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Have what a camera usually sees learned anew, after it was turned or cleaned. A running agent
    begins within half a minute, one that is started at once."""
    from edgeagent.cli import options
    from edgeagent.config.paths import view_file
    from edgeagent.errors import NotFound, unwritable

    known = options.load_config(config, data_dir).config.sources
    if source not in known:
        raise NotFound(
            f"there is no source {source!r}; the configuration has: {', '.join(known) or 'none'}"
        )
    file = view_file(options.data_folder(config, data_dir), source)
    there = file.exists()
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(file, error) from error
    said = "is forgotten and will be learned anew" if there else "was not learned yet"
    render.show(
        {"source": source, "forgotten": there}, as_json,
        lambda: render.text(f"The view of {source} {said}."),
    )  # fmt: skip


def _show(explain: bool, as_json: bool, config: Path | None, folder: Path | None) -> None:
    from edgeagent.cli.attached import attached
    from edgeagent.cli.trying import told_by_agent
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
        "attached": [asdict(its) for its in told_by_agent(attached(), config, folder)],
    }
    if explain:
        data["explained"] = _explained(board, match)
    render.show(data, as_json, lambda: device_views.devices(data))


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
