"""``edgeagent doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import options, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir, Settings

if TYPE_CHECKING:
    from edgeagent.diagnose.context import Context
    from edgeagent.diagnose.finding import Report


def doctor(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also what is well, and notes.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Put right what can be put right without harm.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    set_: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Find what is wrong with this device and its configuration. Exit 1 if something is.

    The running agent looks by itself, as its own user; where none runs, or another configuration
    is named, or something is to be fixed, it is done here.
    """
    from edgeagent.diagnose.finding import Report

    named = config is not None or bool(set_) or fix
    told = None if named else options.from_agent(config, data_dir, "doctor")
    report = Report.from_dict(told) if told else look(config, data_dir, set_)
    if fix and mend(report):
        report = look(config, data_dir, set_)
    render.show(report.to_dict(), as_json, lambda: views.report(report, everything))
    raise typer.Exit(report.exit_code)


def mend(report: Report) -> bool:
    """Put right what can be, and say so on standard error; whether anything was done."""
    from edgeagent.diagnose.repair import repair

    anything = False
    for its in repair(report.problems()):
        said = "done" if its.done else f"not done: {its.said}"
        render.note(f"{its.finding.check}: {' '.join(its.program)}: {said}")
        anything |= its.done
    return anything


def look(config: Path | None, data_dir: Path | None, set_: list[str] | None) -> Report:
    """The checks, done in this process on the files."""
    from edgeagent.diagnose.doctor import run

    return run(context_here(config, data_dir, set_))


def context_here(config: Path | None, data_dir: Path | None, set_: list[str] | None) -> Context:
    """What checks that are done in this process look at."""
    from msgspec.structs import replace

    from edgeagent.agent.updates import permit_code
    from edgeagent.diagnose.context import context_of
    from edgeagent.update.library import Library, default_folders

    folder = options.data_folder(config, data_dir)
    agent = options.control(config, folder)
    context = context_of(
        options.config_file(config),
        data_dir=folder,
        flags=set_ or (),
        ask_agent=agent.status,
        test_link=agent.test_link,
        **options.checks(folder),
    )
    loaded = context.loaded
    permit_code(context.config, folder)
    # The very folders of the configuration that is looked at, as the agent would search them.
    library = Library(default_folders(folder, context.config.models.path))
    # What `--set` changes stands in no file, so it is not what the agent should run.
    written = (lambda: loaded.hash) if loaded and not set_ and not context.fault else None
    return replace(context, find_model=library.find, written=written)
