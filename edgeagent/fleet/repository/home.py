"""The folder of a repository, and how its metadata is signed and written.

::

    public/metadata/    signed metadata      }  what devices get; may be copied to a web server
    public/targets/     the files            }
    root.json           the first root: goes onto every device, as trust.root
    keys/safe/          safe-1.pem …: to be carried away
    keys/online.pem     for snapshot and timestamp: where `fleet serve` runs
    keys/models/        parts.pem …: with those who publish
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from edgeagent.durable import replace
from edgeagent.errors import Busy, NotFound, NotPermitted, unwritable
from edgeagent.fleet.keys import PrivateKey
from edgeagent.fleet.repository import roles

_FIRST_ROOT = "root.json"


class Home:
    """One repository. ``safe`` are further folders with safe keys, such as mounted sticks."""

    def __init__(self, folder: Path, *, safe: Sequence[Path] = (), passphrase: str = "") -> None:
        self.folder = folder
        self.metadata = folder / "public" / "metadata"
        self.targets = folder / "public" / "targets"
        self.keys = folder / "keys"
        self.first_root = folder / _FIRST_ROOT
        self._safe = [*safe, self.keys / "safe"]
        self._passphrase = passphrase

    def check(self) -> Home:
        """This, if there is a repository. Raises NotFound."""
        if not (self.metadata / "1.root.json").is_file():
            raise NotFound(
                f"{self.folder} is no repository",
                remedy=f"Make one with: edgeagent fleet init {self.folder}",
            )
        return self

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Nobody else changes it meanwhile. Raises Busy, NotFound, NotPermitted."""
        self.check()
        try:
            lock = (self.folder / ".lock").open("w")
        except OSError as error:
            raise unwritable(self.folder, error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Busy(
                    f"{self.folder} is being changed by another process", remedy="Try again."
                ) from error
            yield

    # --- reading

    def root(self) -> Metadata[Root]:
        """The newest root."""
        versions = [int(file.name.split(".")[0]) for file in self.metadata.glob("*.root.json")]
        return self._load(f"{max(versions)}.root.json")

    def timestamp(self) -> Metadata[Timestamp]:
        return self._load("timestamp.json")

    def snapshot(self) -> Metadata[Snapshot]:
        version = self.timestamp().signed.snapshot_meta.version
        return self._load(f"{version}.snapshot.json")

    def listing(self, role: str) -> Metadata[Targets]:
        """``targets``, or the role of a model. Raises NotFound."""
        meta = self.snapshot().signed.meta.get(f"{role}.json")
        if meta is None:
            raise NotFound(f"the repository has no role {role}")
        return self._load(f"{meta.version}.{role}.json")

    def models(self) -> list[str]:
        """Names of the models that have a key."""
        known = self._delegations(self.listing("targets").signed).roles or {}
        return sorted(name.removeprefix("model-") for name in known)

    def _load(self, name: str) -> Metadata[Any]:
        try:
            return Metadata.from_file(str(self.metadata / name))
        except (OSError, DeserializationError) as error:
            raise NotFound(f"{self.metadata / name} can't be read: {error}") from error

    # --- keys

    def safe_key(self, name: str) -> PrivateKey | None:
        """A safe key, if it is within reach. Raises NotPermitted (the passphrase)."""
        for folder in self._safe:
            if (folder / f"{name}.pem").is_file():
                return PrivateKey.load(folder / f"{name}.pem", self._passphrase)
        return None

    def safe_keys(self) -> dict[str, PrivateKey]:
        """Name → key, of all that are within reach."""
        names = {file.stem for folder in self._safe for file in folder.glob("*.pem")}
        found = {name: self.safe_key(name) for name in sorted(names)}
        return {name: key for name, key in found.items() if key is not None}

    def online_key(self) -> PrivateKey:
        return PrivateKey.load(self.keys / "online.pem")

    def model_key(self, model: str) -> PrivateKey:
        return PrivateKey.load(self.keys / "models" / f"{model}.pem")

    # --- writing

    def sign(self, metadata: Metadata[Any], keys: Sequence[PrivateKey]) -> None:
        """Sign anew, by these keys only."""
        metadata.signatures.clear()
        for key in keys:
            metadata.sign(CryptoSigner(key.private, key_of(key)), append=True)

    def sign_by_safe(self, metadata: Metadata[Any], also: Sequence[Metadata[Root]] = ()) -> None:
        """Sign root or targets by the safe keys within reach.

        Args:
            metadata: what is to be signed.
            also: roots by whose rules it must count; for a new root the old and the new one.

        Raises NotPermitted where they are too few; the text says which and how many.
        """
        kind = metadata.signed.type
        rules = also or [self.root()]
        wanted = {keyid for root in rules for keyid in root.signed.roles[kind].keyids}
        here = {key_of(key).keyid: key for key in self.safe_keys().values()}
        self.sign(metadata, [key for keyid, key in here.items() if keyid in wanted])
        for root in rules:
            try:
                root.signed.verify_delegate(kind, metadata.signed_bytes, metadata.signatures)
            except UnsignedMetadataError as error:
                role = root.signed.roles[kind]
                present = sorted(name_of(root.signed, k) for k in role.keyids if k in here)
                raise NotPermitted(
                    f"{role.threshold} of the {len(role.keyids)} safe keys must sign this, and "
                    f"{len(present)} are here ({', '.join(present) or 'none'})",
                    remedy="Bring more of them from the safe: --safe FOLDER for each.",
                ) from error

    def write(self, name: str, metadata: Metadata[Any]) -> None:
        """Put a file of metadata in its place, for good. Raises NotPermitted and its kin."""
        data = metadata.to_bytes(JSONSerializer(compact=False))
        replace(self.metadata / name, data)

    def commit(self, listings: Mapping[str, Metadata[Targets]]) -> None:
        """Make signed listings count: a new snapshot names them, a new timestamp that one.

        The timestamp comes last: until then devices see the state before.
        """
        for role, metadata in listings.items():
            self.write(f"{metadata.signed.version}.{role}.json", metadata)
        snapshot = self.snapshot()
        for role, metadata in listings.items():
            snapshot.signed.meta[f"{role}.json"] = MetaFile(metadata.signed.version)
        self.renew_snapshot(snapshot)

    def renew_snapshot(self, snapshot: Metadata[Snapshot]) -> None:
        snapshot.signed.version += 1
        snapshot.signed.expires = roles.end_of("snapshot")
        self.sign(snapshot, [self.online_key()])
        self.write(f"{snapshot.signed.version}.snapshot.json", snapshot)
        self.renew_timestamp(snapshot.signed.version)

    def renew_timestamp(self, snapshot: int = 0) -> None:
        """A new timestamp; of the same snapshot unless one is named."""
        timestamp = self.timestamp()
        timestamp.signed.version += 1
        timestamp.signed.expires = roles.end_of("timestamp")
        if snapshot:
            timestamp.signed.snapshot_meta = MetaFile(snapshot)
        self.sign(timestamp, [self.online_key()])
        self.write("timestamp.json", timestamp)

    def begin(self, role: str, listing: Metadata[Targets] | None = None) -> Metadata[Targets]:
        """The next version of a listing, to be changed and signed."""
        metadata = listing or self.listing(role)
        metadata.signed.version += 1
        metadata.signed.expires = roles.end_of(role)
        return metadata

    @staticmethod
    def _delegations(targets: Targets) -> Delegations:
        if targets.delegations is None:
            targets.delegations = Delegations({}, {})
        return targets.delegations

    def delegate(self, targets: Targets, model: str, public: SSlibKey | None) -> None:
        """Let a key sign a model from now on; None = nobody."""
        role = roles.role_of(model)
        delegations = self._delegations(targets)
        known = delegations.roles if delegations.roles is not None else {}
        old = known.pop(role, None)
        if public is not None:
            known[role] = DelegatedRole(
                role, [public.keyid], 1, terminating=True, paths=roles.paths_of(model)
            )
            delegations.keys[public.keyid] = public
        for keyid in old.keyids if old is not None else ():
            if not any(keyid in its.keyids for its in known.values()):
                delegations.keys.pop(keyid, None)
        delegations.roles = known


def key_of(key: PrivateKey | str) -> SSlibKey:
    """A key as metadata has it, from a private one or from hex of the public one."""
    if isinstance(key, str):
        digest = hashlib.sha256(bytes.fromhex(key)).hexdigest()
        return SSlibKey(digest, "ed25519", "ed25519", {"public": key})
    return key_of(key.public.hex())


def name_of(root: Root, keyid: str) -> str:
    """What people call a safe key."""
    known = root.keys.get(keyid)
    name = known.unrecognized_fields.get("x-edgeagent-name") if known is not None else None
    return str(name or keyid[:8])


def named(key: SSlibKey, name: str) -> SSlibKey:
    """With the name by which people find it."""
    key.unrecognized_fields["x-edgeagent-name"] = name
    return key
