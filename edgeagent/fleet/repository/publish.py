"""A version of a model is published: checked, signed, and with patches from older ones.

A version never changes once it is published. Files go into their place before any metadata that
names them, and the timestamp comes last, so a device sees the whole of it or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tuf.api.metadata import TargetFile, Targets

from edgeagent.durable import put
from edgeagent.errors import NotFound, PackageError, UsageError
from edgeagent.fleet.repository import roles
from edgeagent.fleet.repository.home import Home, key_of
from edgeagent.manifest import Package, load_package, sha256_of
from edgeagent.packaged import permit
from edgeagent.prove.semver import version_order

MOST_FILES = 512
MOST_DELTA = 64 << 20
"""bsdiff takes 17 times the size of a file in memory: of larger ones no patch is made."""
SMALLEST_DELTA = 4096
WORTH = 0.9
"""A patch must be smaller than this share of the file."""
_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,128}")

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Patch:
    """From a file that devices may have to one of this version."""

    file: str
    base: str
    """Version that has the base."""
    base_sha256: str
    path: str
    data: bytes
    of: int
    """Bytes of the whole file."""


@dataclass(slots=True)
class Plan:
    """What a publication is made of."""

    package: Package
    files: dict[str, Path]
    """Target path → file."""
    targets: dict[str, TargetFile] = field(default_factory=dict)
    patches: list[Patch] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(target.length for target in self.targets.values())


def check(folder: Path, *, fix: bool, golden: bool = True) -> Package:
    """The package in a folder, if it may be published.

    Args:
        folder: ``{name}/{version}/`` or any folder with a model.toml.
        fix: write ``[files]`` anew first.
        golden: also ask its golden samples.

    Raises:
        PackageError: lint or the golden samples say no; the text has all faults, one a line.
    """
    from edgeagent.prove.golden import check_golden
    from edgeagent.prove.lint import lint

    faults = [str(its) for its in lint(folder, fix=fix) if its.level == "error"]
    if faults:
        raise PackageError(
            "\n".join(faults), remedy=f"Mend it; see: edgeagent models lint {folder} --fix"
        )
    package = load_package(folder)
    if not package.manifest.files:
        raise PackageError(
            f"{folder}/model.toml: [files] is missing",
            remedy=f"Write it with: edgeagent models lint {folder} --fix",
        )
    if golden and package.manifest.golden is not None:
        permit.use(permit.anybody)  # to publish it is to sign it
        report = check_golden(package)
        if not report.passed:
            raise PackageError(
                "\n".join(f"golden: {fault}" for fault in report.faults),
                remedy="Do not publish it, or write the samples anew with: models golden",
            )
    return package


def plan(home: Home, package: Package, *, deltas: int = 5, told: Told = lambda _: None) -> Plan:
    """What will be published. Nothing is written.

    Args:
        home: the repository.
        package: as `check` gave it.
        deltas: from how many of the newest other versions patches are tried.
        told: of what takes long.

    Raises:
        UsageError: this version is published already, with other content.
        NotFound: the model has no key here.
    """
    name, version = package.name, package.version
    if name not in home.models():
        raise NotFound(
            f"the repository has no key for the model {name!r}",
            remedy=f"With the safe keys at hand: edgeagent fleet key new {name}",
        )
    listing = home.listing(roles.role_of(name)).signed
    made = Plan(package, _files(package))
    for path, file in made.files.items():
        made.targets[path] = TargetFile.from_file(path, str(file), ["sha256"])
    _refuse_changes(listing, f"models/{name}/{version}/", made)
    for path in made.targets:
        patches = _patches(home, listing, made, path, deltas, told)
        made.patches += patches
        if patches:
            listed = [{"base": its.base_sha256, "path": its.path} for its in patches]
            made.targets[path].unrecognized_fields["custom"] = {"patches": listed}
    for patch in made.patches:
        made.targets[patch.path] = TargetFile.from_data(patch.path, patch.data, ["sha256"])
    return made


def publish(home: Home, made: Plan) -> int:
    """Do what was planned; the version of the model's listing. Raises Busy, NotPermitted."""
    role = roles.role_of(made.package.name)
    data = {patch.path: patch.data for patch in made.patches}
    with home.writing():
        listing = home.begin(role)
        key = home.model_key(made.package.name)
        _may_sign(home, role, key_of(key).keyid)
        for path, target in made.targets.items():
            content = data[path] if path in data else made.files[path].read_bytes()
            _store(home, path, target, content)
            listing.signed.targets[path] = target
        home.sign(listing, [key])
        home.commit({role: listing})
        return int(listing.signed.version)


def withdraw(home: Home, model: str, version: str) -> int:
    """Take a version out of the listing: no device can fetch it any more. Its files stay.

    Returns how many targets went. Raises NotFound.
    """
    role, prefix = roles.role_of(model), f"models/{model}/{version}/"
    with home.writing():
        listing = home.begin(role)
        gone = [path for path in listing.signed.targets if path.startswith(prefix)]
        if not gone:
            raise NotFound(f"{model} {version} is not published")
        for path in gone:
            del listing.signed.targets[path]
        home.sign(listing, [home.model_key(model)])
        home.commit({role: listing})
    return len(gone)


def published(home: Home) -> dict[str, list[str]]:
    """Model → its versions, the newest first."""
    found: dict[str, list[str]] = {}
    for model in home.models():
        versions = _versions(home.listing(roles.role_of(model)).signed, model)
        found[model] = sorted(versions, key=version_order, reverse=True)
    return found


def _may_sign(home: Home, role: str, keyid: str) -> None:
    delegations = home.listing("targets").signed.delegations
    known = (delegations.roles or {}).get(role) if delegations is not None else None
    if known is None or keyid not in known.keyids:
        raise UsageError(
            f"the key at hand may not sign {role}",
            remedy="Bring the present one; see: edgeagent fleet key list",
        )


def _files(package: Package) -> dict[str, Path]:
    """Target path → file: model.toml and what it lists."""
    names = ["model.toml", *package.manifest.files]
    if len(names) > MOST_FILES:
        raise PackageError(f"{package.folder}: {len(names)} files; at most {MOST_FILES}")
    found = {}
    for name in names:
        parts = name.split("/")
        if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
            raise PackageError(
                f"{package.folder}/model.toml: files.{name!r}: a published file lies in the "
                "package or one folder below, and is named with A-Z a-z 0-9 _ . + -"
            )
        found[f"models/{package.name}/{package.version}/{name}"] = package.path(name)
    return found


def _refuse_changes(listing: Targets, prefix: str, made: Plan) -> None:
    old = {path: its for path, its in listing.targets.items() if path.startswith(prefix)}
    if not old:
        return
    if {path: its.hashes for path, its in old.items()} == {
        path: its.hashes for path, its in made.targets.items()
    }:
        raise UsageError(
            f"{made.package.name} {made.package.version} is published already, just like this"
        )
    raise UsageError(
        f"{made.package.name} {made.package.version} is published already, with other files: "
        "a version never changes",
        remedy="Give the new one another version in model.toml.",
    )


def _versions(listing: Targets, model: str) -> set[str]:
    prefix = f"models/{model}/"
    return {path.split("/")[2] for path in listing.targets if path.startswith(prefix)}


def _patches(
    home: Home, listing: Targets, made: Plan, path: str, deltas: int, told: Told
) -> list[Patch]:
    import bsdiff4

    target, (_, model, version, name) = made.targets[path], path.split("/", 3)
    if not SMALLEST_DELTA <= target.length <= MOST_DELTA:
        return []
    content = made.files[path].read_bytes()
    others = sorted(_versions(listing, model) - {version}, key=version_order, reverse=True)
    found: dict[str, Patch] = {}
    for other in others[:deltas]:
        base = listing.targets.get(f"models/{model}/{other}/{name}")
        if base is None or base.length > MOST_DELTA:
            continue
        before, after = base.hashes["sha256"], target.hashes["sha256"]
        if before == after or before in found:
            continue
        told(f"{name}: patch from {other}")
        data = bsdiff4.diff(_stored(home, base), content)
        if len(data) < WORTH * target.length:
            place = f"patches/{model}/{before[:32]}-{after[:32]}"
            found[before] = Patch(name, other, before, place, data, target.length)
    return list(found.values())


def _stored(home: Home, target: TargetFile) -> bytes:
    file = _place(home, target.path, target)
    try:
        if sha256_of(file) != target.hashes["sha256"]:
            raise PackageError(f"{file} is damaged", remedy="Restore it from a copy.")
        return file.read_bytes()
    except OSError as error:
        raise NotFound(f"{file} is missing: {error.strerror}") from error


def _store(home: Home, path: str, target: TargetFile, content: bytes) -> None:
    file = _place(home, path, target)
    if file.is_file() and file.stat().st_size == target.length:
        return
    put(file, content)


def _place(home: Home, path: str, target: TargetFile) -> Path:
    folder, _, name = path.rpartition("/")
    return home.targets / folder / f"{target.hashes['sha256']}.{name}"
