"""``edgeagent fleet alerts``: what needs a person, told once."""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import render
from edgeagent.cli.bundle import Bundle, bundled
from edgeagent.cli.options import AsJson
from edgeagent.cli.reach import DB, Broker, Db, existing, seconds, secret

if TYPE_CHECKING:
    from edgeagent.fleet.alerts.incident import Alert
    from edgeagent.fleet.alerts.judge import Limits
    from edgeagent.fleet.alerts.receivers import Receiver


@dataclass(frozen=True)
class Patience(Bundle):
    """Options of how long something must last."""

    offline: Annotated[
        str, typer.Option("--offline-after", metavar="TIME", help="A device is not connected.")
    ] = "5 min"
    no_events: Annotated[
        str,
        typer.Option("--no-events-after", metavar="TIME", help="It is, and tells no event."),
    ] = ""
    holes: Annotated[
        str, typer.Option("--holes-after", metavar="TIME", help="Records do not come.")
    ] = "10 min"
    broker_: Annotated[
        str, typer.Option("--broker-after", metavar="TIME", help="The broker is away.")
    ] = "30 s"
    settle: Annotated[
        str,
        typer.Option("--settle", metavar="TIME", help="Then devices have so long to return."),
    ] = "60 s"

    def limits(self) -> Limits:
        """Raises UsageError."""
        from edgeagent.fleet.alerts.judge import Limits

        return Limits(
            offline_s=seconds("--offline-after", self.offline),
            broker_s=seconds("--broker-after", self.broker_),
            no_events_s=seconds("--no-events-after", self.no_events),
            holes_s=seconds("--holes-after", self.holes),
            settle_s=seconds("--settle", self.settle),
        )


@bundled
def alerts(
    webhook: Annotated[
        str, typer.Option("--webhook", metavar="URL", help="POST each alert there, as JSON.")
    ] = "",
    token_file: Annotated[
        str, typer.Option("--token-file", metavar="FILE", help="File with the webhook's token.")
    ] = "",
    mqtt: Annotated[
        bool, typer.Option("--mqtt", help="Publish each under PREFIX/alerts as well.")
    ] = False,
    open_: Annotated[
        bool, typer.Option("--open", help="Only show what is open now (exit 1 if anything).")
    ] = False,
    patience: Patience = Patience(),
    db: Db = DB,
    broker: Broker = Broker(),
    as_json: AsJson = False,
) -> None:
    """Tell once of each incident and once of its end, until Ctrl-C: devices that are offline or
    tell no events, records that do not come, rollouts that were aborted, a broker that is gone."""
    from edgeagent.fleet.alerts.watchman import Watchman
    from edgeagent.fleet.database import open_database

    if open_:
        _open(existing(db), as_json)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    limits, receivers = patience.limits(), _receivers(webhook, token_file, mqtt, broker, as_json)
    database = open_database(db)
    try:
        watchman = Watchman(broker.link(), broker.prefix, database, limits, receivers)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: watchman.stop())
        render.note(f"watching {broker.host}; what is told is written in {database.name}")
        watchman.run()
    finally:
        database.close()


def _receivers(
    webhook: str, token_file: str, mqtt: bool, broker: Broker, as_json: bool
) -> list[Receiver]:
    """Raises UsageError, NotFound."""
    from edgeagent.fleet.alerts.receivers import Said, Topic, Webhook

    found: list[Receiver] = [Said(lambda alert: _say(alert, as_json))]
    if webhook:
        found.append(Webhook(webhook, secret(token_file)))
    if mqtt:
        found.append(Topic(broker.link(), broker.prefix))
    return found


def _say(alert: Alert, as_json: bool) -> None:
    document = alert.document()
    if as_json:
        render.json_line(document)
    else:
        render.plain(f"{document['state']}: {document['sentence']}")


def _open(db: str, as_json: bool) -> None:
    from edgeagent.fleet.alerts.incident import Book
    from edgeagent.fleet.database import open_database

    database = open_database(db)
    try:
        found = [its.document() for its in Book(database).open()]
    finally:
        database.close()
    render.show(found, as_json, lambda: _table(found))
    raise typer.Exit(1 if found else 0)


def _table(found: list[dict[str, Any]]) -> None:
    columns = ("since", "alert", "what")
    render.table(columns, [(its["since"], its["alert"], its["sentence"]) for its in found])
