"""A device is set up from one file: keys of agent.toml, and a table ``[setup]`` with what must not
stand there, the broker's password and its authority.

The file lies on the boot partition of a card, which any computer can write, or comes from a
wizard's questions. Everything is checked before anything is kept; then its secrets are wiped.
"""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import Any

from edgeagent.cli import views
from edgeagent.durable import put
from edgeagent.errors import ConfigError, EdgeAgentError, NotFound, unwritable

NAME = "edgeagent-setup.toml"
BOOT = (Path("/boot/firmware") / NAME, Path("/boot") / NAME, Path("/boot/efi") / NAME)
VERSION = 1
_KEYS = {
    "version": {"const": VERSION, "description": "of this form of file"},
    "password": {"type": "string", "description": "of mqtt.username; kept apart, then wiped"},
    "ca": {"type": "string", "description": "the authority of the broker's certificate, PEM"},
}
"""Of the table ``[setup]``, as JSON Schema."""


def on_boot_partition() -> Path | None:
    """The file that somebody has put on the card, if one did."""
    return next((file for file in BOOT if file.is_file()), None)


def tables(
    device: dict[str, Any], mqtt: dict[str, Any], *, password: str = "", ca: str = "",
    keys: dict[str, Any] | None = None, base: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The content of an unattended file.

    Args:
        device: of agent.toml.
        mqtt: of agent.toml.
        password: of mqtt.username.
        ca: the broker's authority, PEM.
        keys: dotted key of agent.toml → value; they win.
        base: tables that all devices have.

    Raises:
        ConfigError: a key goes through another one's value.
    """
    content: dict[str, Any] = {"setup": {"version": VERSION}}
    if password:
        content["setup"]["password"] = password
    if ca:
        content["setup"]["ca"] = ca
    content |= {name: copy.deepcopy(its) for name, its in (base or {}).items() if name != "setup"}
    content["device"] = {**content.get("device", {}), **_said(device)}
    content["mqtt"] = {**content.get("mqtt", {}), **_said(mqtt)}
    for key, value in (keys or {}).items():
        *path, last = key.split(".")
        table = content
        for name in path:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{key}: {name} is a value already, not a table")
        table[last] = value
    return content


def plain(file: Path) -> dict[str, Any]:
    """Any TOML file. Raises NotFound, ConfigError."""
    from edgeagent.config.toml import read_plainly

    try:
        return read_plainly(file)
    except FileNotFoundError as error:
        raise NotFound(f"{file}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error


def read(file: Path) -> dict[str, Any]:
    """An unattended file.

    Raises:
        NotFound: there is none.
        ConfigError: it is not TOML, or its table ``[setup]`` is not understood.
    """
    content = plain(file)
    setup = content.get("setup")
    if not isinstance(setup, dict) or setup.get("version") != VERSION:
        raise ConfigError(
            f"{file}: it is no unattended file of this version",
            remedy=f"It needs the table [setup] with version = {VERSION}; "
            "`edgeagent fleet enroll` writes such files.",
        )
    unknown = sorted(set(setup) - set(_KEYS))
    if unknown:
        raise ConfigError(
            f"{file}: setup.{unknown[0]} is not known",
            remedy=f"Known are {', '.join(sorted(_KEYS))}; other tables are those of agent.toml.",
        )
    return content


def schema() -> dict[str, Any]:
    """JSON Schema of an unattended file: that of agent.toml and the table ``[setup]``."""
    from edgeagent.config.schema import config_schema

    document = config_schema()
    table = {"type": "object", "properties": _KEYS, "required": ["version"],
             "additionalProperties": False}  # fmt: skip
    config = document["$defs"]["Config"]
    config["properties"] = {"setup": table, **config["properties"]}
    config["required"] = [*config.get("required", []), "setup"]
    return {**document, "$id": document["$id"].replace("config", "setup"), "title": NAME}


class Setup:
    """Puts a content in force below ``/etc/edgeagent``.

    Args:
        etc: the folder of the configuration; made if it is missing.
        data: the agent's data folder, or None for the configuration's own.
    """

    def __init__(self, etc: Path, data: Path | None = None) -> None:
        self._etc, self._data = etc, data
        self.main = etc / "agent.toml"
        self.file = etc / "conf.d" / "10-setup.toml"

    def apply(self, content: dict[str, Any]) -> list[Path]:
        """Check, then write the configuration and its secrets; the files that were written.

        Raises:
            ConfigError: with all faults; nothing has changed.
            NotPermitted, StoreError: a file can't be written.
        """
        table, secrets = self._parted(content)
        # What it names must be there before it can be checked; what was there comes back.
        before = {file: file.read_bytes() if file.exists() else None for file, _ in secrets}
        fresh = not self.main.exists()
        try:
            for file, text in secrets:
                self._write(file, text)
            if fresh:
                self._write(self.main, "# What `edgeagent setup` was told is in conf.d/.\n")
            self._check(views.toml(table) + "\n")
        except EdgeAgentError:
            for file, old in before.items():
                _restore(file, old)
            if fresh:
                self.main.unlink(missing_ok=True)
            raise
        self._write(self.file, views.toml(table) + "\n")
        return [*(file for file, _ in secrets), self.file]

    def _parted(self, content: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[Path, str]]]:
        """The configuration that names its secrets, and the secrets by their files."""
        setup = content["setup"]
        table = {name: value for name, value in content.items() if name != "setup"}
        mqtt = table.setdefault("mqtt", {})
        secret, authority = self._etc / "secrets" / "mqtt", self._etc / "secrets" / "ca.crt"
        secrets: list[tuple[Path, str]] = []
        if setup.get("password"):
            secrets.append((secret, f"{setup['password']}\n"))
            mqtt["password_file"] = str(secret)
        if setup.get("ca"):
            secrets.append((authority, setup["ca"]))
            mqtt["tls"] = {**(mqtt.get("tls") or {}), "ca": str(authority)}
        return table, secrets

    def _check(self, text: str) -> None:
        from edgeagent.cli import options
        from edgeagent.config.load import load

        tried = self.file.with_name(f".{self.file.name}.tried")
        old = self.file.with_name(f".{self.file.name}.old")
        if old.exists() and not self.file.exists():
            old.replace(self.file)  # the one before was broken off just here
        self._write(tried, text)
        folder = self._data or options.data_folder(self.main, None)
        # A setup from before is replaced, so it must not count.
        if self.file.exists():
            self.file.replace(old)
        try:
            load([self.main, tried], data_dir=folder, **options.checks(folder))
        except ConfigError as problem:
            said = str(problem).replace(str(tried), NAME)
            raise ConfigError(f"nothing was changed:\n{said}", remedy=problem.remedy) from problem
        finally:
            tried.unlink(missing_ok=True)
            if old.exists():
                old.replace(self.file)

    def _write(self, file: Path, text: str) -> None:
        """As the configuration's owner and group, for nobody else."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            # The service may read its configuration and not change it.
            group = self._etc.stat().st_gid if os.geteuid() == 0 else None
            put(file, text.encode(), mode=0o640, group=group)
        except OSError as error:
            raise unwritable(file, error) from error


def wipe(file: Path) -> None:
    """Remove an unattended file, its secrets first: on a FAT partition a removed file can be
    read. Raises NotPermitted, StoreError."""
    try:
        size = file.stat().st_size
        with file.open("r+b") as out:
            out.write(b"#" * size)
            out.flush()
            os.fsync(out.fileno())
        file.unlink()
    except OSError as error:
        raise unwritable(file, error) from error


def complain(file: Path, problem: EdgeAgentError) -> None:
    """Leave the reason beside a file that can't be used, for who takes the card out again."""
    text = f"{problem}\n{problem.remedy}\n"
    try:
        file.with_suffix(".error.txt").write_text(text, encoding="utf-8")
    except OSError as error:
        raise unwritable(file.with_suffix(".error.txt"), error) from error


START = "start the agent to put it in force"


def reload() -> str:
    """Have the service take it up; what was done, in words. Empty = there is none."""
    import subprocess

    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return ""
    command = ["systemctl", "--no-block", "reload-or-restart", "edgeagent.service"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"the service could not be told: {done.stderr.strip()}"
    return "the service was told to take it up; see: edgeagent status"


def _said(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value not in ("", None, [], ())}


def _restore(file: Path, old: bytes | None) -> None:
    if old is None:
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(old)
