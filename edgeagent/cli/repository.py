"""``edgeagent fleet init|key|publish|serve|sign``: the repository of signed models."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgeagent.cli import render, repository_views
from edgeagent.cli.bundle import bundled
from edgeagent.cli.options import AsJson
from edgeagent.cli.reach import Broker, private_key, secret

if TYPE_CHECKING:
    from edgeagent.fleet.keys import PrivateKey
    from edgeagent.fleet.repository.home import Home

keys = typer.Typer(help="The keys of the repository and of operators.", no_args_is_help=True)

Repository = Annotated[
    Path,
    typer.Option(
        "--repository", "-r", envvar="EDGEAGENT_REPOSITORY", show_envvar=True, metavar="DIR",
        help="Folder that fleet init has made.",
    ),
]  # fmt: skip
Safe = Annotated[
    list[Path] | None,
    typer.Option("--safe", metavar="DIR", help="Folder with safe keys; several allowed."),
]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", metavar="FILE", help="Of the safe keys.")
]
HERE = Path("fleet")


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="To be made.")] = HERE,
    models: Annotated[
        str, typer.Option("--models", metavar="A,B", help="Models that are to have a key.")
    ] = "",
    safe_keys: Annotated[int, typer.Option("--safe-keys", min=1, max=16)] = 3,
    threshold: Annotated[
        int, typer.Option("--threshold", min=1, help="Safe keys that must sign together.")
    ] = 2,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Begin a repository: make its keys, and tell what goes where."""
    from edgeagent.fleet.repository import ceremony

    made = ceremony.begin(
        folder, keys=safe_keys, threshold=threshold, passphrase=secret(passphrase_file),
        models=[name.strip() for name in models.split(",") if name.strip()],
    )  # fmt: skip
    data = {
        "repository": str(folder), "root": str(made.home.first_root), "safe": made.safe,
        "threshold": made.threshold, "models": made.models,
    }  # fmt: skip
    render.show(data, as_json, lambda: repository_views.begun(made))


@bundled
def publish(
    package: Annotated[Path, typer.Argument(metavar="DIR", help="A model package.")],
    repository: Repository = HERE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be.")] = False,
    check_fleet: Annotated[
        bool, typer.Option("--check-fleet", help="Ask the broker who would take it (exit 1: some "
        "would not).")
    ] = False,
    golden: Annotated[bool, typer.Option(help="Ask the golden samples first.")] = True,
    deltas: Annotated[
        int, typer.Option("--deltas", min=0, help="Older versions to make patches from.")
    ] = 5,
    broker: Broker = Broker(),
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Check a package, sign it and put it where devices get it: a version never changes."""
    from edgeagent.fleet.forecast import forecast
    from edgeagent.fleet.repository import publish as work

    home = _home(repository)
    checked = work.check(package, fix=not dry_run, golden=golden)
    plan = work.plan(home, checked, deltas=deltas, told=render.note)
    outlook = None
    if check_fleet:
        outlook = forecast(checked.manifest, broker.link(), broker.prefix)
    listing = 0 if dry_run else work.publish(home, plan)
    data = repository_views.plan_data(plan, listing, outlook)
    render.show(data, as_json, lambda: repository_views.plan(plan, listing, outlook))
    raise typer.Exit(1 if outlook and not all(its.accepts for its in outlook) else 0)


@bundled
def serve(
    repository: Repository = HERE,
    broker: Broker = Broker(),
    partition: Annotated[
        str, typer.Option(metavar="K/N", help="Only every N-th device, instead of sharing.")
    ] = "",
    rate: Annotated[
        str, typer.Option(metavar="SIZE", help='For all devices, a second, e.g. "2 MB".')
    ] = "",
    quota: Annotated[
        str, typer.Option(metavar="SIZE", help="What a device may have within a day.")
    ] = "",
    renew: Annotated[
        bool, typer.Option(help="Sign the timestamp anew each day (needs the online key).")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Give devices the repository's files over MQTT, until Ctrl-C. May run many times."""
    from edgeagent.fleet.repository.renewing import Renewal
    from edgeagent.fleet.serve import Server, ServeSettings

    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    home = _home(repository)
    settings = ServeSettings(
        home.folder / "public", broker.link(), broker.prefix,
        _partition(partition), float(_size("--rate", rate)), _size("--quota", quota),
    )  # fmt: skip
    renewal = Renewal(home)
    server = Server(settings, renewal.turn) if renew else Server(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    figures = server.run(lambda how: render.note(f"serving {repository}, {how}"))
    data = repository_views.served(figures)
    render.show(data, as_json, lambda: render.facts(data.items()))


def sign(
    document: Annotated[Path, typer.Argument(metavar="FILE", help="JSON; - = standard input.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The operator's key.")],
    kind: Annotated[
        Literal["command", "desired"], typer.Option("--type", help="What it is.")
    ] = "command",
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign a command or a desired state; print the envelope that is to be published."""
    from edgeagent.cli.repository_views import checked_document
    from edgeagent.update import signatures

    raw = sys.stdin.buffer.read() if str(document) == "-" else _bytes(document)
    checked_document(raw, kind)
    own = private_key(key, passphrase_file)
    payload_type = signatures.COMMAND if kind == "command" else signatures.DESIRED
    render.text(own.envelope(raw, payload_type).decode())


@keys.command("list")
def list_(repository: Repository = HERE, as_json: AsJson = False) -> None:
    """Which keys count, which are within reach, and when what they signed expires."""
    from edgeagent.fleet.repository import ceremony

    home = _home(repository)
    found, ages = ceremony.keys(home), ceremony.age(home)
    known = ceremony.operators(home)
    data = repository_views.keys_data(found, ages, known)
    render.show(data, as_json, lambda: repository_views.keys(data))
    raise typer.Exit(1 if ceremony.ending(home) else 0)


@keys.command()
def new(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    repository: Repository = HERE,
    safe: Safe = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """A key for another model. Needs safe keys."""
    from edgeagent.fleet.repository import ceremony

    home = _home(repository, safe, passphrase_file)
    ceremony.add_model(home, model)
    render.note(f"{home.keys / 'models' / model}.pem signs {model} from now on")


@keys.command()
def rotate(
    name: Annotated[str, typer.Argument(metavar="KEY", help="online, safe-1 …, or a model.")],
    repository: Repository = HERE,
    safe: Safe = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Replace a key, because it is lost, stolen or old. Needs safe keys; devices follow."""
    from edgeagent.fleet.repository import ceremony

    file = ceremony.rotate(_home(repository, safe, passphrase_file), name)
    render.note(f"{file} counts from now on. Destroy the old one, {file.with_suffix('.old')}")


@keys.command()
def revoke(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    repository: Repository = HERE,
    safe: Safe = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Let nobody sign a model any more; none of its versions can be fetched. Needs safe keys."""
    from edgeagent.fleet.repository import ceremony

    ceremony.revoke(_home(repository, safe, passphrase_file), model)
    render.note(f"no device takes {model} from here any more")


@keys.command()
def renew(
    repository: Repository = HERE, safe: Safe = None, passphrase_file: PassphraseFile = None
) -> None:
    """Sign for another year what only people can: root, targets, models. Needs safe keys."""
    from edgeagent.fleet.repository import ceremony

    for role in ceremony.renew(_home(repository, safe, passphrase_file)):
        render.note(f"{role} holds for another year")


@keys.command()
def operator(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    public: Annotated[
        Path | None, typer.Option("--public", metavar="FILE", help="Their public key.")
    ] = None,
    make: Annotated[
        Path | None, typer.Option("--make", metavar="FILE", help="Make a key pair there first.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="They count no more.")] = False,
    repository: Repository = HERE,
    safe: Safe = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Let the whole fleet know who may sign commands and desired states. Needs safe keys."""
    from edgeagent.fleet.keys import PrivateKey
    from edgeagent.fleet.repository import ceremony

    home = _home(repository, safe, passphrase_file)
    pem = None if remove else _public(public, make, PrivateKey.new)
    ceremony.set_operator(home, name, pem)
    render.note(f"{name} {'counts no more' if remove else 'may sign for every device'}")


def _public(public: Path | None, make: Path | None, new_key: Any) -> str:
    from edgeagent.errors import UsageError

    if (public is None) == (make is None):
        raise UsageError("whose key?", remedy="Give --public FILE, or --make FILE for a new one.")
    if make is not None:
        key: PrivateKey = new_key()
        key.save(make)
        return key.public_pem
    assert public is not None
    return _bytes(public).decode(errors="replace")


def _home(
    folder: Path, safe: list[Path] | None = None, passphrase_file: Path | None = None
) -> Home:
    from edgeagent.fleet.repository.home import Home

    return Home(folder, safe=safe or (), passphrase=secret(passphrase_file)).check()


def _bytes(file: Path) -> bytes:
    from edgeagent.errors import NotFound

    try:
        return file.read_bytes()
    except OSError as error:
        raise NotFound(f"{file} can't be read: {error.strerror}") from error


def _partition(text: str) -> Any:
    from edgeagent.fleet.intake import Partition

    return Partition.parse(text) if text else None


def _size(option: str, text: str) -> int:
    from edgeagent.config.units import size_bytes
    from edgeagent.errors import UsageError

    try:
        return int(size_bytes(text)) if text else 0
    except ValueError as error:
        raise UsageError(f"{option}: {error}", remedy='Write it as "2 MB".') from error
