"""`devices add`: a source into a file of its own beside the configuration, checked before it is
kept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edgeagent.cli import meant, options, render, views
from edgeagent.durable import replace
from edgeagent.errors import ConfigError, UsageError


def stanza(name: str, table: dict[str, Any], model: str, pipeline: str) -> str:
    """The lines of a configuration for a source, and for a pipeline that reads it."""
    tables: dict[str, Any] = {"sources": {name: table}}
    if model:
        tables["pipelines"] = {pipeline or name: {"source": name, "model": model}}
    return views.toml(tables) + "\n"


def table_for(
    text: str, given: dict[str, Any], lines: tuple[str, ...] = ()
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The table of a device, with what it was heard to speak and what was given by hand.

    Raises NotFound, UsageError; of a serial line what opening it raises.
    """
    from edgeagent.cli.attached import attached

    table = meant.table_of(text, attached())
    if table["kind"] == "serial" and "format" not in given:
        table, lines = meant.heard(table, given.get("baud"))
    table = {**table, **{key: value for key, value in given.items() if value is not None}}
    meant.config_of(table, text)
    return table, lines


def name_for(table: dict[str, Any], wanted: str, config: Path | None, data: Path | None) -> str:
    """As wanted, or one that is free. Raises UsageError where it is taken."""
    known: list[str] = []
    if options.config_file(config).is_file():
        known = list(options.load_config(config, data).config.sources)
    if not wanted:
        return meant.new_name(table, known)
    if wanted in known:
        raise UsageError(
            f"the configuration has a source {wanted!r} already",
            remedy="Give another --name, or change that one.",
        )
    return wanted


def keep(text: str, name: str, config: Path | None, data: Path | None) -> Path:
    """Write ``conf.d/50-NAME.toml`` beside the configuration, which must be sound with it.

    Raises:
        ConfigError: it would not be; nothing is written.
        UsageError: there is no configuration, or such a file already.
        NotPermitted, StoreError: it can't be written.
    """
    main = options.config_file(config)
    if not main.is_file():
        raise UsageError(
            f"{main}: there is no configuration to add to",
            remedy="Name one with --config FILE, or take the lines with --print.",
        )
    file = main.parent / "conf.d" / f"50-{name}.toml"
    if file.exists():
        raise UsageError(f"{file}: is there already", remedy="Give another --name.")
    _check(text, file, main, data)
    replace(file, text.encode(), mode=0o640)
    return file


def _check(text: str, file: Path, main: Path, data: Path | None) -> None:
    """Load everything as it would be. Raises ConfigError with the faults."""
    from edgeagent.config.load import load

    folder = options.data_folder(main, data)
    with tempfile.TemporaryDirectory() as place:
        tried = Path(place) / file.name
        tried.write_text(text, encoding="utf-8")
        try:
            loaded = load([main, tried], data_dir=folder, **options.checks(folder))
        except ConfigError as problem:
            said = str(problem).replace(str(tried), str(file))
            raise ConfigError(f"nothing was written:\n{said}", remedy=problem.remedy) from problem
    for warning in loaded.warnings:
        if str(tried) in warning:
            render.note(warning.replace(str(tried), str(file)))
