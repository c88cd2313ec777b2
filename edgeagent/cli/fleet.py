"""``edgeagent fleet``: what many devices sent: collected, audited, brought by hand."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import render
from edgeagent.cli.bundle import bundled
from edgeagent.cli.options import AsJson
from edgeagent.cli.reach import DB, Broker, Db, existing, seconds

if TYPE_CHECKING:
    from edgeagent.fleet.audit import Audit
    from edgeagent.fleet.carried import Imported
    from edgeagent.fleet.collect import Collector, Figures

app = typer.Typer(help="The operator's side of many devices.", no_args_is_help=True)

Name = Annotated[str, typer.Option("--name", help="As devices name it in sync.collectors.")]


@app.command()
@bundled
def collect(
    db: Db = DB,
    name: Name = "main",
    broker: Broker = Broker(),
    partition: Annotated[
        str, typer.Option(metavar="K/N", help="Only every N-th device, instead of sharing.")
    ] = "",
    keep: Annotated[
        str, typer.Option(metavar="TIME", help='Delete records after this, e.g. "90 d".')
    ] = "",
    idle: Annotated[
        str, typer.Option(metavar="TIME", help="End when nothing has come for so long.")
    ] = "",
    metrics: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Answer Prometheus there.")
    ] = "",
    coco: Annotated[
        Path | None,
        typer.Option("--coco", metavar="DIR", help="Samples to be labelled go there as well."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put what devices send into a database and confirm it, until Ctrl-C. May run many times."""
    from edgeagent.fleet.collect import Collector, CollectSettings
    from edgeagent.fleet.intake import Partition

    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    settings = CollectSettings(
        database=db, prefix=broker.prefix, name=name, link=broker.link(),
        partition=Partition.parse(partition) if partition else None,
        keep_s=seconds("--keep", keep), to_label=coco, idle_s=seconds("--idle", idle),
    )  # fmt: skip
    collector = Collector(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: collector.stop())
    with _exposed(metrics, db, collector):
        figures = collector.run(
            lambda how: render.note(f"collecting into {collector.db.name}, {how}")
        )
    render.show(_figures(figures), as_json, lambda: render.facts(_figures(figures).items()))


@contextmanager
def _exposed(address: str, db: str, collector: Collector) -> Iterator[None]:
    """Raises RuntimeMissing, UsageError, Unavailable."""
    if not address:
        yield
        return
    from edgeagent.fleet.exposition import serve

    end = serve(address, db, lambda: collector.figures)
    try:
        yield
    finally:
        end()


@app.command()
def audit(
    db: Db = DB,
    device: Annotated[
        list[str] | None, typer.Option("--device", help="Only this; several allowed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What is here of every device and epoch, what is told lost, what is missing (exit 1)."""
    from edgeagent.fleet.audit import as_json as document
    from edgeagent.fleet.audit import audit as examine
    from edgeagent.fleet.database import open_database

    database = open_database(existing(db))
    try:
        found = examine(database, device or ())
    finally:
        database.close()
    render.show(document(found), as_json, lambda: _audit(found))
    raise typer.Exit(0 if found.complete else 1)


@app.command()
def pool(
    coco: Annotated[
        Path, typer.Option("--coco", metavar="DIR", help="Folder to write; it may be there.")
    ],
    db: Db = DB,
    device: Annotated[
        list[str] | None, typer.Option("--device", help="Only this; several allowed.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Only what was kept for it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write the samples that devices sent as a folder for an annotation tool (COCO)."""
    from edgeagent.batch.labelset import write_set
    from edgeagent.cli.pool import show_report
    from edgeagent.fleet.database import open_database
    from edgeagent.fleet.pooled import samples

    database = open_database(existing(db))
    try:
        report = write_set(samples(database, device or (), reason), coco)
    finally:
        database.close()
    show_report(report, [], as_json)


@app.command("import")
@bundled
def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A carried export.")],
    db: Db = DB,
    name: Name = "main",
    broker: Broker = Broker(host=""),
    confirms: Annotated[
        Path | None, typer.Option("--confirms", metavar="DIR", help="Write confirms to carry back.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a carried export into the database; with --host tell the devices by MQTT."""
    from edgeagent.fleet import carried
    from edgeagent.fleet.archive import Archive
    from edgeagent.fleet.database import open_database

    database = open_database(db)
    try:
        imported = carried.import_carried(Archive(database), folder, collector=name)
    finally:
        database.close()
    if confirms is not None:
        carried.write_confirms(imported.confirms, confirms)
    if broker.host:
        carried.publish_confirms(imported.confirms, broker.link(), broker.prefix, name)
    render.show(_imported(imported), as_json, lambda: render.facts(_imported(imported).items()))
    raise typer.Exit(1 if imported.refused else 0)


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "records": figures.records, "duplicates": figures.duplicates,
        "evidence": figures.evidence, "unreadable": figures.refused,
        "messages": figures.messages, "confirms": figures.confirms,
    }  # fmt: skip


def _imported(imported: Imported) -> dict[str, Any]:
    return {
        "batches": imported.batches, "records": imported.records,
        "duplicates": imported.duplicates, "evidence": imported.evidence,
        "refused": imported.refused,
    }  # fmt: skip


def _audit(found: Audit) -> None:
    from edgeagent.fleet.audit import ranges_text

    columns = ("device", "epoch", "state", ">produced", ">here", ">told lost", "missing")
    rows = [
        (
            stream.device, stream.epoch[-8:] + (" *" if stream.current else ""), stream.state,
            stream.produced, stream.received, sum(stream.gaps.values()),
            ranges_text(stream.missing) or "–",
        )
        for stream in found.streams
    ]  # fmt: skip
    render.table(columns, rows)
    render.note("* the epoch that the device writes now")
    for stream in found.streams:
        for line in _remarks(stream):
            render.plain(f"{stream.device} {stream.epoch[-8:]}: {line}")
    for topic, count in found.refused.items():
        render.plain(f"{topic}: {count} could not be read")


def _remarks(stream: Any) -> list[str]:
    lines = [f"{count} told lost: {reason}" for reason, count in sorted(stream.gaps.items())]
    if stream.ended:
        lines.append(f"its end is unknown: {stream.ended}")
    its = stream.evidence
    if its.missing or its.lost:
        lines.append(f"evidence: {its.here} here, {its.lost} told lost, {its.missing} missing")
    return lines
