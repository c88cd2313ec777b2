"""``edgeagent setup``: a device gets its name, its broker and its camera."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli import render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir


def setup(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="An unattended file; without it: ask.")
    ] = None,
    boot: Annotated[
        bool,
        typer.Option("--boot", help="Take edgeagent-setup.toml of the boot partition, if any."),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Do not wipe the file afterwards.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Set this device up, from a file or by questions; checked as a whole before it is kept."""
    from edgeagent.cli import options, setting_up, wizard
    from edgeagent.errors import EdgeAgentError

    if boot:
        file = setting_up.on_boot_partition()
        if file is None:
            render.show(
                {"written": []}, as_json, lambda: render.text("There is nothing to set up.")
            )
            return
    place = setting_up.Setup(options.config_file(config).parent, data_dir)
    try:
        content = setting_up.read(file) if file is not None else wizard.asked(config, data_dir)
        written = place.apply(content)
    except EdgeAgentError as problem:
        if boot and file is not None:
            setting_up.complain(file, problem)
        raise
    if file is not None and not keep:
        setting_up.wipe(file)
    told = setting_up.reload()
    data = {"written": [str(its) for its in written], "next": told or setting_up.START}
    render.show(data, as_json, lambda: render.facts(data.items()))
    if told and file is None:
        _follow(config, data_dir)


def _follow(config: Path | None, data_dir: Path | None) -> None:
    """On a running service: from the first picture to the first record that was delivered."""
    from edgeagent.cli import options, wizard

    for sentence in wizard.followed(options.control(config, data_dir)):
        render.note(sentence)
