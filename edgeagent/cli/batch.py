"""``edgeagent batch``: a model over many files, on all cores, from where it was interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir, VariantName, Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeagent.batch.cluster import DaskCrew
    from edgeagent.batch.crew import LocalCrew
    from edgeagent.batch.order import Job, Order
    from edgeagent.batch.run import Progress, Summary
    from edgeagent.manifest import Package

_AGAIN = 75
_LINE_S = 30.0
"""Where there is no terminal, a line says how far it is so often."""
_LISTED = 20


def batch(
    model: Annotated[str, typer.Argument(help="Name, name@version, or a package's folder.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, video, WAV, CSV, JSON lines; folders with all below them, globs, "
            "lists (@FILE, or @- for standard input)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The result.")],
    format_: Annotated[
        str,
        typer.Option("--format", metavar="NAME",
                     help="jsonl, csv, parquet or coco [default: by the ending of --out]."),
    ] = "",
    threshold: Annotated[
        float | None, typer.Option(min=0.0, help="In place of the model's own.")
    ] = None,
    variant: VariantName = "",
    workers: Workers = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each [default: so that cores are used].")
    ] = None,
    dask: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Work on this Dask cluster (tcp://HOST:PORT).")
    ] = "",
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what an interrupted run has done.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="FILE may be there already.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Run a model over many files. Interrupted (Ctrl-C, kill, power), the same command goes on
    where it was. Nothing is redacted. Exit 1 if inputs had to be skipped, 75 if interrupted."""
    from edgeagent.batch.formats import format_of, open_format
    from edgeagent.batch.order import Job, order_for
    from edgeagent.batch.run import run
    from edgeagent.cli.inputs import find_all

    package = options.library(config, data_dir).find(model)
    writer = open_format(format_of(format_, out.suffix), package)
    # A result that was written among the inputs is none of them.
    files = [path for path in find_all(inputs) if path.resolve() != out.resolve()]
    jobs = [Job(number, str(path.resolve()), str(path)) for number, path in enumerate(files)]
    size = workers or crew_size(len(jobs), package)
    order = order_for(package, variant=variant, threshold=threshold,
                      threads=threads or max(1, _cores() // size))  # fmt: skip
    with _crew(order, size, dask, jobs) as crew, progress_line(order.model, as_json) as tell:
        try:
            done = run(order, jobs, crew, out, writer, tell=tell, restart=restart, replace=replace)
        except KeyboardInterrupt:
            render.note(f"Interrupted. The same command goes on from {out}.part.")
            raise typer.Exit(_AGAIN) from None
    render.show(_plain(done), as_json, lambda: _show(done))
    raise typer.Exit(1 if done.skipped else 0)


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def crew_size(inputs: int, *packages: Package) -> int:
    """Workers for so many inputs: one for each core, as far as memory suffices."""
    from edgeagent.batch.crew import most_workers

    largest = max(
        (package.path(its.file) for package in packages for its in package.manifest.variant),
        key=lambda file: file.stat().st_size if file.exists() else 0,
    )
    fit = most_workers(largest)
    if fit < min(_cores(), inputs):
        render.note(f"{fit} of {_cores()} cores: memory for more workers is short.")
    return max(1, min(_cores(), inputs, fit))


def _crew(order: Order, size: int, dask: str, jobs: list[Job]) -> LocalCrew | DaskCrew:
    if dask:
        from edgeagent.batch.cluster import DaskCrew

        there = (job.path for job in jobs if os.access(job.path, os.R_OK))
        return DaskCrew(order, dask, next(there, ""))
    from edgeagent.batch.crew import LocalCrew

    return LocalCrew(order, size)


@contextmanager
def progress_line(label: str, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Draws how far it is; where there is no terminal, a line now and then."""
    if quiet:
        yield lambda _progress: None
        return
    with render.line() as draw:
        last = time.monotonic()

        def tell(its: Progress) -> None:
            nonlocal last
            said = f"{label}: {_progress(its)}"
            if draw is not None:
                draw(said)
            elif time.monotonic() - last >= _LINE_S:
                last = time.monotonic()
                render.note(said)

        yield tell


def _progress(its: Progress) -> str:
    parts = [f"{its.done:,} of {its.total:,} inputs"]
    if its.samples_per_s:
        parts.append(f"{its.samples_per_s:,.0f} samples/s")
    if its.left_s is not None and its.done < its.total:
        parts.append(f"{render.duration(its.left_s)} left")
    if its.skipped:
        parts.append(f"{its.skipped:,} skipped")
    return " · ".join(parts)


def _plain(done: Summary) -> Any:
    import msgspec

    return msgspec.to_builtins(done)


def _show(done: Summary) -> None:
    for its in done.skipped[:_LISTED]:
        said = its.reason if its.input in its.reason else f"{its.input}: {its.reason}"
        render.note(f"skipped: {said}")
    if len(done.skipped) > _LISTED:
        render.note(f"… and {len(done.skipped) - _LISTED:,} more; all with --json")
    render.facts([
        ("result", f"{done.out} ({render.size(done.bytes)})"),
        ("model", done.model),
        ("inputs", _inputs(done)),
        ("samples", done.samples),
        ("took", f"{render.duration(done.seconds)}, {done.samples_per_s:,.0f} samples/s"),
        ("ran on", f"{done.workers} workers: {done.receipt}" if done.receipt else ""),
    ])  # fmt: skip


def _inputs(done: Summary) -> str:
    said = f"{done.inputs:,}"
    if done.resumed:
        said += f", {done.resumed:,} of them done before"
    return said + (f", {len(done.skipped):,} skipped" if done.skipped else "")
