"""``edgeagent outbox``: on the files, whether an agent runs or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from edgeagent.serve.client import ControlClient
    from edgeagent.store.settle import Carried

app = typer.Typer(help="What waits to be sent, and the account of it.", no_args_is_help=True)


@app.command()
def stats(config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """How much was produced, delivered, is pending, was dropped and why."""

    from edgeagent.store.verify import verify as examine

    try:
        account = options.control(config, data_dir).status()["outbox"]
    except Unavailable:
        account = views.account(examine(options.data_folder(config, data_dir)))
    render.show(account, as_json, lambda: views.outbox(account))


@app.command()
def peek(
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many.")] = 10,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="event, result, gap …; several allowed.")
    ] = None,
    pipeline: Annotated[str, typer.Option(help="Of this pipeline only.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="RFC 3339, UTC.")] = "",
    state: Annotated[str, typer.Option(help="pending, or kept (delivered).")] = "",
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """The newest records, oldest of them first; with --json one a line."""
    from edgeagent.store.encode import KINDS
    from edgeagent.store.export import Filter
    from edgeagent.store.export import peek as look

    for its in kind or ():
        _known("--kind", its, KINDS)
    if state:
        _known("--state", state, ("pending", "kept"))
    chosen = Filter(frozenset(kind or ()), pipeline, _moment("--since", since), state=state)
    found = look(options.data_folder(config, data_dir), last, chosen)[::-1]
    for record in found if as_json else ():
        render.json_line(record)
    if not as_json:
        views.records(found)


@app.command()
def verify(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every record and page as well.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prove that produced = delivered + pending + dropped, number by number (exit 1 if not)."""
    from msgspec import to_builtins

    from edgeagent.store.verify import verify as examine

    report = examine(options.data_folder(config, data_dir), deep=deep)
    data = {**to_builtins(report), "ok": report.ok}
    render.show(data, as_json, lambda: views.verified(report))
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def export(
    form: Annotated[
        str, typer.Option("--format", metavar="jsonl|csv", help="How records are printed.")
    ] = "jsonl",
    carry: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write all that is pending, to be carried by hand."),
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Print all records; or write what is pending for `edgeagent fleet import`."""
    from edgeagent.store import export as taken

    _known("--format", form, ("jsonl", "csv"))
    folder = options.data_folder(config, data_dir)
    if carry is not None:
        files = taken.carry(folder, carry)
        found = {"folder": str(carry), "files": len(files)}
        render.show(found, as_json, lambda: render.facts(found.items()))
        return
    if form == "csv":
        for line in taken.csv_lines(folder):
            typer.echo(line, nl=False)
        return
    for line in taken.jsonl(folder):
        typer.echo(line)


@app.command()
def settle(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Confirms that were carried.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take confirms that were carried back (`edgeagent fleet import … --confirms DIR`)."""
    from edgeagent.store import settle as carried
    from edgeagent.store.verify import verify as verified

    data = options.data_folder(config, data_dir)
    device, epoch, _ = carried.whose(data)
    found = carried.find(folder, device, epoch)
    try:
        account = _by_agent(options.control(config, data_dir), found.confirms)
    except Unavailable:
        from edgeagent.agent.outbox import outbox_settings

        settings = outbox_settings(options.load_config(config, data_dir))
        carried.settle(data, found.confirms, settings)
        account = views.account(verified(data))
    told = {"confirms": len(found.confirms), "passed_over": found.passed_over, **account}
    render.show(told, as_json, lambda: views.outbox(account))
    raise typer.Exit(0 if found.confirms else 1)


def _by_agent(agent: ControlClient, confirms: Sequence[Carried]) -> dict[str, Any]:
    """Let the running agent take them; its account. Raises Unavailable where none runs."""
    account: dict[str, Any] = agent.status()["outbox"]
    for confirm in confirms:
        answer = agent.command("outbox", action="settle", confirm=confirm.to_dict())
        if answer["status"] != "successful":
            raise UsageError(str(answer.get("detail") or answer["status"]))
        account = answer["result"]
    return account


def _known(option: str, given: str, choices: Sequence[str]) -> None:
    """Raises UsageError for what is no choice."""
    if given not in choices:
        raise UsageError(f"{option} {given!r}: expected one of {', '.join(choices)}")


def _moment(option: str, given: str) -> str:
    """A time in the form in which records have it; nothing stays nothing. Raises UsageError."""
    from edgeagent import clock

    try:
        return clock.rfc3339(clock.parse_rfc3339(given)) if given else ""
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option} {given!r}: expected a time with zone such as 2026-01-31T06:00:00Z"
        ) from error
