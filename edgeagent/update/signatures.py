"""Signed commands and desired states: DSSE envelopes, verified by operators' keys.

An envelope carries the exact bytes that were signed, so nothing depends on how JSON is written.
Source: https://github.com/secure-systems-lab/dsse (protocol.md, envelope.md); Ed25519 only, by
the pure Python that securesystemslib carries, loaded when the first envelope comes. An operator's
key is a file ``{name}.pub`` of the device, or stands in the signed target ``operators.json``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from edgeagent.errors import RuntimeMissing, Untrusted

COMMAND = "application/vnd.edgeagent.command+json"
DESIRED = "application/vnd.edgeagent.desired+json"
OPERATORS = "operators.json"
"""Path of the target that lists operators for the whole fleet."""
MOST_SIGNATURES = 8
MOST_FILE = 64 * 1024
_SPKI = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in a PEM file (RFC 8410)."""
_HEX = re.compile(r"[0-9a-f]{64}")


class Signature(Struct, frozen=True):
    keyid: str
    sig: str
    """Base64."""


class Envelope(Struct, frozen=True, rename={"payload_type": "payloadType"}):
    """What travels: see the module's source."""

    payload: str
    """Base64."""
    payload_type: str
    signatures: list[Signature]


class Signed(Struct, frozen=True):
    """What an operator has said."""

    payload: bytes
    """Exactly what was signed: JSON."""
    by: str
    """The operator's name, by whose key it was."""


class Listed(Struct, frozen=True):
    """One operator of ``operators.json``."""

    key: str
    """64 hex digits."""


class OperatorList(Struct, frozen=True):
    """The target ``operators.json``."""

    operators: dict[str, Listed] = field(default_factory=dict)


class Operators:
    """Those whose signature counts on this device.

    Files are read whenever a signature is to be checked: a key that is added or taken away
    counts at once.
    """

    def __init__(self, folder: Path | None, listed: Path | None = None) -> None:
        """``folder`` holds ``{name}.pub``; ``listed`` is our copy of ``operators.json``."""
        self._folder = folder
        self._listed = listed

    def keys(self) -> dict[str, tuple[str, bytes]]:
        """Key id → name and public key. A file that can't be read gives nobody any right."""
        found: dict[str, tuple[str, bytes]] = {}
        for name, key in (*_of_list(self._listed), *_of_folder(self._folder)):
            found[keyid(key)] = (name, key)
        return found

    def open(self, document: Mapping[str, Any], payload_type: str) -> Signed:
        """What is in an envelope, by whom.

        Raises:
            Untrusted: it is no envelope of that type, or nobody known has signed it.
            RuntimeMissing: securesystemslib is not installed.
        """
        try:
            envelope = msgspec.convert(document, Envelope)
            payload = base64.b64decode(envelope.payload, validate=True)
        except (msgspec.ValidationError, ValueError) as error:
            raise Untrusted(f"this is no signed envelope: {error}") from error
        if envelope.payload_type != payload_type:
            raise Untrusted(
                f"what is signed is {envelope.payload_type[:80]!r} and not {payload_type!r}"
            )
        message = encoding(payload_type, payload)
        known = self.keys()
        for signature in envelope.signatures[:MOST_SIGNATURES]:
            name, key = known.get(signature.keyid, ("", b""))
            if key and _valid(signature.sig, message, key):
                return Signed(payload, name)
        raise Untrusted(
            "no operator whom this device knows has signed it",
            remedy="Put the operator's public key into trust.operators, or publish it in "
            f"{OPERATORS} (edgeagent fleet key operator).",
        )


def is_envelope(document: Mapping[str, Any]) -> bool:
    """Whether it claims to be signed."""
    return "payload" in document and "signatures" in document


def addressed(payload: bytes, **expected: str) -> dict[str, Any]:
    """The object that was signed, if it is meant for who got it.

    Args:
        payload: of `Signed`.
        expected: what its fields must be: ``device`` or ``group``, of a command also ``type``
            and ``id``. A signed order can't be sent to anybody else, nor under another id.

    Raises:
        Untrusted: it is no object, or says otherwise.
    """
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Untrusted(f"what was signed is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Untrusted("what was signed is no object")
    both = {"device", "group"} - expected.keys()
    for name in (*expected, *both):
        said, wanted = found.get(name), expected.get(name)
        if said != wanted:
            raise Untrusted(f"it was signed for {name} {said!r} and came for {wanted!r}")
    return found


def encoding(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is really signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def keyid(public: bytes) -> str:
    """Stands for a key: the first half of its SHA-256, in hex."""
    return hashlib.sha256(public).hexdigest()[:32]


def public_key(text: str) -> bytes:
    """32 bytes of an Ed25519 key, from PEM or 64 hex digits. Raises ValueError."""
    text = text.strip()
    if _HEX.fullmatch(text.lower()):
        return bytes.fromhex(text)
    lines = text.splitlines()
    if len(lines) < 3 or lines[0] != "-----BEGIN PUBLIC KEY-----":
        raise ValueError("it is neither a PEM public key nor 64 hex digits")
    found = base64.b64decode("".join(lines[1:-1]), validate=True)
    if len(found) != len(_SPKI) + 32 or not found.startswith(_SPKI):
        raise ValueError("it is no Ed25519 key")
    return found[len(_SPKI) :]


def _of_folder(folder: Path | None) -> list[tuple[str, bytes]]:
    if folder is None or not folder.is_dir():
        return []
    found = []
    for file in sorted(folder.glob("*.pub")):
        key = _key(_text(file))
        if key is not None:
            found.append((file.stem, key))
    return found


def _of_list(file: Path | None) -> list[tuple[str, bytes]]:
    if file is None or not file.is_file():
        return []
    try:
        listed = msgspec.json.decode(_text(file), type=OperatorList)
    except msgspec.MsgspecError:
        return []
    pairs = ((name, _key(its.key)) for name, its in listed.operators.items())
    return [(name, key) for name, key in pairs if key is not None]


def _key(text: str) -> bytes | None:
    try:
        return public_key(text)
    except ValueError:
        return None


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(MOST_FILE)
    except OSError:
        return ""


def _valid(signature: str, message: bytes, key: bytes) -> bool:
    try:
        from securesystemslib._vendor.ed25519 import ed25519
    except ImportError as error:
        from edgeagent.plugins import to_install

        raise RuntimeMissing(
            "signatures can't be verified: securesystemslib is not installed",
            remedy=f"Install it: {to_install('update')}",
        ) from error
    check: Any = ed25519.checkvalid  # It has no types.
    try:
        check(base64.b64decode(signature, validate=True), message, key)
    except (ed25519.SignatureMismatch, ValueError, IndexError):
        return False
    return True
