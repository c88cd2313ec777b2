"""``edgeagent crashes``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir


def crashes(
    number: Annotated[
        str, typer.Argument(metavar="[ID]", help="One report, whole; else a list of all.")
    ] = "",
    forget: Annotated[bool, typer.Option("--forget", help="Delete it, or all of them.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """What has crashed: the agent, a camera's decoder, a thread. Exit 1 if anything has."""
    from edgeagent import crashes as kept

    folder = options.data_folder(config, data_dir)
    found = _chosen(kept.read(folder), number)
    if forget:
        gone = kept.purge(folder, lambda its: its["id"] in {each["id"] for each in found})
        render.show({"forgotten": gone}, as_json, lambda: render.plain(f"{gone} forgotten"))
        return
    render.show(found, as_json, lambda: _whole(found[0]) if number else _list(found))
    raise typer.Exit(1 if found else 0)


def _chosen(found: list[dict[str, Any]], number: str) -> list[dict[str, Any]]:
    """Raises NotFound."""
    from edgeagent.errors import NotFound

    chosen = [its for its in found if number in ("", its["id"], its["id"].lstrip("0"))]
    if number and not chosen:
        known = ", ".join(its["id"] for its in found) or "none"
        raise NotFound(f"there is no report {number!r}; there are: {known}")
    return chosen


def _list(found: list[dict[str, Any]]) -> None:
    if not found:
        render.plain("Nothing has crashed.")
        return
    render.table(
        ("id", "at", "who", ">times", "why"),
        [(its["id"], its.get("at", "")[:19].replace("T", " "), its.get("who", ""),
          its.get("times", 1), its.get("reason", "")) for its in found],
    )  # fmt: skip
    render.plain("The whole of one: edgeagent crashes ID. For whoever helps: support-bundle.")


def _whole(its: dict[str, Any]) -> None:
    shown = ("at", "clock", "began", "what", "who", "reason", "times", "version", "config", "told")
    render.facts((name, its.get(name)) for name in shown)
    for title, text in (("stack", its.get("stack", "")), ("last", "\n".join(its.get("last", ())))):
        if text.strip():
            render.blank()
            render.text(f"{title}:")
            render.text("\n".join(f"  {line}" for line in text.splitlines()))
