"""``edgeagent fleet rollout``: one version brought to many devices, in waves."""

from __future__ import annotations

import dataclasses
import getpass
import logging
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import render, rollout_views
from edgeagent.cli.bundle import bundled
from edgeagent.cli.options import AsJson
from edgeagent.cli.plan_options import Terms
from edgeagent.cli.reach import DB, Broker, Db, Signing, existing

if TYPE_CHECKING:
    from edgeagent.fleet.database import Database
    from edgeagent.fleet.rollout.conductor import ConductSettings
    from edgeagent.fleet.rollout.ledger import Ledger
    from edgeagent.fleet.rollout.plan import Plan

app = typer.Typer(help="Bring a version to many devices, in waves.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="[ROLLOUT]", help="Its id; the newest if left out.")]
Why = Annotated[str, typer.Option("--why", help="Goes into the report.")]
_STEP_S = 1.0


@app.command()
@bundled
def create(
    model: Annotated[str, typer.Argument(metavar="MODEL@VERSION")],
    terms: Terms = Terms(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the waves only.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave the driving to fleet rollout run.")
    ] = False,
    db: Db = DB,
    broker: Broker = Broker(),
    signing: Signing = Signing(),
    as_json: AsJson = False,
) -> None:
    """Plan it, and drive it to its end (exit 1 if it aborts). May be killed and resumed."""
    from edgeagent.errors import UsageError

    plan = terms.plan(model)
    if terms.lower and not signing.sign:
        raise UsageError(
            "devices take a lower version only from an operator's hand",
            remedy="Name the key with --sign.",
        )
    _create(plan, _settings(broker, signing), db, dry_run, detach, as_json)


def _create(
    plan: Plan, settings: ConductSettings, db: str, dry_run: bool, detach: bool, as_json: bool
) -> None:
    from edgeagent.fleet.database import open_database
    from edgeagent.fleet.rollout.ledger import Ledger
    from edgeagent.fleet.rollout.muster import muster
    from edgeagent.fleet.roster import known
    from edgeagent.fleet.sight.look import look, told

    database = open_database(db)
    try:
        roster, count = look(settings.link, settings.prefix, known(database))
        render.note(told(count))
        mustered = muster(roster, plan)
        if dry_run:
            seen = partial(rollout_views.forecast, plan, mustered)
            render.show(mustered.document(), as_json, seen)
            return
        by = f"{getpass.getuser()} at the command line"
        made = Ledger(database).create(
            plan, mustered.rows, author=by, prefix=settings.prefix, note=mustered.sentence
        )
        render.note(f"{made.id}: {mustered.sentence}")
        if detach:
            render.show({"rollout": made.id}, as_json, lambda: render.text(made.id))
            return
        _drive(database, settings, frozenset({made.id}), as_json)
    finally:
        database.close()


@app.command()
@bundled
def run(
    rollout: Annotated[
        list[str] | None, typer.Argument(metavar="[ROLLOUT]…", help="End when these have ended.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when none is left.")] = False,
    db: Db = DB,
    broker: Broker = Broker(),
    signing: Signing = Signing(),
    as_json: AsJson = False,
) -> None:
    """Drive whatever is not finished, also what a killed process left. One at a time does."""
    from edgeagent.fleet.database import open_database
    from edgeagent.fleet.rollout.ledger import Ledger

    settings = _settings(broker, signing)
    database = open_database(existing(db))
    try:
        only = frozenset(Ledger(database).get(id).id for id in rollout or ())
        _drive(database, settings, only, as_json, once=once)
    finally:
        database.close()


@app.command("list")
def list_(db: Db = DB, as_json: AsJson = False) -> None:
    """All rollouts, the newest last."""
    from edgeagent.fleet.rollout.report import document

    with rollout_views.ledger(existing(db)) as ledger:
        found = [document(ledger, its, evidence=False) for its in ledger.all()]
    for its in found:
        del its["devices"], its["notes"]
    render.show(found, as_json, lambda: rollout_views.listed(found))


@app.command()
def status(
    rollout: Id = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Until it ends.")] = False,
    db: Db = DB,
    as_json: AsJson = False,
) -> None:
    """How far it got (exit 1 once it has aborted)."""
    from edgeagent.fleet.rollout.report import document

    with rollout_views.ledger(existing(db)) as ledger:
        id = ledger.get(rollout).id
        if watch:
            _wait(ledger, frozenset({id}), as_json)
        found = document(ledger, ledger.get(id), evidence=False)
    render.show(found, as_json, lambda: rollout_views.whole(found))
    raise typer.Exit(1 if found["state"] in ("aborting", "aborted") else 0)


@app.command()
def pause(rollout: Id = "", why: Why = "", db: Db = DB) -> None:
    """Ask nobody further; devices under way go on."""
    _wish(db, rollout, "pause", why)


@app.command()
def resume(rollout: Id = "", why: Why = "", db: Db = DB) -> None:
    """Go on with one that is paused."""
    _wish(db, rollout, "resume", why)


@app.command()
def abort(rollout: Id = "", why: Why = "", db: Db = DB) -> None:
    """Stop it, and call back the devices that have not committed."""
    _wish(db, rollout, "abort", why)


@app.command()
def report(
    rollout: Id = "",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write it: .html, .md or .json.")
    ] = None,
    db: Db = DB,
    as_json: AsJson = False,
) -> None:
    """What became of it: per wave and profile, reasons, evidence (Markdown)."""
    from edgeagent.errors import unwritable
    from edgeagent.fleet.rollout import report as reports

    with rollout_views.ledger(existing(db)) as ledger:
        found = reports.document(ledger, ledger.get(rollout))
    if to is None:
        render.show(found, as_json, lambda: render.text(reports.markdown(found)))
        return
    try:
        to.write_text(rollout_views.formed(found, to.suffix), encoding="utf-8")
    except OSError as error:
        raise unwritable(to, error) from error
    render.note(f"written to {to}")


# --- how it is done ------------------------------------------------------------------------


def _drive(
    database: Database, settings: ConductSettings, only: frozenset[str], as_json: bool,
    *, once: bool = False,
) -> None:  # fmt: skip
    """Drive, or follow where another process drives; ends with the exit code of the last."""
    from edgeagent.errors import Busy
    from edgeagent.fleet.rollout.conductor import Conductor

    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(message)s")
    try:
        conductor = Conductor(dataclasses.replace(settings, only=only, until_idle=once), database)
    except Busy as error:
        if not only:
            raise
        render.note(f"{error}: it does the driving, this one follows")
        _follow(database, only, as_json)
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: conductor.stop())
    with rollout_views.live(as_json) as draw:
        conductor.run(lambda it: draw(partial(rollout_views.newest, it.ledger, only)))
    _conclude(conductor.ledger, only, as_json)


def _follow(database: Database, only: frozenset[str], as_json: bool) -> None:
    from edgeagent.fleet.rollout.ledger import Ledger

    ledger = Ledger(database)
    _wait(ledger, only, as_json)
    _conclude(ledger, only, as_json)


def _wait(ledger: Ledger, only: frozenset[str], quiet: bool) -> None:
    with rollout_views.live(quiet) as draw:
        while not all(ledger.get(id).finished for id in only):
            draw(partial(rollout_views.newest, ledger, only))
            time.sleep(_STEP_S)


def _conclude(ledger: Ledger, only: frozenset[str], as_json: bool) -> None:
    from edgeagent.fleet.rollout.report import document

    found = [document(ledger, ledger.get(id)) for id in sorted(only)]
    for its in found:
        render.show(its, as_json, partial(rollout_views.whole, its))
    if any(not its["ended"] for its in found):
        render.note("stopped; go on with: edgeagent fleet rollout run")
        raise typer.Exit(75)
    raise typer.Exit(1 if any(its["state"] != "done" for its in found) else 0)


def _wish(db: str, rollout: str, wish: Any, why: str) -> None:
    with rollout_views.ledger(existing(db)) as ledger:
        found = ledger.wish(ledger.get(rollout).id, wish, why, getpass.getuser())
        driven = bool(found.driver) and ledger.db.now() - found.beat < 10
    if driven:
        render.note(f"{found.id}: {wish} is asked of {found.driver}")
    else:
        render.note(f"{found.id}: nobody drives it now; start: edgeagent fleet rollout run")


def _settings(broker: Broker, signing: Signing) -> ConductSettings:
    from edgeagent.fleet.rollout.conductor import ConductSettings

    signs = signing.signer(broker.prefix)
    if signs is None:
        return ConductSettings(broker.link(), broker.prefix)
    return ConductSettings(broker.link(), broker.prefix, signs)
