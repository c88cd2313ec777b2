"""``edgeagent fleet enroll|revoke|replace|enrolled|accept``: which devices belong to the fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import render
from edgeagent.cli.bundle import bundled
from edgeagent.cli.options import AsJson
from edgeagent.cli.reach import DB, Broker, Db, existing, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeagent.fleet.acceptance.sheet import Sheet
    from edgeagent.fleet.enrolment import Enrolment, Entry

Folder = Annotated[
    Path,
    typer.Option("--devices", metavar="DIR", help="Ledger, broker's files, unattended files."),
]
Prefix = Annotated[str, typer.Option("--prefix", help="mqtt.prefix of the devices.")]
Host = Annotated[str, typer.Option("--host", help="The broker, as devices reach it.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Its port.")]
Ca = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="Its authority (PEM): switches TLS on.")
]
Template = Annotated[
    Path | None,
    typer.Option("--template", metavar="FILE", help="Keys of agent.toml that all of them get."),
]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Of the devices.")]
HERE = Path("devices")
_THEN = "Have the broker read its files anew: systemctl reload mosquitto"


def enroll(
    csv: Annotated[Path, typer.Option("--csv", metavar="FILE", help="name,site,groups,…")],
    host: Host,
    port: Port = 1883,
    ca: Ca = None,
    template: Template = None,
    devices: Folder = HERE,
    prefix: Prefix = "edgeagent",
    as_json: AsJson = False,
) -> None:
    """Give each device of a CSV file a login and an unattended file. Who is enrolled stays."""
    from edgeagent.fleet.enrolment import Enrolment, read_csv

    rows = read_csv(csv)
    book = Enrolment(devices, prefix=prefix)
    fresh = book.enroll(rows, _maker(host, port, ca, template, prefix))
    data = {"enrolled": fresh, "already": [row.id for row in rows if row.id not in fresh],
            "setup": str(devices / "setup"), "broker": str(devices / "mosquitto")}  # fmt: skip
    render.show(data, as_json, lambda: _told(data))


def revoke(
    ids: Ids, devices: Folder = HERE, prefix: Prefix = "edgeagent", as_json: AsJson = False
) -> None:
    """Take the login of devices away: stolen, sold, scrapped."""
    from edgeagent.fleet.enrolment import Enrolment

    Enrolment(devices, prefix=prefix).revoke(ids)
    render.show(
        {"revoked": ids}, as_json, lambda: render.text(f"revoked: {', '.join(ids)}. {_THEN}")
    )


def replace(
    device: Annotated[str, typer.Argument(metavar="ID", help="Whose place another box takes.")],
    host: Host,
    port: Port = 1883,
    ca: Ca = None,
    template: Template = None,
    devices: Folder = HERE,
    prefix: Prefix = "edgeagent",
    as_json: AsJson = False,
) -> None:
    """Another box takes a device's place: same id and history, a login of its own."""
    from edgeagent.fleet.enrolment import Enrolment

    Enrolment(devices, prefix=prefix).replace(device, _maker(host, port, ca, template, prefix))
    data = {"replaced": device, "setup": str(devices / "setup" / f"{device}.toml")}
    render.show(data, as_json, lambda: render.text(f"{data['setup']} is for the new box. {_THEN}"))


def enrolled(devices: Folder = HERE, prefix: Prefix = "edgeagent", as_json: AsJson = False) -> None:
    """Which devices belong to the fleet, and which did."""
    import msgspec

    from edgeagent.fleet.enrolment import Enrolment

    book = Enrolment(devices, prefix=prefix)
    render.show(msgspec.to_builtins(book.devices), as_json, lambda: _table(book))


def _maker(
    host: str, port: int, ca: Path | None, template: Path | None, prefix: str
) -> Callable[[str, Entry, str], str]:
    """What makes unattended files. Raises NotFound, ConfigError."""
    from edgeagent.cli import setting_up, views
    from edgeagent.cli.wizard import pem

    authority = pem(str(ca)) if ca else ""
    base = setting_up.plain(template) if template else {}

    def make(device: str, entry: Entry, password: str) -> str:
        content = setting_up.tables(
            {"id": device, "name": entry.name, "site": entry.site, "groups": entry.groups,
             "timezone": entry.timezone},
            {"host": host, "port": port, "username": device,
             "prefix": prefix if prefix != "edgeagent" else ""},
            password=password, ca=authority, keys=entry.keys, base=base,
        )  # fmt: skip
        return (
            f"# For {entry.name or device}. Put it on the boot partition of its card as\n"
            f"# {setting_up.NAME}, or on the device: edgeagent setup FILE. It holds a password\n"
            f"# and is wiped once it was used.\n\n{views.toml(content)}\n"
        )

    return make


def _told(data: dict[str, Any]) -> None:
    render.facts([
        ("enrolled", len(data["enrolled"])), ("already there", len(data["already"])),
        ("unattended files", data["setup"]), ("for the broker", data["broker"]),
    ])  # fmt: skip
    render.note(_THEN)


def _table(book: Enrolment) -> None:
    render.table(
        ["device", "name", "site", "groups", "since", "is"],
        [
            (name, its.name, its.site, " ".join(its.groups), its.enrolled[:10],
             f"revoked {its.revoked[:10]}" if its.revoked
             else f"replaced {its.replaced[-1][:10]}" if its.replaced else "enrolled")
            for name, its in sorted(book.devices.items())
        ],
    )  # fmt: skip


@bundled
def accept(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page.")] = Path(
        "acceptance.html"
    ),
    devices: Folder = HERE,
    db: Db = DB,
    broker: Broker = Broker(),
    wait: Annotated[
        str, typer.Option("--wait", metavar="TIME", help="For doctor and figures, at most.")
    ] = "75 s",
    as_json: AsJson = False,
) -> None:
    """Are all enrolled devices in order? One page with a sheet for each (exit 1: not all are)."""
    import getpass
    import time

    from edgeagent.errors import unwritable
    from edgeagent.fleet.acceptance.page import page

    by = getpass.getuser()
    sheets = _sheets(devices, db, broker, by, seconds("--wait", wait))
    try:
        out.write_text(page(sheets, when=time.strftime("%Y-%m-%d %H:%M %Z"), by=by), "utf-8")
    except OSError as error:
        raise unwritable(out, error) from error
    render.show([its.document() for its in sheets], as_json, lambda: _accepted(sheets, out))
    raise typer.Exit(0 if all(its.accepted for its in sheets) else 1)


def _sheets(devices: Path, db: str, broker: Broker, by: str, wait_s: float) -> list[Sheet]:
    """Of who is enrolled. Raises NotFound, LinkDown."""
    from edgeagent.errors import NotFound
    from edgeagent.fleet.acceptance.gather import gather
    from edgeagent.fleet.database import open_database
    from edgeagent.fleet.enrolment import Enrolment

    book = Enrolment(devices, prefix=broker.prefix)
    ids = sorted(name for name, its in book.devices.items() if its.active)
    if not ids:
        raise NotFound(f"{devices}: nobody is enrolled", remedy="edgeagent fleet enroll --help")
    database = open_database(existing(db))
    try:
        sheets = gather(broker.link(), broker.prefix, ids, database, by=by, wait_s=wait_s)
    finally:
        database.close()
    for its in sheets:
        # Of one that has never said anything it is known at least where it should hang.
        its.name = its.name or book.devices[its.device].name
        its.site = its.site or book.devices[its.device].site
    return sheets


def _accepted(sheets: list[Sheet], out: Path) -> None:
    render.table(
        ["device", "name", "site", "is"],
        [(its.device, its.name, its.site, "; ".join(its.faults) or "in order") for its in sheets],
    )
    render.note(f"{sum(its.accepted for its in sheets)} of {len(sheets)} are in order: {out}")
