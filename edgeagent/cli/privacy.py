"""``edgeagent privacy`` and ``edgeagent purge``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir

app = typer.Typer(help="What this device keeps of people, and who looked.", no_args_is_help=True)


@app.command()
def report(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write one page: .html, .md or .json."),
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """What is kept, how long, who can read it and where it goes: looked at on this device now.

    The running agent is asked; where none runs, its files are looked at.
    """
    from edgeagent.privacy import page

    told = options.from_agent(config, data_dir, "privacy-report")
    if told is None:
        told = _from_files(config, data_dir)
    if out is not None:
        _write(out, told)
        said = {"file": str(out), "stores": len(told["stores"])}
        render.show(said, as_json, lambda: render.plain(f"{out}: {said['stores']} stores"))
        return
    render.show(told, as_json, lambda: _view(page.head(told), page.sheets(told)))


def _from_files(config: Path | None, data_dir: Path | None) -> dict[str, Any]:
    from edgeagent.agent.privacy import report_from_files
    from edgeagent.device.identity import device_id

    loaded = options.load_config(config, data_dir)
    folder = options.data_folder(config, data_dir)
    told = report_from_files(folder, loaded, device_id(loaded.config.device.id))
    options.noted(options.control(config, data_dir), folder, "privacy-report")
    return told


def _write(out: Path, told: dict[str, Any]) -> None:
    """Raises UsageError: the kind of file is not known, or it can't be written."""
    import json

    from edgeagent.errors import UsageError, unwritable
    from edgeagent.privacy import page

    forms: dict[str, Callable[[dict[str, Any]], str]]
    forms = {".html": page.html, ".md": page.markdown, ".json": json.dumps}
    make = forms.get(out.suffix)
    if make is None:
        raise UsageError(f"--out {out}: expected a name that ends in .html, .md or .json")
    try:
        out.write_text(make(told), encoding="utf-8")
    except OSError as error:
        raise unwritable(out, error) from error


def _view(head: Any, sheets: Any) -> None:
    render.facts(head)
    for sheet in sheets:
        render.blank()
        render.text(sheet.title)
        if sheet.rows:
            render.table(sheet.columns, sheet.rows)
        for said in sheet.notes:
            render.plain(f"  {said}")


@app.command()
def log(
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many.")] = 50,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Who was shown pictures or what is kept, when; the newest last. With --json one a line."""
    from collections import deque

    from edgeagent.privacy import page
    from edgeagent.store import looks

    lines = deque(looks.read(options.data_folder(config, data_dir)), last)
    for line in lines if as_json else ():
        render.json_line(line)
    if not as_json and not lines:
        render.plain("Nobody has looked yet.")
    elif not as_json:
        render.table(("at", "what", "by", "detail"), [page.look(its) for its in lines])


def purge(
    before: Annotated[
        str, typer.Option("--before", metavar="TIME|AGE", help='"30 d", or RFC 3339.')
    ],
    store: Annotated[
        list[str] | None,
        typer.Option(
            "--store",
            help="records, evidence, decisions, pool, crashes, looks; several. "
            "[default: all but looks]",
        ),
    ] = None,
    undelivered: Annotated[
        bool, typer.Option("--undelivered", help="Also what nobody has got yet; gaps tell of it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Erase what is older, beyond recovery from the files. Pictures and records alike.

    Times that no trusted clock has written count as older.
    """
    asked = {"before": before, "stores": store or [], "undelivered": undelivered,
             "dry_run": dry_run}  # fmt: skip
    done = _purged(asked, config, data_dir)
    render.show(done, as_json, lambda: _gone(done))


def _purged(asked: dict[str, Any], config: Path | None, data_dir: Path | None) -> dict[str, Any]:
    """By the running agent, else on the files. Raises UsageError, StoreError, NotPermitted."""
    import os

    from edgeagent.agent.privacy import purge_files
    from edgeagent.device.identity import device_id
    from edgeagent.errors import Unavailable
    from edgeagent.sync.command_types import Purge

    client = options.control(config, data_dir)
    client.timeout_s = 600.0
    try:
        answer: dict[str, Any] = client.result("purge", **asked)
        return answer
    except Unavailable as problem:
        render.note(f"On the files, since {problem}.")
    os.umask(0o027)  # as the agent's: its files are for its group at most
    loaded = options.load_config(config, data_dir)
    folder = options.data_folder(config, data_dir)
    options.noted(client, folder, "purge", **{key: str(its) for key, its in asked.items() if its})
    device = device_id(loaded.config.device.id)
    return purge_files(folder, loaded, device, Purge(**asked))


def _gone(done: dict[str, Any]) -> None:
    its = done["outbox"]
    rows = [
        ("records", its["records"], f"{its['undelivered']} of them undelivered"),
        ("evidence", its["evidence"], f"{render.size(its['evidence_bytes'])}, {its['unsent']} of "
         "them unsent"),
        ("refused records", its["dead_letters"], ""),
        ("answers of commands", done["answers"], ""),
        *((name, count, "") for name, count in done["others"].items()),
    ]  # fmt: skip
    render.plain("This would go:" if done["dry"] else "This is gone:")
    render.table(("what", ">count", ""), rows)
    if its["kept"] or its["evidence_kept"]:
        render.plain(f"{its['kept']:,} records and {its['evidence_kept']:,} pieces of evidence are "
                     "old enough and stay: nobody has got them yet (--undelivered).")  # fmt: skip
