"""How the operator's commands reach a broker and the fleet's database, and sign."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli.bundle import Bundle

if TYPE_CHECKING:
    from edgeagent.config.model import Tls
    from edgeagent.fleet.keys import PrivateKey
    from edgeagent.sync.endpoint import LinkSettings

Db = Annotated[
    str,
    typer.Option(
        "--db", envvar="EDGEAGENT_FLEET_DB", show_envvar=True, metavar="FILE|URL",
        help="An SQLite file, or postgresql://…", show_default=True,
    ),
]  # fmt: skip
DB = "fleet.db"
Known = Annotated[
    str,
    typer.Option(
        "--db", envvar="EDGEAGENT_FLEET_DB", show_envvar=False, metavar="FILE|URL",
        help="A collector's database: its devices are looked for by name.",
    ),
]  # fmt: skip


def _named(option: str) -> dict[str, Any]:
    """A person at a desk has one broker and names it once; the variable is the option's, after
    ``EDGEAGENT_FLEET_``."""
    return {"envvar": f"EDGEAGENT_FLEET_{option}", "show_envvar": False}


@dataclass(frozen=True)
class PlainBroker(Bundle):
    """Options of a broker that is reached without TLS."""

    host: Annotated[
        str, typer.Option("--host", **_named("HOST"), help="The broker, or several by commas.")
    ] = "127.0.0.1"
    port: Annotated[
        int, typer.Option("--port", **_named("PORT"), min=1, max=65535, help="Its port.")
    ] = 1883
    username: Annotated[
        str, typer.Option("--username", **_named("USERNAME"), help="Name at the broker.")
    ] = ""
    password_file: Annotated[
        str,
        typer.Option("--password-file", **_named("PASSWORD_FILE"), metavar="FILE",
                     help="File with the password."),
    ] = ""  # fmt: skip
    prefix: Annotated[str, typer.Option("--prefix", help="mqtt.prefix of the devices.")] = (
        "edgeagent"
    )

    def link(self) -> LinkSettings:
        """Raises ConfigError, UsageError, NotFound."""
        from edgeagent.config.model import Mqtt
        from edgeagent.sync.endpoint import LinkSettings

        for option, file in self._files().items():
            _there(option, file)
        mqtt = Mqtt(
            host=self.host, port=self.port, username=self.username,
            password_file=self.password_file, tls=self._tls(),
        )  # fmt: skip
        return LinkSettings.of(mqtt, f"edgeagent-fleet-{os.getpid()}")

    def _files(self) -> dict[str, str]:
        return {"--password-file": self.password_file}

    def _tls(self) -> Tls | None:
        return None


@dataclass(frozen=True)
class Broker(PlainBroker):
    """Options of a broker."""

    ca: Annotated[
        str,
        typer.Option("--ca", **_named("CA"), metavar="FILE", help="Authority: switches TLS on."),
    ] = ""
    cert: Annotated[
        str, typer.Option("--cert", **_named("CERT"), metavar="FILE", help="Our certificate.")
    ] = ""
    key: Annotated[str, typer.Option("--key", **_named("KEY"), metavar="FILE", help="Its key.")] = (
        ""
    )

    def _files(self) -> dict[str, str]:
        its = {"--ca": self.ca, "--cert": self.cert, "--key": self.key}
        return {**super()._files(), **its}

    def _tls(self) -> Tls | None:
        from edgeagent.config.model import Tls

        return Tls(ca=self.ca, cert=self.cert, key=self.key) if self.ca or self.cert else None


@dataclass(frozen=True)
class Signing(Bundle):
    """Options of an operator who signs."""

    sign: Annotated[
        str, typer.Option("--sign", metavar="FILE", help="Operator's key to sign with.")
    ] = ""
    passphrase_file: Annotated[
        str,
        typer.Option("--passphrase-file", metavar="FILE", help="File with that key's passphrase."),
    ] = ""

    def signer(self, prefix: str) -> Any:
        """None = nothing is to be signed. Raises NotFound, NotPermitted, UsageError."""
        if not self.sign:
            return None
        from edgeagent.fleet.desired import signer

        return signer(private_key(Path(self.sign), self.passphrase_file), prefix)


def private_key(file: Path, passphrase_file: str | Path | None) -> PrivateKey:
    """An operator's key. Raises NotFound, NotPermitted, UsageError."""
    from edgeagent.errors import UsageError
    from edgeagent.plugins import to_install

    try:
        from edgeagent.fleet.keys import PrivateKey
    except ImportError as error:
        raise UsageError(
            "signing needs the package cryptography", remedy=to_install("fleet")
        ) from error
    return PrivateKey.load(file, secret(passphrase_file))


def secret(file: str | Path | None) -> str:
    """The passphrase in a file; nothing = none. Raises NotFound."""
    from edgeagent.errors import NotFound

    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}") from error


def _there(option: str, file: str) -> None:
    """A link would try again and again what no broker can mend. Raises NotFound."""
    from edgeagent.errors import NotFound

    if file and not Path(file).is_file():
        variable = f"EDGEAGENT_FLEET_{option[2:].replace('-', '_').upper()}"
        raise NotFound(f"{option}: there is no file {file}", remedy=f"Correct it, or {variable}.")


def existing(db: str) -> str:
    """An audit of a misspelt file must not be one of an empty fleet. Raises NotFound."""
    from edgeagent.errors import NotFound

    if "://" not in db and not Path(db).is_file():
        raise NotFound(f"there is no database {db}", remedy="Name it with --db.")
    return db


def known_devices(db: str) -> list[str]:
    """Devices of a collector's database; without one, none. Raises NotFound."""
    if not db:
        return []
    from edgeagent.fleet.database import open_database
    from edgeagent.fleet.roster import known

    database = open_database(existing(db))
    try:
        return known(database)
    finally:
        database.close()


def seconds(option: str, text: str) -> float:
    """Nothing = 0. Raises UsageError."""
    from edgeagent.config import units
    from edgeagent.errors import UsageError

    try:
        return units.seconds(text) if text else 0.0
    except ValueError as error:
        raise UsageError(f"{option}: {error}", remedy='Write it as "90 d" or "10 s".') from error
