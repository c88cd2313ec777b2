"""``edgeagent why``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir


def why(
    target: Annotated[
        str, typer.Argument(metavar="EVENT|PIPELINE", help="An event's id, or a silent pipeline.")
    ],
    since: Annotated[
        str, typer.Option(metavar="SPAN|TIME", help='"2h", "10:00" or RFC 3339. [default: 1h]')
    ] = "",
    label: Annotated[str, typer.Option(help="Only things of this name.")] = "",
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Explain an event, or why a pipeline has told none.

    The running agent is asked, which knows the last samples as well; where none runs, what it has
    left is read.
    """
    from edgeagent.errors import NotPermitted, Unavailable

    asked = {"target": target, "since": since, "label": label}
    client = options.control(config, data_dir)
    running: bool | None = None
    try:
        answer = client.result("why", **asked)
        render.note(f"Told by the running agent at {client.path.parent}.")
    except (Unavailable, NotPermitted) as problem:
        running = False if isinstance(problem, Unavailable) else None
        render.note(f"Read from the files: {problem}.")
        answer = _from_files(asked, config, data_dir, running)
    render.show(answer, as_json, lambda: _view(answer))


def _from_files(
    asked: dict[str, str], config: ConfigFile, data_dir: DataDir, running: bool | None
) -> Any:
    from edgeagent.agent.diagnosis import why_from_files
    from edgeagent.diagnose.why import Asked

    loaded = options.load_config(config, data_dir)
    folder = options.data_folder(config, data_dir)
    return why_from_files(Asked(**asked), loaded, folder, running=running)


def _view(answer: dict[str, Any]) -> None:
    render.text(answer["sentence"])
    for line in answer.get("lines") or ():
        render.text(f"  {line}")
    if answer.get("remedy"):
        render.text(f"→ {answer['remedy']}")
