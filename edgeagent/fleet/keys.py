"""Ed25519 keys of operators and of the repository, and what they sign.

A private key is a PEM file (PKCS #8), readable for its owner only, encrypted where a passphrase
is given. A public one is a PEM file that any tool reads.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeagent.errors import NotFound, NotPermitted, UsageError, unwritable
from edgeagent.update import signatures


class PrivateKey:
    """One private key in memory."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def new(cls) -> PrivateKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, file: Path, passphrase: str = "") -> PrivateKey:
        """Raises NotFound, NotPermitted (the passphrase), UsageError (not such a key)."""
        try:
            text = file.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"there is no key {file}", remedy="Bring it from the safe.") from error
        except OSError as error:
            raise NotPermitted(f"the key {file} can't be read: {error.strerror}") from error
        try:
            key = form.load_pem_private_key(text, passphrase.encode() or None)
        except TypeError as error:
            raise NotPermitted(
                f"the key {file} needs a passphrase, or has none",
                remedy="Give it with --passphrase-file, or leave that out.",
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise NotPermitted(
                f"the key {file} can't be opened: a wrong passphrase, or no PEM key"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise UsageError(f"{file} is no Ed25519 key: devices verify no other kind")
        return cls(key)

    def save(self, file: Path, passphrase: str = "") -> None:
        """Write it, and ``.pub`` beside it. Raises UsageError where there is one already."""
        cipher: form.KeySerializationEncryption = form.NoEncryption()
        if passphrase:
            cipher = form.BestAvailableEncryption(passphrase.encode())
        pem = self._key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, cipher)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(pem)
                stream.flush()
                os.fsync(stream.fileno())
            file.with_suffix(".pub").write_text(self.public_pem)
        except FileExistsError as error:
            raise UsageError(
                f"{file} exists: a key is never written over", remedy="Name another file."
            ) from error
        except OSError as error:
            raise unwritable(file, error) from error

    @property
    def private(self) -> Ed25519PrivateKey:
        return self._key

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return self._key.public_key().public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)

    @property
    def public_pem(self) -> str:
        kind = form.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(form.Encoding.PEM, kind).decode()

    def envelope(self, document: Mapping[str, Any] | bytes, payload_type: str) -> bytes:
        """A signed envelope (DSSE) as it is published, JSON.

        Args:
            document: what is to be signed; must say its ``device`` or ``group``, a command also
                its ``type``, ``id`` and ``at``.
            payload_type: `signatures.COMMAND` or `signatures.DESIRED`.
        """
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        signed = self._key.sign(signatures.encoding(payload_type, payload))
        return json.dumps(
            {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": payload_type,
                "signatures": [
                    {
                        "keyid": signatures.keyid(self.public),
                        "sig": base64.b64encode(signed).decode(),
                    }
                ],
            }
        ).encode()
