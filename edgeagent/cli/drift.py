"""``edgeagent drift``, and ``edgeagent models reference``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir

app = typer.Typer(
    help="Whether what pipelines see and say is still as usual.", no_args_is_help=True
)

_MOST = 12
"""Features of one pipeline that are shown."""


@app.command()
def show(
    pipeline: Annotated[
        str, typer.Argument(metavar="[PIPELINE]", help="One of them [default: all].")
    ] = "",
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """How far each feature is from what is usual (exit 1 if one has drifted)."""
    answer = options.control(config, data_dir).result("drift", pipeline=pipeline)
    render.show(answer, as_json, lambda: _view(answer["pipelines"]))
    drifted = any(its["state"] == "drift" for its in answer["pipelines"].values())
    raise typer.Exit(1 if drifted else 0)


@app.command()
def learn(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="As it is configured.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Forget what is usual for a pipeline and learn it anew, because it is right as it is now."""
    client = options.control(config, data_dir)
    answer = client.result("drift", action="learn", pipeline=pipeline)
    render.show(answer, as_json, lambda: _view(answer["pipelines"]))


def reference(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or folder of a package.")],
    samples: Annotated[
        list[Path],
        typer.Option("--samples", metavar="FILE|DIR", help="Data like that of the training."),
    ],
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write into a package what is usual for its model, so that devices find drift at once."""
    from msgspec import to_builtins

    from edgeagent.prove.usual import write_usual

    package = options.library(config, data_dir).find(model)
    files = options.sample_files(samples)
    with render.progress("samples:", len(files), quiet=as_json) as tell:
        made = write_usual(package, files, tell)
    data = to_builtins(made, enc_hook=str)
    render.show(data, as_json, lambda: _made(data))


def sentence(its: dict[str, Any]) -> str:
    """The state of one pipeline in words."""
    if its["state"] == "drift":
        return f"{its['reason']} (since {its['since']})"
    if its["state"] == "learning":
        return f"learns what is usual: {its['learned']:.0%}, {its['looks']:,} looks"
    whose = "the model's own data" if its["reference"] == "package" else "this device's first time"
    return f"as usual, by {its['looks']:,} looks of {whose}"


def _view(pipelines: dict[str, Any]) -> None:
    if not pipelines:
        render.plain("nobody looks for drift: no pipeline runs, or drift = false")
    for name, its in pipelines.items():
        render.text(f"{name}: {sentence(its)}")
        limits = its.get("limit", {})
        far = sorted(its.get("distance", {}).items(), key=lambda pair: -pair[1] / limits[pair[0]])
        if far:
            rows = [(feature, f"{d:.2f}", f"{limits[feature]:.2f}") for feature, d in far[:_MOST]]
            render.table(("FEATURE", ">DISTANCE", ">LIMIT"), rows)
        for one in its.get("changed", ()):
            render.text(f"  {_changed(one)}, n = {one['n']}")


def _changed(one: dict[str, Any]) -> str:
    """What a feature was and is: the values below which 5, 50 and 95 % lie, or a share."""
    if one["label"]:
        return f'"{one["label"]}": was {one["was"][0]:.0%} of the answers, is {one["now"][0]:.0%}'
    was, now = (", ".join(f"{value:.4g}" for value in one[key]) for key in ("was", "now"))
    return f"{one['feature']}: 5, 50, 95 % were below {was}, are below {now}"


def _made(made: dict[str, Any]) -> None:
    render.plain(f"{made['file']}: {made['samples']:,} samples, {made['bytes']:,} bytes")
    rows = [(name, *(f"{value:.4g}" for value in its)) for name, its in made["figures"].items()]
    render.table(("FEATURE", ">5 %", ">50 %", ">95 %"), rows)
    for line in made["skipped"][:_MOST]:
        render.note(line)
