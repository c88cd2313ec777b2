"""Commands that only a running agent can do, given at the device: the twins of MQTT's.

They go over the control socket into the same journal and the same code as those by MQTT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.asked import write_picture_of
from edgeagent.cli.options import AsJson, ConfigFile, DataDir

pipeline = typer.Typer(help="Start, stop or pause a pipeline.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="As the configuration names it.")]


def ping(config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Ask the running agent for its times (exit 69 if none runs)."""
    answer = options.control(config, data_dir).result("ping")
    facts = [("at", answer["at"]), ("clock", answer["clock"]), ("boot", answer["boot"])]
    up = render.duration(answer["mono_ms"] / 1000)
    render.show(answer, as_json, lambda: render.facts([*facts, ("up for", up)]))


def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=5000, help="How many.")] = 200,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """The last lines of the running agent's log; of earlier runs: journalctl -u edgeagent."""
    answer = options.control(config, data_dir).result("logs", lines=lines)
    render.show(answer, as_json, lambda: render.text("\n".join(answer["lines"])))


def cancel(
    target: Annotated[str, typer.Argument(metavar="ID", help="Of the command that is to end.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """End a command that waits or is being done."""
    answer = options.control(config, data_dir).result("cancel", target=target)
    render.show(answer, as_json, lambda: render.plain(f"{target} was {answer['was']}"))


def restart(config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Let the running agent end in good order and begin again, with its configuration as it is."""
    answer = options.control(config, data_dir).result("restart")
    render.show(answer, as_json, lambda: render.plain("it begins again"))


def capture(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="As the configuration names it.")],
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=60, help="How long it is looked at.")
    ] = 3.0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the picture goes.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """A picture of a running source, redacted as its pipelines want it, and its figures."""
    answer = options.control(config, data_dir).result("capture", source=source, seconds=seconds)
    write_picture_of(answer, out)
    shown = {name: value for name, value in answer.items() if not isinstance(value, (dict, list))}
    render.show(answer, as_json, lambda: render.facts(shown.items()))


@pipeline.command()
def start(
    name: Name, config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Go on with a pipeline that was stopped or paused."""
    _pipeline(options.control(config, data_dir), name, "start", as_json)


@pipeline.command()
def stop(
    name: Name, config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Let a pipeline rest until it is started, or the agent is."""
    _pipeline(options.control(config, data_dir), name, "stop", as_json)


@pipeline.command()
def pause(
    name: Name, config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """As stop; the model stays open."""
    _pipeline(options.control(config, data_dir), name, "pause", as_json)


def _pipeline(client: Any, name: str, action: str, as_json: bool) -> None:
    answer = client.result("pipeline", name=name, action=action)
    render.show(answer, as_json, lambda: render.plain(f"{name}: {answer['state']}"))
