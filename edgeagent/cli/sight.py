"""``edgeagent fleet ls|show|watch``: who is there, seen over a broker alone."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import render
from edgeagent.cli.bundle import bundled
from edgeagent.cli.options import AsJson
from edgeagent.cli.reach import Broker, Known, known_devices

if TYPE_CHECKING:
    from edgeagent.fleet.sight.watch import Change, View

Where = Annotated[
    str,
    typer.Option(
        "--where", metavar="EXPRESSION", help='e.g. \'site == "hall 2" and model.parts < "1.3"\'.'
    ),
]
_COLUMNS = ("device", "state", "site", "profile", "models", "because")
_NOT_WELL = ("safe-mode", "degraded", "offline", "unknown")
_REDRAW_S = 0.5


@bundled
def ls(
    where: Where = "",
    known: Known = "",
    broker: Broker = Broker(),
    as_json: AsJson = False,
) -> None:
    """The devices that the broker knows, each in a line; names of --where: see the guide."""
    from edgeagent.fleet.sight.facts import facts
    from edgeagent.fleet.sight.look import SELF_TOLD, look, told
    from edgeagent.fleet.sight.where import parse

    test = parse(where)
    roster, count = look(broker.link(), broker.prefix, known_devices(known), SELF_TOLD)
    there = [facts(its) for its in roster.devices.values() if its.state or its.reported]
    rows = sorted((its for its in there if test(its)), key=lambda its: str(its["device"]))
    render.note(told(count))
    render.show({"devices": rows, "kept_back": len(count.hidden)}, as_json, lambda: _listed(rows))
    if not as_json:
        render.note(f"{len(rows)} of {len(there)} devices")


@bundled
def show(
    device: Annotated[str, typer.Argument(metavar="DEVICE")],
    broker: Broker = Broker(),
    as_json: AsJson = False,
) -> None:
    """All that one device tells, what it is to be, and commands that were not cleared."""
    from edgeagent.fleet.sight.portrait import portrait

    found = portrait(broker.link(), broker.prefix, device)
    render.show(found, as_json, lambda: _shown(found))


@bundled
def watch(
    where: Where = "",
    all_: Annotated[bool, typer.Option("--all", help="Also those that are well.")] = False,
    span: Annotated[str, typer.Option("--for", metavar="TIME", help="End after this.")] = "",
    known: Known = "",
    broker: Broker = Broker(),
    as_json: AsJson = False,
) -> None:
    """The fleet as it changes, until Ctrl-C. With --json a line for each change."""
    from edgeagent.cli.reach import seconds
    from edgeagent.fleet.sight.watch import Watch, summary

    ends = time.monotonic() + seconds("--for", span) if span else float("inf")
    names = known_devices(known)
    with Watch(broker.link(), broker.prefix, where, names) as seen, render.redrawn(as_json) as draw:
        note, drawn = "", 0.0
        while time.monotonic() < ends:
            changes = seen.turn(min(_REDRAW_S, max(0.0, ends - time.monotonic())))
            if seen.view.note != note:
                note = seen.view.note
                render.note(note or "the broker hands over everything again")
            if draw is None:
                _told(changes, as_json)
            elif time.monotonic() - drawn >= _REDRAW_S:
                drawn = time.monotonic()
                draw(summary(seen.view), _COLUMNS, _rows(_worst(seen.view, all_)))
        line = summary(seen.view)
    if not as_json:
        render.plain(line)


def _worst(view: View, all_: bool) -> list[dict[str, Any]]:
    """As many as a screen holds, those that need a person first."""
    order = {state: place for place, state in enumerate(_NOT_WELL)}
    rows = [its for its in view.rows.values() if all_ or its["state"] in order]
    rows.sort(key=lambda its: (order.get(its["state"], len(order)), its["device"]))
    return rows[: max(5, render.height() - 4)]


def _told(changes: Iterable[Change], as_json: bool) -> None:
    for its in changes:
        if as_json:
            render.json_line({"at": time.time(), "new": its.before is None, **its.facts})
        elif its.before is None or its.before["state"] != its.facts["state"]:
            because = "; ".join(its.facts["reasons"])
            render.plain(
                f"{its.device}: {its.facts['state']}" + (f" ({because})" if because else "")
            )


def _listed(rows: Iterable[dict[str, Any]]) -> None:
    render.table(_COLUMNS, _rows(rows))


def _rows(rows: Iterable[dict[str, Any]]) -> list[tuple[object, ...]]:
    return [
        (
            its["device"], its["state"], its["site"], its["profile"], _models(its["model"]),
            its["reasons"][0] if its["reasons"] else "",
        )
        for its in rows
    ]  # fmt: skip


def _models(found: dict[str, str]) -> str:
    return ", ".join(f"{name}@{version}" for name, version in found.items())


def _shown(found: dict[str, Any]) -> None:
    render.facts(
        [
            ("device", found["device"]), ("name", found["name"]), ("site", found["site"]),
            ("state", found["state"]), ("since", found["since"]), ("profile", found["profile"]),
            ("agent", found["version"]), ("groups", ", ".join(found["groups"])),
            ("tags", ", ".join(f"{name}={its}" for name, its in found["tags"].items())),
            ("takes", ", ".join(sorted(found["offers"]))), ("not taken", found["rejected"]),
        ]
    )  # fmt: skip
    for reason in found["reasons"]:
        render.plain(f"! {reason}")
    _models_of(found["reported"].get("models", {}))
    for layer, its in found["desired"].items():
        render.plain(f"desired by {layer}: rev {its.get('rev', '?')}")
    for name, its in sorted(found["pipelines"].items()):
        render.plain(f"{name}: {_state(its)}")
    _orders_of(found["orders"])
    if found["note"]:
        render.note(found["note"])


def _models_of(models: dict[str, Any]) -> None:
    if models:
        names = ("version", "state", "wanted", "reason")
        render.table(
            ("model", *names),
            [
                (name, *({"state": "committed", **its}.get(key) for key in names))
                for name, its in sorted(models.items())
            ],
        )


def _orders_of(orders: list[dict[str, Any]]) -> None:
    if orders:
        names = ("type", "id", "status", "reason", "by", "at")
        render.table(
            ("command", *names[1:]), [tuple(its.get(name) for name in names) for its in orders]
        )


def _state(document: dict[str, Any]) -> str:
    """The plain values of a pipeline's state."""
    return ", ".join(
        f"{name} {render.cell(value).plain}"
        for name, value in document.items()
        if not isinstance(value, (dict, list)) and value != ""
    )
