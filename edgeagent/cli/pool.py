"""``edgeagent pool``: on the files, whether an agent runs or not; sending needs the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir

if TYPE_CHECKING:
    from edgeagent.batch.labelset import Labelled, Report
    from edgeagent.store.pool import Pool, Pooled

app = typer.Typer(help="Samples that are worth a label.", no_args_is_help=True)

Pipeline = Annotated[str, typer.Option("--pipeline", help="Of this pipeline only.")]
Reason = Annotated[
    str, typer.Option("--reason", help="uncertain, disagreement, drift or random only.")
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="As pool ls shows them.")]


def _pool(config: Path | None, data_dir: Path | None) -> Pool:
    from edgeagent.store.pool import Pool

    return Pool(options.data_folder(config, data_dir), 0)


def _noted(config: Path | None, data_dir: Path | None, what: str, **detail: Any) -> None:
    """Samples are pictures: that they are looked at stands in `edgeagent privacy log`."""
    folder = options.data_folder(config, data_dir)
    options.noted(options.control(config, data_dir), folder, what, **detail)


@app.command()
def ls(
    pipeline: Pipeline = "",
    reason: Reason = "",
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """What is kept: the most useful first, what was sent last."""
    samples = _pool(config, data_dir).samples(pipeline, reason)
    samples.sort(key=lambda its: (its.sent, -its.useful, its.id))
    data = {"samples": [its.told() for its in samples], "bytes": sum(s.bytes for s in samples)}
    render.show(data, as_json, lambda: _list(samples))


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As pool ls shows it.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the sample itself there.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Everything about one sample: scores, model, frame, and why it was kept."""
    from edgeagent import durable
    from edgeagent.store.pool import read

    (its,) = _pool(config, data_dir).find([id_])
    meta, body = read(its)
    _noted(config, data_dir, "pool show", sample=id_)
    if out is not None:
        durable.replace(out, body)
    render.show(meta, as_json, lambda: _show(meta))


@app.command()
def rm(
    ids: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All that fit the options.")] = False,
    pipeline: Pipeline = "",
    reason: Reason = "",
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Forget samples: by their ids, or with --all."""
    from edgeagent.errors import UsageError

    if bool(ids) == everything:
        raise UsageError("pool rm takes either ids or --all", remedy="See: edgeagent pool ls")
    pool = _pool(config, data_dir)
    chosen = pool.find(ids) if ids else pool.samples(pipeline, reason)
    for its in chosen:
        pool.remove(its)
    data = {"removed": len(chosen)}
    render.show(data, as_json, lambda: render.plain(f"{len(chosen)} samples are forgotten"))


@app.command()
def export(
    coco: Annotated[
        Path, typer.Option("--coco", metavar="DIR", help="Folder to write; it may be there.")
    ],
    pipeline: Pipeline = "",
    reason: Reason = "",
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write samples as a folder for an annotation tool: COCO, with the model's boxes as a start."""
    from edgeagent.batch.labelset import write_set

    samples = _pool(config, data_dir).samples(pipeline, reason)
    _noted(config, data_dir, "pool export", samples=len(samples))
    skipped: list[str] = []
    report = write_set(_whole(samples, skipped), coco)
    show_report(report, skipped, as_json)


@app.command()
def send(
    ids: Ids = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many at most.")] = 20,
    pipeline: Pipeline = "",
    reason: Reason = "",
    again: Annotated[bool, typer.Option("--again", help="Also what was sent before.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send samples to the collector, the most useful first, like any evidence."""
    answer = options.control(config, data_dir).result(
        "pool", action="send", ids=ids or [], limit=limit, pipeline=pipeline, because=reason,
        again=again,
    )  # fmt: skip
    said = f"{len(answer['sent'])} samples are on their way, {answer['left']} are left"
    render.show(answer, as_json, lambda: render.plain(said))


def show_report(report: Report, skipped: list[str], as_json: bool) -> None:
    """What came of writing a folder; exit 1 if a sample can't be used."""
    from msgspec import to_builtins

    skipped = [*skipped, *report.unreadable]
    data = {**to_builtins(report, enc_hook=str), "unreadable": skipped}
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(report.reasons.items()))
    facts: dict[str, Any] = {
        "folder": report.folder, "samples": f"{report.samples} ({why})" if why else 0,
        "new": report.new, "pictures": report.images, "boxes": report.annotations,
    }  # fmt: skip
    render.show(data, as_json, lambda: render.facts(facts.items()))
    for line in skipped:
        render.note(line)
    raise typer.Exit(1 if skipped else 0)


def _whole(samples: list[Pooled], skipped: list[str]) -> Iterator[Labelled]:
    """What can be read; the rest is named in ``skipped``."""
    from edgeagent.batch.labelset import Labelled
    from edgeagent.errors import NotFound, StoreCorrupt
    from edgeagent.store.pool import read

    for its in samples:
        try:
            yield Labelled.of(*read(its))
        except (NotFound, StoreCorrupt) as error:
            skipped.append(str(error))


def _list(samples: list[Pooled]) -> None:
    if not samples:
        render.plain("nothing is kept; [pipelines.X.pool] in the configuration switches it on")
        return
    render.table(
        ("ID", "PIPELINE", "REASON", ">USEFUL", ">SIZE", "SENT"),
        [(its.id, its.pipeline, its.reason, its.useful, render.size(its.bytes),
          "sent" if its.sent else "") for its in samples],
    )  # fmt: skip


def _show(meta: dict[str, Any]) -> None:
    plain = {key: value for key, value in meta.items() if not isinstance(value, (list, dict))}
    render.facts(plain.items())
    for its in meta["predictions"]:
        render.text("  " + ", ".join(f"{key} {value}" for key, value in its.items()))
