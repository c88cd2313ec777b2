"""Who vouches for code that a model package brings (`handler.py`).

Either the fleet's repository: the file stands, with its hash, in what was signed there and brought
here (`trust.repository`, which keeps it). Or an operator: ``handler.sig`` beside it is an envelope
(`signatures`) over the model's name and version and the hash of the file, so that it fits nothing
else. What stands in the package folder alone vouches for nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from edgeagent.config.units import seconds, size_bytes
from edgeagent.errors import NotFound, Untrusted
from edgeagent.manifest import HANDLER
from edgeagent.packaged import permit
from edgeagent.packaged.permit import Terms, Vouched, read
from edgeagent.update.signatures import Operators

if TYPE_CHECKING:
    from edgeagent.config.model import Config
    from edgeagent.manifest import Package

SIGNATURE = "handler.sig"
CODE = "application/vnd.edgeagent.handler+json"
"""Type of what `SIGNATURE` envelops."""
_MOST = 64 * 1024


class Statement(Struct, frozen=True):
    """What an operator says by ``handler.sig``."""

    model: str
    version: str
    sha256: str
    """Of `HANDLER`."""


class _Signed(Struct, frozen=True):
    sha256: str


class Vouching:
    """A `packaged.permit.Permit` over a device's own files."""

    def __init__(self, signed: Path, operators: Operators, terms: Terms = Terms()) -> None:  # noqa: B008
        """``signed``: what `TrustedRepository` keeps of what it brought."""
        self._signed = signed
        self._operators = operators
        self._terms = terms

    def __call__(self, package: Package) -> Vouched:
        """Raises Untrusted, PackageError."""
        code = read(package)
        sha256 = hashlib.sha256(code).hexdigest()
        listed = package.manifest.files.get(HANDLER)
        if listed is not None and listed.sha256 != sha256:
            raise _changed(package, "model.toml lists")
        by = self._fleet(package, sha256) or self._operator(package, sha256)
        return Vouched(code, by, self._terms)

    def _fleet(self, package: Package, sha256: str) -> str:
        """The fleet, where its repository has signed this file for this model."""
        of_model = f"models/{package.name}/"
        for path, its in self._known().items():
            if path.startswith(of_model) and path.endswith(f"/{HANDLER}") and its.sha256 == sha256:
                return "the fleet's repository"
        if f"{of_model}{package.version}/{HANDLER}" in self._known():
            raise _changed(package, "the fleet's repository has signed")
        return ""

    def _operator(self, package: Package, sha256: str) -> str:
        try:
            with (package.folder / SIGNATURE).open("rb") as stream:
                envelope = msgspec.json.decode(stream.read(_MOST), type=dict[str, Any])
        except FileNotFoundError as error:
            raise Untrusted(
                f"{package.folder / HANDLER} is signed by nobody, so it is not run",
                remedy=f"Have an operator sign it (edgeagent models sign {package.folder} --key "
                "FILE), or take the package from the fleet's repository.",
            ) from error
        except (OSError, msgspec.MsgspecError) as error:
            raise Untrusted(
                f"{package.folder / SIGNATURE} can't be read: {error}", remedy=_AGAIN
            ) from error
        signed = self._operators.open(envelope, CODE)
        try:
            said = msgspec.json.decode(signed.payload, type=Statement)
        except msgspec.MsgspecError as error:
            raise Untrusted(f"{package.folder / SIGNATURE}: {error}", remedy=_AGAIN) from error
        if (said.model, said.version) != (package.name, package.version):
            raise Untrusted(
                f"{package.folder / SIGNATURE} was made for {said.model} {said.version}, and this "
                f"is {package.name} {package.version}",
                remedy=_AGAIN,
            )
        if said.sha256 != sha256:
            raise _changed(package, f"operator {signed.by} has signed")
        return f"operator {signed.by}"

    def _known(self) -> Mapping[str, _Signed]:
        try:
            return msgspec.json.decode(self._signed.read_bytes(), type=dict[str, _Signed])
        except (OSError, msgspec.MsgspecError):
            return {}


_AGAIN = "Sign it anew: edgeagent models sign."


def permit_of(config: Config, folder: Path) -> permit.Permit:
    """Whose code runs on the device with this configuration and data folder."""
    keys = config.plugins
    if not keys.packaged:
        return permit.nobody
    operators = Path(config.trust.operators) if config.trust.operators else None
    return Vouching(
        folder / "trust" / "signed.json",
        Operators(operators, folder / "trust" / "operators.json"),
        Terms(seconds(keys.timeout), size_bytes(keys.memory)),
    )


def statement(package: Package) -> bytes:
    """What an operator signs. Raises NotFound: the package brings no code; PackageError."""
    if not package.brings_code:
        raise NotFound(f"{package.folder} has no {HANDLER}: there is nothing to sign")
    sha256 = hashlib.sha256(read(package)).hexdigest()
    return msgspec.json.encode(Statement(package.name, package.version, sha256))


def _changed(package: Package, whose: str) -> Untrusted:
    return Untrusted(
        f"{package.folder / HANDLER} is not the one that {whose}: it was changed",
        remedy="Install the package anew; find out who changed it.",
    )
