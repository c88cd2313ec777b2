"""``edgeagent doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgeagent.cli import options, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir, Settings

if TYPE_CHECKING:
    from edgeagent.diagnose.finding import Report


def doctor(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    set_: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Find what is wrong with this device and its configuration. Exit 1 if something is.

    The running agent looks by itself, as its own user; where none runs, or another configuration
    is named, it is done here.
    """
    from edgeagent.diagnose.finding import Report

    named = config is not None or bool(set_)
    told = None if named else options.from_agent(config, data_dir, "doctor")
    report = Report.from_dict(told) if told else look(config, data_dir, set_)
    render.show(report.to_dict(), as_json, lambda: views.report(report))
    raise typer.Exit(report.exit_code)


def look(config: Path | None, data_dir: Path | None, set_: list[str] | None) -> Report:
    """The checks, done in this process on the files."""
    from msgspec.structs import replace

    from edgeagent.diagnose.context import context_of
    from edgeagent.diagnose.doctor import run
    from edgeagent.update.library import Library, default_folders

    folder = options.data_folder(config, data_dir)
    context = context_of(
        options.config_file(config),
        data_dir=folder,
        flags=set_ or (),
        ask_agent=options.control(config, folder).status,
        **options.checks(folder),
    )
    # The very folders of the configuration that is looked at, as the agent would search them.
    library = Library(default_folders(folder, context.config.models.path))
    return run(replace(context, find_model=library.find))
