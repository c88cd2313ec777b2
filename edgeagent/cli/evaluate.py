"""``edgeagent eval``: how good a model is on labelled data, and whether another one is better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.batch import crew_size, progress_line
from edgeagent.cli.options import AsJson, ConfigFile, DataDir, VariantName, Workers
from edgeagent.errors import unwritable

if TYPE_CHECKING:
    from edgeagent.evaluate.assess import Assessment
    from edgeagent.manifest import Package

_SHOWN = 20


def evaluate(
    model: Annotated[str, typer.Argument(help="Name, name@version, or a package's folder.")],
    data: Annotated[
        Path, typer.Argument(help="A folder with a folder for each label, COCO .json, or .csv.")
    ],
    against: Annotated[
        str, typer.Option("--against", metavar="MODEL", help="Is MODEL better than this one?")
    ] = "",
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML report.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the files of COCO or CSV lie.")
    ] = None,
    slices: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="What is known of the files: file, and any columns."),
    ] = None,
    precision: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of answers that must be right, "
                            "for the threshold that is suggested.")
    ] = 0.95,
    variant: VariantName = "",
    workers: Workers = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Measure a model on labelled data: accuracy, average precision, calibration, thresholds.
    Exit 1 if inputs could not be used, or --against MODEL is worse beyond chance."""
    from edgeagent.evaluate.assess import compare, fitting
    from edgeagent.evaluate.data import add_slices, read_data

    library = options.library(config, data_dir)
    packages = [library.find(name) for name in (model, against) if name]
    known = read_data(data, packages[0].manifest.task, images=images)
    if slices is not None:
        add_slices(known, slices)
    for package in packages:
        fitting(package, known)
    size = workers or crew_size(len(known.cases), *packages)
    judge = _Judge(known, precision, variant, size, as_json)
    found = [judge(package) for package in packages]
    compared = compare(*found) if against else None
    if report is not None:
        _write(report, packages[-1], found[-1], compared)
    plain = found[0].result.plain()
    if compared is not None:
        plain |= {"against": found[1].result.plain(), "compared": compared}
    render.show(plain, as_json, lambda: _show(found, compared))
    worse = compared is not None and compared["verdict"] == "worse"
    raise typer.Exit(1 if worse or found[0].result.skipped else 0)


class _Judge:
    """Assesses one model after the other on the same data."""

    def __init__(
        self, data: Any, precision: float, variant: str, workers: int, quiet: bool
    ) -> None:
        self._data = data
        self._precision = precision
        self._variant = variant
        self._workers = workers
        self._quiet = quiet

    def __call__(self, package: Package) -> Assessment:
        from edgeagent.batch.crew import LocalCrew
        from edgeagent.evaluate.assess import assess

        name = f"{package.name}@{package.version}"
        with progress_line(name, self._quiet) as tell:
            return assess(
                package, self._data, lambda order: LocalCrew(order, self._workers),
                precision=self._precision, variant=self._variant, tell=tell,
            )  # fmt: skip


def _write(
    file: Path, package: Package, found: Assessment, compared: dict[str, Any] | None
) -> None:
    from edgeagent.evaluate.report import page

    try:
        file.write_text(page(package, found, compared), encoding="utf-8")
    except OSError as error:
        raise unwritable(file, error) from error
    render.note(f"Report: {file}")


def _show(found: list[Assessment], compared: dict[str, Any] | None) -> None:
    from edgeagent.evaluate.report.page import NAMES, advice, sentence

    metrics = [its.result.sections["metrics"] for its in found]
    rows = [
        (NAMES.get(name, name.replace("_", " ")), *(its.get(name) for its in metrics))
        for name in metrics[0]
        if NAMES.get(name, name) and any(its.get(name) is not None for its in metrics)
    ]
    render.table(["", *(f">{its.result.model}" for its in found)], rows)
    _classes(found[-1])
    for its in found:
        for note in its.result.notes:
            render.note(f"{note}.")
        for skipped in its.result.skipped[:_SHOWN]:
            render.note(f"skipped: {skipped['reason']}")
    last = found[-1].result
    for its in last.sections.get("slices", []):
        if its.get("worse"):
            render.plain(f"Worse than the rest beyond chance: {its['slice']} {its['value']} "
                         f"({its['accuracy']:.3f} of {its['count']:,})")  # fmt: skip
    said = advice(last.task, last.sections)
    if said:
        render.plain(said)
    if compared is not None:
        render.plain(sentence(compared))


def _classes(its: Assessment) -> None:
    rows = its.result.sections.get("classes", [])
    if not rows:
        return
    names = [name for name in rows[0] if name != "curve"]
    render.blank()
    render.table(
        [names[0], *(f">{name.replace('_', ' ')}" for name in names[1:])],
        [[row[name] for name in names] for row in rows[:_SHOWN]],
    )
