"""How a repository begins, and how its keys are changed: what is done once, by people, with care.

A key that is lost or stolen is replaced by `rotate`; devices follow by themselves, because a new
root is signed by enough of the old keys. Only when more than n − k safe keys are gone must every
device be given a new first root by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from edgeagent.durable import replace, write_through
from edgeagent.errors import NotFound, UsageError
from edgeagent.fleet.keys import PrivateKey
from edgeagent.fleet.repository import roles
from edgeagent.fleet.repository.home import Home, key_of, name_of, named
from edgeagent.update.signatures import OPERATORS, public_key


@dataclass(frozen=True, slots=True)
class Ceremony:
    """What `begin` has made."""

    home: Home
    safe: list[str]
    threshold: int
    models: list[str]


def begin(
    folder: Path, *, keys: int = 3, threshold: int = 2, models: Sequence[str] = (),
    passphrase: str = "",
) -> Ceremony:  # fmt: skip
    """Make keys and an empty repository.

    Raises UsageError where there is one already, or no threshold can be like that.
    """
    if not 1 <= threshold <= keys <= 16:
        raise UsageError(f"{threshold} of {keys} keys is no threshold")
    home = Home(folder, passphrase=passphrase)
    if (home.metadata / "1.root.json").exists():
        raise UsageError(f"{folder} is a repository already", remedy="Name another folder.")
    for model in models:
        roles.role_of(model)
    names = [f"safe-{number + 1}" for number in range(keys)]
    safe = {name: PrivateKey.new() for name in names}
    online = PrivateKey.new()
    for name, key in safe.items():
        key.save(home.keys / "safe" / f"{name}.pem", passphrase)
    online.save(home.keys / "online.pem")
    root = Root(version=1, expires=roles.end_of("root"), consistent_snapshot=True)
    for name, key in safe.items():
        for role in ("root", "targets"):
            root.add_key(named(key_of(key), name), role)
    for role in ("root", "targets"):
        root.roles[role].threshold = threshold
    for role in roles.ONLINE:
        root.add_key(named(key_of(online), "online"), role)
    targets = Targets(version=1, expires=roles.end_of("targets"))
    listings = _first_models(home, targets, models)
    _write_first(home, root, {"targets": Metadata(targets), **listings}, list(safe.values()))
    return Ceremony(home, names, threshold, list(models))


def _first_models(
    home: Home, targets: Targets, models: Sequence[str]
) -> dict[str, Metadata[Targets]]:
    listings = {}
    for model in models:
        key = PrivateKey.new()
        key.save(home.keys / "models" / f"{model}.pem")
        home.delegate(targets, model, key_of(key))
        role = roles.role_of(model)
        listings[role] = Metadata(Targets(version=1, expires=roles.end_of(role)))
        listings[role].sign(CryptoSigner(key.private, key_of(key)))
    return listings


def _write_first(
    home: Home, root: Root, listings: dict[str, Metadata[Targets]], safe: Sequence[PrivateKey]
) -> None:
    first = Metadata(root)
    for metadata in (first, listings["targets"]):
        home.sign(metadata, safe)
    home.targets.mkdir(parents=True, exist_ok=True)
    meta = {f"{role}.json": MetaFile(1) for role in listings}
    snapshot = Metadata(Snapshot(version=1, expires=roles.end_of("snapshot"), meta=meta))
    timestamp = Metadata(
        Timestamp(version=1, expires=roles.end_of("timestamp"), snapshot_meta=MetaFile(1))
    )
    online = home.online_key()
    home.sign(snapshot, [online])
    home.sign(timestamp, [online])
    home.write("1.root.json", first)
    for role, listing in listings.items():
        home.write(f"1.{role}.json", listing)
    home.write("1.snapshot.json", snapshot)
    home.write("timestamp.json", timestamp)
    replace(home.first_root, (home.metadata / "1.root.json").read_bytes())


# --- changing keys


def add_model(home: Home, model: str) -> None:
    """A key for a new model. Needs safe keys. Raises UsageError where it has one."""
    with home.writing():
        if model in home.models():
            raise UsageError(f"{model} has a key already", remedy="See: edgeagent fleet key list")
        key = PrivateKey.new()
        role = roles.role_of(model)
        targets = home.begin("targets")
        home.delegate(targets.signed, model, key_of(key))
        home.sign_by_safe(targets)
        key.save(home.keys / "models" / f"{model}.pem")
        listing = _empty(home, role)
        home.sign(listing, [key])
        home.commit({"targets": targets, role: listing})


def _empty(home: Home, role: str) -> Metadata[Targets]:
    try:
        # A role that was once revoked goes on with its numbers, or devices would see a rollback.
        version = home.listing(role).signed.version + 1
    except NotFound:
        version = 1
    return Metadata(Targets(version=version, expires=roles.end_of(role)))


def rotate(home: Home, name: str) -> Path:
    """Replace a key: ``online``, a safe key (``safe-2``) or a model's. Needs safe keys.

    Returns the file of the new key; the old one lies beside it, as ``.old``. Raises NotFound.
    """
    with home.writing():
        if name == "online":
            return _rotate_online(home)
        if name in _safe_names(home.root().signed):
            return _rotate_safe(home, name)
        if name in home.models():
            return _rotate_model(home, name)
    raise NotFound(
        f"there is no key {name!r}", remedy="See what there is with: edgeagent fleet key list"
    )


def revoke(home: Home, model: str) -> None:
    """Nobody may sign a model any more, and none of its files counts. Needs safe keys."""
    with home.writing():
        if model not in home.models():
            raise NotFound(f"there is no model {model!r}; there are: {', '.join(home.models())}")
        targets = home.begin("targets")
        home.delegate(targets.signed, model, None)
        home.sign_by_safe(targets)
        home.commit({"targets": targets})


def renew(home: Home) -> list[str]:
    """Sign anew what only people can: root and targets, for another year. Needs safe keys."""
    with home.writing():
        _publish_root(home, home.root())
        targets = home.begin("targets")
        home.sign_by_safe(targets)
        listings = {"targets": targets}
        for model in home.models():
            role = roles.role_of(model)
            listings[role] = home.begin(role)
            home.sign(listings[role], [home.model_key(model)])
        home.commit(listings)
        return ["root", *listings]


def operators(home: Home) -> dict[str, str]:
    """Name → public key (hex) of the operators whom the whole fleet knows."""
    target = home.listing("targets").signed.targets.get(OPERATORS)
    if target is None:
        return {}
    held = home.targets / f"{target.hashes['sha256']}.{OPERATORS}"
    return {name: its["key"] for name, its in json.loads(held.read_text())["operators"].items()}


def set_operator(home: Home, name: str, public_pem: str | None) -> None:
    """Let the whole fleet know an operator, or (None) no longer. Needs safe keys."""
    with home.writing():
        known = operators(home)
        if public_pem is None and name not in known:
            raise NotFound(f"there is no operator {name!r}; there are: {', '.join(known) or '–'}")
        known.pop(name, None)
        if public_pem is not None:
            try:
                known[name] = public_key(public_pem).hex()
            except ValueError as error:
                raise UsageError(f"that is no public key: {error}") from error
        document = {"operators": {who: {"key": key} for who, key in sorted(known.items())}}
        data = json.dumps(document, indent=1).encode()
        target = TargetFile.from_data(OPERATORS, data, ["sha256"])
        targets = home.begin("targets")
        targets.signed.targets[OPERATORS] = target
        home.sign_by_safe(targets)
        write_through(home.targets / f"{target.hashes['sha256']}.{OPERATORS}", data)
        home.commit({"targets": targets})


def _safe_names(root: Root) -> dict[str, str]:
    """Name → key id."""
    return {name_of(root, keyid): keyid for keyid in root.roles["root"].keyids}


def _rotate_online(home: Home) -> Path:
    before, root = home.root(), home.root()
    key = PrivateKey.new()
    for role in roles.ONLINE:
        for keyid in list(root.signed.roles[role].keyids):
            root.signed.revoke_key(keyid, role)
        root.signed.add_key(named(key_of(key), "online"), role)
    file = _signed_root(home, before, root, home.keys / "online.pem", key, "")
    home.renew_snapshot(home.snapshot())
    return file


def _rotate_safe(home: Home, name: str) -> Path:
    before, root = home.root(), home.root()
    old, key = _safe_names(root.signed)[name], PrivateKey.new()
    for role in ("root", "targets"):
        root.signed.revoke_key(old, role)
        root.signed.add_key(named(key_of(key), name), role)
    file = home.keys / "safe" / f"{name}.pem"
    _signed_root(home, before, root, file, key, home._passphrase)
    targets = home.begin("targets")
    home.sign_by_safe(targets)
    home.commit({"targets": targets})
    return file


def _signed_root(
    home: Home, before: Metadata[Root], root: Metadata[Root], file: Path, key: PrivateKey,
    passphrase: str,
) -> Path:  # fmt: skip
    """Have a new root signed with a new key in it; the key takes its place only if that works."""
    fresh = file.with_name(f"{file.stem}.new.pem")
    fresh.unlink(missing_ok=True)
    key.save(fresh, passphrase)
    try:
        _publish_root(home, root, before)
    except BaseException:
        fresh.unlink()
        fresh.with_suffix(".pub").unlink()
        raise
    if file.exists():
        file.replace(file.with_suffix(".old"))
    fresh.replace(file)
    fresh.with_suffix(".pub").replace(file.with_suffix(".pub"))
    return file


def _publish_root(home: Home, root: Metadata[Root], before: Metadata[Root] | None = None) -> None:
    root.signed.version += 1
    root.signed.expires = roles.end_of("root")
    home.sign_by_safe(root, [before or home.root(), root])
    home.write(f"{root.signed.version}.root.json", root)


def _rotate_model(home: Home, model: str) -> Path:
    key, role = PrivateKey.new(), roles.role_of(model)
    targets = home.begin("targets")
    home.delegate(targets.signed, model, key_of(key))
    home.sign_by_safe(targets)
    file = home.keys / "models" / f"{model}.pem"
    if file.exists():
        file.replace(file.with_suffix(".old"))
    key.save(file)
    listing = home.begin(role)
    home.sign(listing, [key])
    home.commit({"targets": targets, role: listing})
    return file


def age(home: Home) -> dict[str, str]:
    """Role → when its newest metadata expires, RFC 3339."""
    found = {"root": home.root().signed.expires, "timestamp": home.timestamp().signed.expires}
    found["snapshot"] = home.snapshot().signed.expires
    for role in ("targets", *(roles.role_of(model) for model in home.models())):
        found[role] = home.listing(role).signed.expires
    return {role: end.isoformat().replace("+00:00", "Z") for role, end in found.items()}


def ending(home: Home) -> list[str]:
    """Roles whose end is near, and that only people can renew."""
    from datetime import datetime

    soon = roles.now() + roles.SOON
    return [
        role for role, end in age(home).items()
        if role not in roles.ONLINE and datetime.fromisoformat(end.replace("Z", "+00:00")) < soon
    ]  # fmt: skip


def keys(home: Home) -> list[tuple[str, Key, bool]]:
    """Name, public part and whether the private one is within reach, of each key that counts."""
    root = home.root().signed
    here = {key_of(key).keyid for key in home.safe_keys().values()}
    found = [(name, root.keys[k], k in here) for name, k in sorted(_safe_names(root).items())]
    for keyid in root.roles["timestamp"].keyids:
        found.append(("online", root.keys[keyid], (home.keys / "online.pem").is_file()))
    delegations = home.listing("targets").signed.delegations
    for role in sorted((delegations.roles or {}).values(), key=str) if delegations else ():
        model = role.name.removeprefix("model-")
        reach = (home.keys / "models" / f"{model}.pem").is_file()
        found += [(model, delegations.keys[keyid], reach) for keyid in role.keyids]  # type: ignore[union-attr]
    return found
