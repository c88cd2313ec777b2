"""``edgeagent models optimize``: smaller and faster variants of a float model, judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import UsageError

if TYPE_CHECKING:
    from edgeagent.prove.optimize.kinds import Kind
    from edgeagent.prove.optimize.variants import Judged, Optimized


def optimize(
    model: Annotated[str, typer.Argument(help="Name, name@version, or a package's folder.")],
    samples: Annotated[
        list[Path] | None,
        typer.Option(
            "--samples",
            metavar="FILE|DIR",
            help="Calibrate with these, about 100 [default: the labelled ones, else golden].",
        ),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For accuracy: a folder of samples for each label."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="dynamic, int8, int16x8 or fp16; may be repeated [default: all]."),
    ] = None,
    loss: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracy that a variant may lose.")
    ] = 0.02,
    version: Annotated[str, typer.Option(help="Of the new package [default: next patch].")] = "",
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="Folder of packages to make it in.")
    ] = Path("models"),
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a report with pictures there.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make int8, int16 and half-precision variants of a float model; for a workstation.

    Each is timed beside the float model, compared with it, and counted on labelled samples. Those
    that are good enough become a new version of the package; `edgeagent tune` then picks the best
    on each device. Needs pip install "edgeagent[optimize]". Exit 1 if none is good enough.
    """
    import msgspec

    from edgeagent.prove.bench.labelled import labelled_files
    from edgeagent.prove.golden import sample_files
    from edgeagent.prove.optimize.variants import Wish
    from edgeagent.prove.optimize.variants import optimize as make

    package = options.library(config, data_dir).find(model)
    sorted_ = labelled_files(labelled) if labelled else {}
    files = options.sample_files(samples or []) or [its for one in sorted_.values() for its in one]
    wish = Wish(_kinds(kind or []), files or sample_files(package), sorted_, loss, version)
    with render.line() as draw:
        made = make(package, into, wish, draw or (lambda _doing: None))
    if report is not None:
        from edgeagent.cli.optimize_report import write_report

        write_report(made, report)
    render.show(msgspec.to_builtins(made), as_json, lambda: _show(made, report))
    raise typer.Exit(0 if any(its.written for its in made.variants[1:]) else 1)


def _kinds(names: list[str]) -> list[Kind]:
    from edgeagent.config.words import did_you_mean
    from edgeagent.prove.optimize.kinds import BY_NAME, KINDS

    for name in names:
        if name not in BY_NAME:
            raise UsageError(f"--kind {name}: unknown", remedy=did_you_mean(name, BY_NAME))
    return [BY_NAME[name] for name in names] or list(KINDS)


def _show(made: Optimized, report: Path | None) -> None:
    for note in made.notes:
        render.note(note)
    render.table(
        ["variant", ">size", ">ms", f">{made.measured_by}", "int8", "front", "in the package"],
        [_row(its) for its in made.variants],
    )
    render.plain(f"{made.package}: {made.folder}")
    if report is not None:
        render.plain(f"Report: {report}")
    if any(its.written for its in made.variants[1:]):
        render.note(f"On a device: edgeagent tune {made.package.partition('@')[0]}")


def _row(its: Judged) -> list[object]:
    quality = its.quality
    return [
        its.file, render.size(its.bytes) if its.bytes else None, its.ms,
        f"{quality:.1%}" if quality is not None else None,
        its.kept.sentence() if its.kept else None, "*" if its.front else "",
        "yes" if its.written else f"no: {its.why}",
    ]  # fmt: skip
