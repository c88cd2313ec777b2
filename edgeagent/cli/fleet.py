"""``edgeagent fleet``: what many devices sent: collected, audited, brought by hand."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import render
from edgeagent.cli.options import AsJson

if TYPE_CHECKING:
    from edgeagent.fleet.audit import Audit
    from edgeagent.fleet.carried import Imported
    from edgeagent.fleet.collect import Figures
    from edgeagent.sync.endpoint import LinkSettings

app = typer.Typer(help="The operator's side of many devices.", no_args_is_help=True)

Db = Annotated[
    str,
    typer.Option(
        "--db", envvar="EDGEAGENT_FLEET_DB", show_envvar=True, metavar="FILE|URL",
        help="An SQLite file, or postgresql://…", show_default=True,
    ),
]  # fmt: skip
Name = Annotated[str, typer.Option("--name", help="As devices name it in sync.collectors.")]
Host = Annotated[str, typer.Option("--host", help="The broker, or several by commas.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Its port.")]
User = Annotated[str, typer.Option("--username", help="Name at the broker.")]
PasswordFile = Annotated[str, typer.Option(metavar="FILE", help="File with the password.")]
Ca = Annotated[str, typer.Option("--ca", metavar="FILE", help="Authority: switches TLS on.")]
Cert = Annotated[str, typer.Option("--cert", metavar="FILE", help="Our certificate.")]
Key = Annotated[str, typer.Option("--key", metavar="FILE", help="Its key.")]
Prefix = Annotated[str, typer.Option("--prefix", help="mqtt.prefix of the devices.")]
DB = "fleet.db"


@app.command()
def collect(
    db: Db = DB,
    name: Name = "main",
    host: Host = "127.0.0.1",
    port: Port = 1883,
    username: User = "",
    password_file: PasswordFile = "",
    ca: Ca = "",
    cert: Cert = "",
    key: Key = "",
    prefix: Prefix = "edgeagent",
    partition: Annotated[
        str, typer.Option(metavar="K/N", help="Only every N-th device, instead of sharing.")
    ] = "",
    keep: Annotated[
        str, typer.Option(metavar="TIME", help='Delete records after this, e.g. "90 d".')
    ] = "",
    idle: Annotated[
        str, typer.Option(metavar="TIME", help="End when nothing has come for so long.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Put what devices send into a database and confirm it, until Ctrl-C. May run many times."""
    from edgeagent.fleet.collect import Collector, CollectSettings
    from edgeagent.fleet.intake import Partition

    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    settings = CollectSettings(
        database=db, prefix=prefix, name=name,
        link=_broker(host, port, username, password_file, ca, cert, key),
        partition=Partition.parse(partition) if partition else None,
        keep_s=_seconds("--keep", keep), idle_s=_seconds("--idle", idle),
    )  # fmt: skip
    collector = Collector(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: collector.stop())
    figures = collector.run(lambda how: render.note(f"collecting into {collector.db.name}, {how}"))
    render.show(_figures(figures), as_json, lambda: render.facts(_figures(figures).items()))


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

    database = open_database(_existing(db))
    try:
        found = examine(database, device or ())
    finally:
        database.close()
    render.show(document(found), as_json, lambda: _audit(found))
    raise typer.Exit(0 if found.complete else 1)


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A carried export.")],
    db: Db = DB,
    name: Name = "main",
    host: Host = "",
    port: Port = 1883,
    username: User = "",
    password_file: PasswordFile = "",
    ca: Ca = "",
    cert: Cert = "",
    key: Key = "",
    prefix: Prefix = "edgeagent",
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
    if host:
        link = _broker(host, port, username, password_file, ca, cert, key)
        carried.publish_confirms(imported.confirms, link, prefix, name)
    render.show(_imported(imported), as_json, lambda: render.facts(_imported(imported).items()))
    raise typer.Exit(1 if imported.refused else 0)


def _broker(
    host: str, port: int, username: str, password_file: str, ca: str, cert: str, key: str
) -> LinkSettings:
    from edgeagent.config.model import Mqtt, Tls
    from edgeagent.sync.endpoint import LinkSettings

    tls = Tls(ca=ca, cert=cert, key=key) if ca or cert else None
    mqtt = Mqtt(host=host, port=port, username=username, password_file=password_file, tls=tls)
    return LinkSettings.of(mqtt, f"edgeagent-fleet-{os.getpid()}")


def _seconds(option: str, text: str) -> float:
    """Nothing = 0. Raises UsageError."""
    from edgeagent.config.units import seconds
    from edgeagent.errors import UsageError

    try:
        return seconds(text) if text else 0.0
    except ValueError as error:
        raise UsageError(f"{option}: {error}", remedy='Write it as "90 d" or "10 s".') from error


def _existing(db: str) -> str:
    """An audit of a misspelt file must not be one of an empty fleet. Raises NotFound."""
    from edgeagent.errors import NotFound

    if "://" not in db and not Path(db).is_file():
        raise NotFound(f"there is no database {db}", remedy="Name it with --db.")
    return db


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
