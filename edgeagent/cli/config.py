"""``edgeagent config``: check, show, schema, diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli import options, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir, Settings

app = typer.Typer(help="Check, show and compare configurations.", no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="In place of --config.", readable=False),
]


@app.command()
def check(
    file: File = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    set_: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Find everything that is wrong, each with file, line, key and remedy (exit 78)."""
    from edgeagent.errors import ConfigError

    where = file or config
    try:
        loaded = options.load_config(where, data_dir, set_)
    except ConfigError as problem:
        if not as_json:
            raise
        render.json_line({"ok": False, "faults": views.faults(problem)})
        raise typer.Exit(problem.exit_code) from problem
    files = [str(its) for its in loaded.files]
    report = {"ok": True, "hash": loaded.hash, "files": files, "warnings": loaded.warnings}
    render.show(report, as_json, lambda: views.checked(loaded))


@app.command()
def show(
    file: File = None,
    origin: Annotated[bool, typer.Option("--origin", help="Where each value comes from.")] = False,
    key: Annotated[str, typer.Option(metavar="KEY", help="Only this: pipelines.door")] = "",
    config: ConfigFile = None,
    data_dir: DataDir = None,
    set_: Settings = None,
    as_json: AsJson = False,
) -> None:
    """The effective configuration, all layers merged, secrets left out: the running agent's,
    unless a file or a setting is named."""
    named = (file or config) is not None or bool(set_)
    asked = {"key": key, "origin": True}
    told = None if named else options.from_agent(config, data_dir, "config-get", **asked)
    if told is None:
        loaded = options.load_config(file or config, data_dir, set_)
        told = {"value": loaded.value(key), "origins": loaded.origins()}
    tables = told["value"]
    if not origin:
        shown = tables if isinstance(tables, dict) else {key.rpartition(".")[2]: tables}
        render.show(tables, as_json, lambda: render.text(views.toml(shown)))
        return
    rows = views.origins(tables, told["origins"], key)
    data = {name: {"value": value, "origin": place} for name, value, place in rows}
    render.show(data, as_json, lambda: views.keys(("KEY", "VALUE", "FROM"), rows))


@app.command()
def schema(as_json: AsJson = False) -> None:
    """JSON Schema of agent.toml, for editors; it is JSON with and without --json."""
    from edgeagent.config.schema import config_schema

    _ = as_json
    render.json_line(config_schema())


@app.command("diff")
def diff_(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", readable=False)],
    after: Annotated[Path | None, typer.Argument(metavar="[AFTER]", readable=False)] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """What two configurations differ in (AFTER: the one in use). Exit 1 if they do."""
    import msgspec

    from edgeagent.config.diff import changes, diff

    named = after or config
    earlier = options.load_config(before)
    told = None if named else options.from_agent(None, data_dir, "config-get")
    if told:
        found = changes(earlier.shown(), told["value"])
    else:
        found = diff(earlier.config, options.load_config(named, data_dir).config)
    rows = [(its.key, its.before, its.after) for its in found]
    data = msgspec.to_builtins(found)
    render.show(data, as_json, lambda: views.keys(("KEY", "BEFORE", "AFTER"), rows))
    raise typer.Exit(1 if found else 0)
