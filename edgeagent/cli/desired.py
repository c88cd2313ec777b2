"""``edgeagent fleet desired``: what devices and groups are to be."""

from __future__ import annotations

import getpass
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import render, views
from edgeagent.cli.bundle import Bundle, bundled
from edgeagent.cli.options import AsJson
from edgeagent.cli.reach import DB, Broker, Db, Signing, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeagent.fleet.declare import Desk, Present
    from edgeagent.update.desired import Desired

app = typer.Typer(help="What a device or a group is to be.", no_args_is_help=True)

Target = Annotated[str, typer.Argument(metavar="DEVICE|group:NAME")]
Document = Annotated[
    str, typer.Argument(metavar="[FILE]", help="A whole document (JSON); - = standard input.")
]


@dataclass(frozen=True)
class Changes(Bundle):
    """Options that say what is to be different."""

    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="MODEL@VERSION", help="This version, all else as it is."),
    ] = None
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop-model", metavar="MODEL", help="Nothing is desired of it any more."),
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A configuration key; null removes it."),
    ] = None
    unset: Annotated[
        list[str] | None,
        typer.Option("--unset", metavar="KEY", help="Nothing is desired of that key any more."),
    ] = None
    soak: Annotated[
        str, typer.Option("--soak", metavar="TIME", help="Probation, with --model.")
    ] = "15 min"
    downgrade: Annotated[
        bool, typer.Option("--downgrade", help="A lower version is meant (needs --sign).")
    ] = False

    def steps(self) -> list[Callable[[Desired], Desired]]:
        """One after the other. Raises UsageError."""
        from edgeagent.fleet import desired as changes
        from edgeagent.update.desired import Policy

        policy = Policy(soak_s=seconds("--soak", self.soak), downgrade=self.downgrade)
        steps = [changes.with_model(*_version(text), policy) for text in self.model or ()]
        steps += [changes.as_before(name, None) for name in self.drop or ()]
        steps += [changes.with_config(*_pair(text)) for text in self.set_ or ()]
        steps += [changes.without_config(text) for text in self.unset or ()]
        return steps


@app.command()
@bundled
def publish(
    target: Target,
    file: Document = "",
    changes: Changes = Changes(),
    expect_rev: Annotated[
        int | None, typer.Option("--expect-rev", help="Only if this rev is there now.")
    ] = None,
    wait: Annotated[
        str, typer.Option("--wait", metavar="TIME", help="Until the device has taken it.")
    ] = "",
    db: Db = DB,
    broker: Broker = Broker(),
    signing: Signing = Signing(),
    as_json: AsJson = False,
) -> None:
    """Publish the next document; a stale rev is refused (exit 1)."""
    from edgeagent.fleet.declare import difference

    with _desk(broker, db, signing) as desk:
        present = desk.look(target)
        change = _change(present, file, changes)
        order = desk.order(present, change, getpass.getuser(), expected=expect_rev)
        from edgeagent.update.desired import read

        if not difference(present.base(), read(order.body)) and not file:
            if present.forgotten:
                desk.repeat(present)
                render.note("the broker had forgotten it: published again")
            render.note(f"{target} is to be that already (rev {present.highest})")
            raise typer.Exit(0)
        desk.publish(present, order)
        found = {"target": target, "rev": order.rev, "document": json.loads(order.body)}
        if wait:
            found["reported"] = _await(desk, target, order.rev, seconds("--wait", wait))
        render.show(found, as_json, lambda: render.text(f"{target}: rev {order.rev}"))


@app.command()
@bundled
def diff(
    target: Target,
    file: Document = "",
    changes: Changes = Changes(),
    db: Db = DB,
    broker: Broker = Broker(),
    as_json: AsJson = False,
) -> None:
    """What publish would change (exit 1 if anything)."""
    from edgeagent.fleet.declare import difference
    from edgeagent.update.desired import read

    with _desk(broker, db) as desk:
        present = desk.look(target)
        change = _change(present, file, changes)
        order = desk.order(present, change, getpass.getuser())
        lines = difference(present.base(), read(order.body))
    render.show(
        {"target": target, "rev": present.highest, "changes": lines}, as_json,
        lambda: render.text("\n".join(lines)) if lines else render.note("no change"),
    )  # fmt: skip
    raise typer.Exit(1 if lines else 0)


@app.command()
@bundled
def show(
    target: Target,
    db: Db = DB,
    broker: Broker = Broker(),
    as_json: AsJson = False,
) -> None:
    """What it is to be, and how far it got with that."""
    with _desk(broker, db) as desk:
        found = _described(target, desk.look(target))
    render.show(found, as_json, lambda: _show(found))


# --- how it is done ------------------------------------------------------------------------


@contextmanager
def _desk(broker: Broker, db: str, signing: Signing = Signing()) -> Iterator[Desk]:
    from msgspec.structs import replace

    from edgeagent.fleet.database import open_database
    from edgeagent.fleet.declare import Desk

    signs, link = signing.signer(broker.prefix), broker.link()
    database = open_database(db)
    try:
        named = replace(link, client_id=f"edgeagent-desired-{os.getpid()}", session_expiry_s=0.0)
        yield Desk(named, broker.prefix, database, signs)
    finally:
        database.close()


def _change(present: Present, file: str, changes: Changes) -> Callable[[Desired], Desired]:
    """All that was asked for as one change. Raises UsageError, InputError, NotFound."""
    from edgeagent.errors import UsageError
    from edgeagent.fleet.desired import together

    steps = changes.steps()
    if file and steps:
        raise UsageError("a whole document and single changes do not go together")
    if file:
        return _document(file, present)
    if not steps:
        raise UsageError(
            "nothing to publish is named",
            remedy="Name a FILE, or --model, --drop-model, --set or --unset.",
        )
    return together(steps)


def _document(file: str, present: Present) -> Callable[[Desired], Desired]:
    from edgeagent.errors import NotFound
    from edgeagent.fleet.declare import given

    try:
        payload = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}") from error
    return given(payload, present)


def _version(text: str) -> tuple[str, str]:
    from edgeagent.errors import UsageError
    from edgeagent.prove.semver import is_version

    name, _, version = text.partition("@")
    if not is_version(version):
        raise UsageError(f"--model {text!r} names no version", remedy="Write parts@1.3.0.")
    return name, version


def _pair(text: str) -> tuple[str, Any]:
    from edgeagent.errors import UsageError

    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--set {text!r} is no KEY=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value  # A word needs no quotes.


def _await(desk: Desk, target: str, rev: int, timeout_s: float) -> Any:
    """Wait until the device reports that it took the document. Raises Busy, InputError."""
    import msgspec

    from edgeagent.errors import Busy, InputError, UsageError

    if target.startswith("group:"):
        raise UsageError("--wait is for one device")
    deadline = time.monotonic() + timeout_s
    while True:
        reported = desk.look(target).reported
        if reported is not None and reported.rev >= rev:
            return msgspec.to_builtins(reported)
        if reported is not None and reported.rejected:
            raise InputError(f"{target} does not take it: {reported.rejected}")
        if time.monotonic() > deadline:
            raise Busy(f"{target} has not taken rev {rev} yet", remedy="It will when it connects.")
        time.sleep(0.5)


def _described(target: str, present: Present) -> dict[str, Any]:
    import msgspec

    base = present.base()
    return {
        "target": target, "topic": present.topic, "rev": present.highest,
        "signed": present.signed, "forgotten": present.forgotten,
        "desired": None if base is None else msgspec.to_builtins(base),
        "reported": None if present.reported is None else msgspec.to_builtins(present.reported),
    }  # fmt: skip


def _show(found: dict[str, Any]) -> None:
    desired, reported = found["desired"], found["reported"]
    if desired is None:
        render.plain(f"nothing is desired of {found['target']}")
    else:
        render.facts(
            [("rev", desired["rev"]), ("by", desired.get("by")), ("at", desired.get("at")),
             ("signed", found["signed"])]
        )  # fmt: skip
        asked = {k: v for k, v in desired.items() if k in ("models", "config")}
        render.text(json.dumps(asked, indent=2, ensure_ascii=False))
    if found["forgotten"]:
        render.note("The broker has forgotten it; publish it once more, or run a rollout.")
    if reported is not None:
        render.plain(f"It took rev {reported['rev']} of its own topic.")
        if reported.get("rejected"):
            render.plain(f"It did not take the last document: {reported['rejected']}")
        if said := views.configuration(reported):
            render.plain(said)
        render.table(
            ("model", "version", "state", "wanted", "reason", "detail"),
            [
                (name, its.get("version"), its.get("state", "committed"), its.get("wanted"),
                 its.get("reason"), its.get("detail"))
                for name, its in reported["models"].items()
            ],
        )  # fmt: skip
