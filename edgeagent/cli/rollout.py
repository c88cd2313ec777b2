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

from edgeagent.cli import plan_options as given
from edgeagent.cli import render, rollout_views
from edgeagent.cli.fleet import (
    DB,
    Ca,
    Cert,
    Db,
    Host,
    Key,
    PasswordFile,
    Port,
    Prefix,
    User,
    _broker,
    _existing,
    _seconds,
)
from edgeagent.cli.options import AsJson

if TYPE_CHECKING:
    from edgeagent.fleet.database import Database
    from edgeagent.fleet.rollout.conductor import ConductSettings
    from edgeagent.fleet.rollout.ledger import Ledger
    from edgeagent.fleet.rollout.plan import Plan

app = typer.Typer(help="Bring a version to many devices, in waves.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="[ROLLOUT]", help="Its id; the newest if left out.")]
Sign = Annotated[str, typer.Option("--sign", metavar="FILE", help="Operator's key to sign with.")]
PassphraseFile = Annotated[
    str, typer.Option("--passphrase-file", metavar="FILE", help="File with that key's passphrase.")
]
Why = Annotated[str, typer.Option("--why", help="Goes into the report.")]
_STEP_S = 1.0


@app.command()
def create(
    model: Annotated[str, typer.Argument(metavar="MODEL@VERSION")],
    group: given.Group = "",
    device: given.Device = None,
    canary: given.Canary = "",
    waves: given.Waves = "5%,25%,100%",
    least: given.Least = 3,
    abort: given.Abort = "10% after 10",
    abort_profile: given.AbortProfile = "30% after 3",
    rate: given.Rate = 0.0,
    grow: given.Grow = 1.0,
    every: given.Every = 0,
    most: given.Most = 0.0,
    at_once: given.AtOnce = 0,
    between: given.Between = None,
    timezone: given.Timezone = "UTC",
    soak: given.Soak = "15 min",
    shadow: given.Shadow = "0 s",
    expires: given.Expires = "",
    downgrade: given.Downgrade = False,
    timeout: given.Timeout = "1 h",
    settle: given.Settle = "2 min",
    silent: given.Silent = "15 min",
    reach: given.Reach = "10 min",
    quality_rate: given.QualityRate = "0%",
    quality_score: given.QualityScore = 0.0,
    quality_before: given.QualityBefore = "24 h",
    quality_after: given.QualityAfter = "1 h",
    ask: given.Ask = False,
    give_back: given.GiveBack = False,
    dry_run: given.DryRun = False,
    detach: given.Detach = False,
    db: Db = DB,
    host: Host = "127.0.0.1",
    port: Port = 1883,
    username: User = "",
    password_file: PasswordFile = "",
    ca: Ca = "",
    cert: Cert = "",
    key: Key = "",
    prefix: Prefix = "edgeagent",
    sign: Sign = "",
    passphrase_file: PassphraseFile = "",
    as_json: AsJson = False,
) -> None:
    """Plan it, and drive it to its end (exit 1 if it aborts). May be killed and resumed."""
    from edgeagent.fleet.rollout import plan as plans

    name, _, version = model.partition("@")
    extra = _seconds("--soak", soak) + _seconds("--shadow", shadow)
    plan = plans.Plan(
        model=name, version=version, group=group, devices=tuple(device or ()), canary=canary,
        shares=tuple(given.share("--waves", part) for part in waves.split(",")), least=least,
        total=given.limit("--abort", abort), profile=given.limit("--abort-profile", abort_profile),
        pace=plans.Pace(rate, grow, every, most, at_once), windows=tuple(between or ()),
        timezone=timezone, timeout_s=_seconds("--timeout", timeout) + extra,
        settle_s=_seconds("--settle", settle), silent_s=_seconds("--silent", silent),
        reach_s=_seconds("--reach", reach), ask=ask, give_back=give_back,
        quality=plans.Quality(
            given.share("--quality-rate", quality_rate), quality_score,
            _seconds("--quality-before", quality_before),
            _seconds("--quality-after", quality_after),
        ),
        policy=given.policy_of(soak, shadow, expires, downgrade),
    ).check()  # fmt: skip
    _signed_where_needed(plan, downgrade or give_back, sign)
    broker = _broker(host, port, username, password_file, ca, cert, key)
    settings = _settings(broker, prefix, sign, passphrase_file)
    _create(plan, settings, db, dry_run, detach, as_json)


def _signed_where_needed(plan: Plan, lower: bool, sign: str) -> None:
    """Raises UsageError: devices would refuse what is asked of them."""
    from edgeagent.errors import UsageError
    from edgeagent.fleet.rollout.conductor import policy

    policy(plan)
    if lower and not sign:
        raise UsageError(
            "devices take a lower version only from an operator's hand",
            remedy="Name the key with --sign.",
        )


def _create(
    plan: Plan, settings: ConductSettings, db: str, dry_run: bool, detach: bool, as_json: bool
) -> None:
    from edgeagent.fleet.database import open_database
    from edgeagent.fleet.rollout.conductor import cut, look
    from edgeagent.fleet.rollout.ledger import Ledger
    from edgeagent.fleet.rollout.muster import muster

    database = open_database(db)
    try:
        roster, count = look(settings, database)
        if count.hidden:
            render.note(cut(count, len(roster.devices)))
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
def run(
    rollout: Annotated[
        list[str] | None, typer.Argument(metavar="[ROLLOUT]…", help="End when these have ended.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when none is left.")] = False,
    db: Db = DB,
    host: Host = "127.0.0.1",
    port: Port = 1883,
    username: User = "",
    password_file: PasswordFile = "",
    ca: Ca = "",
    cert: Cert = "",
    key: Key = "",
    prefix: Prefix = "edgeagent",
    sign: Sign = "",
    passphrase_file: PassphraseFile = "",
    as_json: AsJson = False,
) -> None:
    """Drive whatever is not finished, also what a killed process left. One at a time does."""
    from edgeagent.fleet.database import open_database
    from edgeagent.fleet.rollout.ledger import Ledger

    settings = _settings(
        _broker(host, port, username, password_file, ca, cert, key), prefix, sign, passphrase_file
    )
    database = open_database(_existing(db))
    try:
        only = frozenset(Ledger(database).get(id).id for id in rollout or ())
        _drive(database, settings, only, as_json, once=once)
    finally:
        database.close()


@app.command("list")
def list_(db: Db = DB, as_json: AsJson = False) -> None:
    """All rollouts, the newest last."""
    from edgeagent.fleet.rollout.report import document

    with rollout_views.ledger(_existing(db)) as ledger:
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

    with rollout_views.ledger(_existing(db)) as ledger:
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

    with rollout_views.ledger(_existing(db)) as ledger:
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
    with rollout_views.ledger(_existing(db)) as ledger:
        found = ledger.wish(ledger.get(rollout).id, wish, why, getpass.getuser())
        driven = bool(found.driver) and ledger.db.now() - found.beat < 10
    if driven:
        render.note(f"{found.id}: {wish} is asked of {found.driver}")
    else:
        render.note(f"{found.id}: nobody drives it now; start: edgeagent fleet rollout run")


def _settings(link: Any, prefix: str, sign: str, passphrase_file: str) -> ConductSettings:
    from edgeagent.fleet.desired import signer
    from edgeagent.fleet.rollout.conductor import ConductSettings

    if not sign:
        return ConductSettings(link, prefix)
    return ConductSettings(link, prefix, signer(private_key(sign, passphrase_file), prefix))


def private_key(file: str, passphrase_file: str) -> Any:
    """An operator's key. Raises NotFound, NotPermitted, UsageError."""
    from edgeagent.errors import NotFound, UsageError

    try:
        from edgeagent.fleet.keys import PrivateKey
    except ImportError as error:
        raise UsageError(
            "signing needs the package cryptography", remedy='pip install "edgeagent[fleet]"'
        ) from error
    try:
        word = Path(passphrase_file).read_text().rstrip("\r\n") if passphrase_file else ""
    except OSError as error:
        raise NotFound(f"{passphrase_file}: {error.strerror}") from error
    return PrivateKey.load(Path(file), word)
