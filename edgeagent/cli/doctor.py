"""``edgeagent doctor``."""

from __future__ import annotations

import typer

from edgeagent.cli import options, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir, Settings


def doctor(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    set_: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Find what is wrong with this device and its configuration. Exit 1 if something is."""
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
    report = run(replace(context, find_model=library.find))
    render.show(report.to_dict(), as_json, lambda: views.report(report))
    raise typer.Exit(report.exit_code)
