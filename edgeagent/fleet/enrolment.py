"""Who belongs to a fleet: enrolled from a CSV file, revoked, replaced.

A folder holds the ledger (``devices.json``, without secrets), what mosquitto reads (``mosquitto/
passwd`` and ``acl``) and, for each device that has not been set up yet, its unattended file
(``setup/{id}.toml``), which is the only place where its password stands in the clear.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.clock import rfc3339, wall_ns
from edgeagent.durable import replace
from edgeagent.errors import InputError, NotFound, StoreError, UsageError
from edgeagent.sync.topics import is_id

LEDGER = "devices.json"
_ITERATIONS = 101
"""Of mosquitto_passwd 2.0. The passwords are 160 random bits: more rounds would add nothing."""
_OURS = "# --- devices: from here on written by `edgeagent fleet enroll`, above are your own lines"
_PLAIN = ("id", "name", "site", "groups", "timezone")


@dataclass(frozen=True)
class Row:
    """A line of the CSV file."""

    id: str
    name: str = ""
    site: str = ""
    groups: tuple[str, ...] = ()
    timezone: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key of agent.toml → value."""


class Entry(msgspec.Struct):
    """A device of the ledger."""

    name: str = ""
    site: str = ""
    groups: list[str] = []
    enrolled: str = ""
    revoked: str = ""
    replaced: list[str] = []
    """When another box took its place; all of them keep its id, and with it its history."""
    keys: dict[str, Any] = {}
    timezone: str = ""

    @property
    def active(self) -> bool:
        return not self.revoked


def read_csv(file: Path) -> list[Row]:
    """Devices of a CSV file with a header.

    Columns ``id``, ``name``, ``site``, ``groups`` (by blanks) and ``timezone``; a column with a
    dot in its name is a key of agent.toml (``sources.cam0.device``). Without an id it is made of
    the name.

    Raises:
        NotFound: there is no such file.
        InputError: with all faults, a line each.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.DictReader(stream, skipinitialspace=True))
    except FileNotFoundError as error:
        raise NotFound(f"{file}: there is no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: can't be read: {error}") from error
    rows: list[Row] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 2):
        faults += [f"{file}:{number}: {said}" for said in _faults_of(line)]
        row = _row(line)
        if not is_id(row.id):
            faults.append(f"{file}:{number}: {row.id!r} can't be an id: letters, digits, - and _")
        elif row.id in seen:
            faults.append(f"{file}:{number}: the id {row.id} is in line {seen[row.id]} as well")
        seen.setdefault(row.id, number)
        rows.append(row)
    if faults:
        raise InputError("\n".join(faults), remedy="Correct these lines; nothing was enrolled.")
    if not rows:
        raise InputError(
            f"{file}: there are no devices in it",
            remedy="The first line names columns: name,site,groups,sources.cam0.device",
        )
    return rows


def _faults_of(line: Mapping[str | None, Any]) -> list[str]:
    found = [
        f"there is no column {name!r}: one of {', '.join(_PLAIN)}, or a dotted key of agent.toml"
        for name in line
        if name is not None and name not in _PLAIN and "." not in name
    ]
    if None in line:
        found.append("it has more fields than the first line")
    if not (line.get("id") or line.get("name")):
        found.append("it has neither an id nor a name")
    return found


def _row(line: Mapping[str | None, Any]) -> Row:
    said = {str(key): str(value or "").strip() for key, value in line.items() if key is not None}
    return Row(
        said.get("id") or slug(said.get("name", "")),
        said.get("name", ""), said.get("site", ""), tuple(said.get("groups", "").split()),
        said.get("timezone", ""),
        {key: _value(value) for key, value in said.items() if "." in key and value},
    )  # fmt: skip


def _value(text: str) -> Any:
    """A number or a truth value where it is one; what begins with a needless 0 is a name."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?(0|[1-9]\d*)", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?(0|[1-9]\d*)?\.\d+", text) else text


def slug(name: str) -> str:
    """``"Tür 7, Halle"`` → ``tur-7-halle``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:64]


class Enrolment:
    """The folder of a fleet's devices. One person at a time."""

    def __init__(self, folder: Path, *, prefix: str = "edgeagent") -> None:
        """Raises StoreError where the ledger can't be read."""
        self.folder = folder
        self._prefix = prefix
        try:
            text = (folder / LEDGER).read_bytes()
            self.devices = msgspec.json.decode(text, type=dict[str, Entry])
        except FileNotFoundError:
            self.devices = {}
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreError(f"{folder / LEDGER}: can't be read: {error}") from error

    def enroll(self, rows: Sequence[Row], setup: Callable[[str, Entry, str], str]) -> list[str]:
        """Give each device that is new a password; the ids that are.

        Args:
            rows: as `read_csv` gives them. Who is enrolled already stays as it is.
            setup: makes the unattended file of an id, its entry and its password.

        Raises:
            EdgeAgentError: a file can't be written.
        """
        fresh: dict[str, str] = {}
        for row in rows:
            if row.id in self.devices and self.devices[row.id].active:
                continue
            known = self.devices.get(row.id, Entry())
            self.devices[row.id] = Entry(
                row.name, row.site, list(row.groups), rfc3339(wall_ns()), "", known.replaced,
                dict(row.keys), row.timezone,
            )  # fmt: skip
            fresh[row.id] = secrets.token_urlsafe(20)
        self._keep(fresh, setup)
        return list(fresh)

    def revoke(self, ids: Sequence[str]) -> None:
        """Take the login away. Raises NotFound, UsageError, EdgeAgentError."""
        for device in ids:
            self._entry(device).revoked = rfc3339(wall_ns())
        self._keep({}, None)
        for device in ids:
            (self.folder / "setup" / f"{device}.toml").unlink(missing_ok=True)

    def replace(self, device: str, setup: Callable[[str, Entry, str], str]) -> None:
        """Another box takes its place: same id, another password. Raises NotFound, UsageError."""
        entry = self._entry(device)
        entry.replaced.append(rfc3339(wall_ns()))
        self._keep({device: secrets.token_urlsafe(20)}, setup)

    def _entry(self, device: str) -> Entry:
        entry = self.devices.get(device)
        if entry is None:
            raise NotFound(f"{device}: no such device in {self.folder / LEDGER}")
        if not entry.active:
            raise UsageError(
                f"{device} was revoked at {entry.revoked}",
                remedy="Enroll it again from a CSV file with its line.",
            )
        return entry

    def _keep(
        self, fresh: Mapping[str, str], setup: Callable[[str, Entry, str], str] | None
    ) -> None:
        """Everything on disk, in an order in which a broken-off run can be repeated: a device
        whose password is known to the broker always has its unattended file."""
        for device, password in fresh.items():
            assert setup is not None
            text = setup(device, self.devices[device], password)
            self._write(self.folder / "setup" / f"{device}.toml", text)
        lines = self._passwords()
        lines |= {device: hashed(password) for device, password in fresh.items()}
        active = {device for device, entry in self.devices.items() if entry.active}
        others = {name for name in lines if name not in self.devices}
        kept = sorted(name for name in lines if name in active | others)
        place = self.folder / "mosquitto"
        self._write(place / "passwd", "".join(f"{name}:{lines[name]}\n" for name in kept))
        self._write(place / "acl", self._rules(sorted(active)))
        ledger = msgspec.json.format(msgspec.json.encode(self.devices, order="sorted"), indent=1)
        self._write(self.folder / LEDGER, ledger.decode() + "\n")

    def _rules(self, devices: Sequence[str]) -> str:
        """The access file: what others have written into it stays."""
        file = self.folder / "mosquitto" / "acl"
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        except OSError as error:
            raise StoreError(f"{file}: {error.strerror}") from error
        others = text.partition(_OURS)[0].rstrip() or people(self._prefix)
        rules = "\n".join(access(device, self._prefix) for device in devices)
        return f"{others}\n\n{_OURS}\n{rules}"

    def _passwords(self) -> dict[str, str]:
        """Who is in the broker's file, people and consoles as well."""
        try:
            text = (self.folder / "mosquitto" / "passwd").read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"{self.folder}/mosquitto/passwd: {error.strerror}") from error
        pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
        return {name: rest for name, _, rest in pairs}

    def _write(self, file: Path, text: str) -> None:
        replace(file, text.encode(), mode=0o600)


def hashed(password: str) -> str:
    """As mosquitto_passwd 2.0 writes it: PBKDF2 with HMAC-SHA-512."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS, 64)
    shown = (base64.b64encode(its).decode() for its in (salt, digest))
    return f"$7${_ITERATIONS}${'$'.join(shown)}"


def access(device: str, prefix: str) -> str:
    """What a device may do at mosquitto (contract §1), under a user of its own name."""
    own, group = f"{prefix}/{device}", f"{prefix}/group/+"
    return (
        f"user {device}\n"
        f"topic write {own}/#\n"
        + "".join(f"topic read {own}/{name}\n" for name in (
            "cmd/#", "do/#", "fetch/#", "desired", "confirm/+", "status"))
        + f"topic read {group}/desired\ntopic read {group}/cmd/#\n"
    )  # fmt: skip


def people(prefix: str) -> str:
    """What who works for the fleet may do; each works once it has a password
    (``mosquitto_passwd mosquitto/passwd operator``)."""
    return (
        f"# People and consoles that steer the fleet.\n"
        f"user operator\ntopic readwrite {prefix}/#\n\n"
        f"# edgeagent fleet collect: takes records and evidence, confirms what it has.\n"
        f"user collector\ntopic read {prefix}/+/records\ntopic read {prefix}/+/blob/#\n"
        f"topic read {prefix}/+/status\ntopic write {prefix}/+/confirm/main\n\n"
        f"# edgeagent fleet serve: answers requests for models.\n"
        f"user repository\ntopic read {prefix}/+/fetch\ntopic write {prefix}/+/fetch/+/+\n"
    )
