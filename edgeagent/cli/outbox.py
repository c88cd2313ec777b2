"""``edgeagent outbox``: stats, peek, verify; on the files, whether an agent runs or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from edgeagent.cli import options, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import Unavailable, UsageError

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
