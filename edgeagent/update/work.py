"""The work of each state: one method a row of the table (`states`).

A method returns a sentence when its work is done. It raises `Refused` (or another error) where
the version is not for this device, an error with ``retry = backoff`` where something lacks only
for now, and `Stopped` when it was told to stop. It never decides what comes next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from edgeagent.config.check import faults_text
from edgeagent.errors import EdgeAgentError, NotFound
from edgeagent.manifest import HANDLER, Package, load_package, read_manifest, sha256_of
from edgeagent.prove.semver import version_order
from edgeagent.update.library import Library
from edgeagent.update.ports import (
    Books,
    Budget,
    Headroom,
    Progress,
    Prover,
    Refused,
    Repository,
    Stage,
    Target,
)
from edgeagent.update.stock import Stock
from edgeagent.update.truth import Deployment, Truth, Truths

LOOK_EVERY_S = 1.0
"""How often a version on probation is judged."""
KEEP_SOAK_EVERY_S = 30.0
"""What a restart in the middle of the probation may cost of it."""


class Stopped(Exception):
    """The work was ended from outside, and nothing is wrong with it."""


class Lacks(EdgeAgentError):
    """Something lacks for now. ``code`` is the reason that is shown meanwhile."""

    retry = "backoff"
    exit_code = 75

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code  # type: ignore[misc]


class House(Struct):
    """All that the engine works with: its own files, and the ports."""

    truths: Truths
    stock: Stock
    library: Callable[[], Library]
    repository: Callable[[str], Repository]
    """Opens the one that an origin means (empty = the fleet's)."""
    prover: Prover
    stage: Stage
    books: Books
    headroom: Headroom | None = None
    profile: str = ""
    """Of the board: which ``[budget]`` counts."""
    delegates: Sequence[str] = ()
    """TFLite delegates whose library is here."""
    keep: int = 2
    """Versions of a model that stay: the one that runs, the one before it, and so on."""
    zone: str = "UTC"
    samples: Callable[[str], Path | None] = lambda _model: None
    """Model → folder of stored frames for parity."""
    busy: Callable[[], str] = lambda: ""
    """Why nothing else may be put on trial now; empty = it may."""


class Work:
    """Does what a row says. One thread."""

    def __init__(self, house: House, told: Callable[[], None] = lambda: None) -> None:
        """``told`` is called when there is progress to be shown."""
        self._house = house
        self._told = told
        self.stopped = threading.Event()
        """Set by whoever wants the present work to end."""
        self.progress: dict[str, float] = {}
        """Model → share of the present state's work that is done."""
        self.look_every_s = LOOK_EVERY_S

    def do(self, model: str, truth: Truth) -> str:
        """The work of the state that ``truth`` is in."""
        work: dict[Any, Callable[[str, Deployment], str]] = {
            "requested": self.requested,
            "fetching": self.fetching,
            "verifying": self.verifying,
            "proving": self.proving,
            "shadowing": self.shadowing,
            "activating": self.activating,
            "probation": self.probation,
        }
        assert truth.deployment is not None
        self.progress.pop(model, None)
        said = work[truth.state](model, truth.deployment)
        self._unless_stopped()
        return said

    def requested(self, model: str, change: Deployment) -> str:
        policy = change.policy
        if (policy.force or policy.downgrade) and not change.signed:
            raise Refused(
                "protected",
                f"a forced change or a downgrade of {model} must be signed by an operator",
                remedy="Sign it (edgeagent fleet desired publish --sign), or do it here.",
            )
        before = self._house.truths.get(model).failed.get(change.version)
        if before is not None and not policy.force:
            raise Refused("failed before", f"{model} {change.version} failed here: {before}")
        lower = version_order(change.version) < version_order(change.base)
        if change.base and lower and not (policy.downgrade or policy.force):
            raise Refused(
                "downgrade",
                f"{change.version} is older than {change.base}, which runs",
                remedy='Say that it is meant: policy = {"downgrade": true}, signed.',
            )
        lacks = self._house.headroom.lacks() if self._house.headroom and not policy.force else ""
        if lacks:
            raise Lacks("headroom", lacks)
        return ""

    # --- bringing it

    def fetching(self, model: str, change: Deployment) -> str:
        stock = self._house.stock
        if stock.has(model, change.version):
            return "it was here already"
        if not change.origin and self._shipped(model, change.version) is not None:
            return "it came with the agent"
        repository = self._house.repository(change.origin)
        try:
            repository.refresh(self.stopped)
            return self._bring(repository, model, change.version)
        finally:
            repository.close()

    def _bring(self, repository: Repository, model: str, version: str) -> str:
        coming = self._house.stock.coming(model, version)
        first = self._target(repository, model, version, "model.toml")
        with self._house.books.claim(first.length, f"the description of {model} {version}"):
            self._bring_one(repository, first, coming / "model.toml")
        package = self._described(coming, model, version)
        files = {
            file: self._target(repository, model, version, file) for file in self._needed(package)
        }
        for file in files:
            package.path(file)  # Raises where it would lie outside.
        size = sum(target.length for target in files.values())
        bases = self._bases(model)
        with self._house.books.claim(size, f"{model} {version}"):
            done = 0
            for file, target in files.items():
                progress = partial(self._brought, model, done, size)
                self._bring_one(repository, target, coming / file, bases, progress)
                done += target.length
        return f"{len(files) + 1} files, {size + first.length:,} bytes"

    def _target(self, repository: Repository, model: str, version: str, file: str) -> Target:
        # Looked up in what is signed; a name is never made into an address.
        target = repository.target(f"models/{model}/{version}/{file}")
        if target is None:
            raise Refused(
                "fetch",
                f"the repository does not list {file} of {model} {version}",
                remedy=f"Publish it: edgeagent fleet publish {model}/{version}",
            )
        return target

    def _bring_one(
        self, repository: Repository, target: Target, into: Path, bases: Sequence[Path] = (),
        progress: Progress = lambda _done, _of: None,
    ) -> None:  # fmt: skip
        # That code is signed must be noted by who knows it, even where the file is here already.
        known = into.name != HANDLER
        if known and into.is_file() and sha256_of(into) == target.sha256:
            return
        if known and self._house.stock.have(target.sha256, into):
            return
        self._house.stock.room(into)
        repository.bring(target, into, bases=bases, progress=progress, stopped=self.stopped)
        self._unless_stopped()

    def _described(self, folder: Path, model: str, version: str) -> Package:
        """What model.toml says, while the files that it names are not there yet."""
        manifest = read_manifest(folder)
        if (manifest.name, manifest.version) != (model, version):
            raise Refused(
                "verify",
                f"what the repository calls {model} {version} says that it is "
                f"{manifest.name} {manifest.version}",
            )
        return Package(folder, manifest, ())

    def _needed(self, package: Package) -> list[str]:
        """All that model.toml lists but variants that will not run here."""
        from edgeagent.infer.variants import likely

        manifest = package.manifest
        chosen = likely(package, delegate=self._house.delegates).file
        others = {variant.file for variant in manifest.variant} - {chosen}
        named = {chosen, *manifest.files} - others
        if isinstance(manifest.labels, str) and manifest.labels:
            named.add(manifest.labels)
        return sorted(named, key=lambda file: (file == chosen, file))

    def _bases(self, model: str) -> list[Path]:
        found = self._house.stock.bases(model)
        try:
            running = self._house.library().find(model)
        except EdgeAgentError:
            return found
        return [*found, *(file for file in running.folder.rglob("*") if file.is_file())]

    # --- judging it before it runs

    def verifying(self, model: str, change: Deployment) -> str:
        from edgeagent.prove.lint import lint

        stock = self._house.stock
        shipped = self._shipped(model, change.version)
        if stock.has(model, change.version):
            folder = stock.place(model, change.version)
        else:
            folder = shipped or stock.coming(model, change.version)
        found = lint(folder, fetched=True)
        errors = [f"{its.place.removeprefix(f'{folder}/')}: {its.problem}" for its in found
                  if its.level == "error"]  # fmt: skip
        if errors:
            raise Refused("verify", "; ".join(errors[:3]))
        _check_code(load_package(folder))
        if folder != shipped:
            self._note_installed(model, change.version)
            folder = stock.admit(model, change.version)
        faults = self._house.stage.incompatible(load_package(folder))
        if faults:
            raise Refused("incompatible", faults_text(faults))
        return ""

    def proving(self, model: str, change: Deployment) -> str:
        folder = self._folder(model, change.version)
        manifest = load_package(folder).manifest
        limits = manifest.budget.get(self._house.profile) or manifest.budget.get("default") or {}
        against = self._folder(model, change.base) if change.base else None
        passed = self._house.prover.prove(
            folder,
            against=against,
            samples=self._house.samples(model),
            budget=Budget(limits.get("p95_ms"), limits.get("pss_mb")),
            require=(),
            stopped=self.stopped,
        )
        return passed.sentence

    def shadowing(self, model: str, change: Deployment) -> str:
        seconds = change.policy.shadow_s
        if change.keep or not seconds:
            return ""
        return self._house.stage.shadow(
            self._package(model, change), seconds, self.stopped
        ).sentence

    # --- running it

    def activating(self, model: str, change: Deployment) -> str:
        if change.keep:
            return "brought and proven; the version that runs stays"
        package = self._package(model, change)
        if not change.active:
            before = dict(self._house.stage.behaviour(model))
            self._unless_stopped()
            # The one instant at which the new version becomes what runs.
            self._house.truths.change(
                model,
                version=change.version,
                previous=change.base,
                deployment=replace(change, active=True, before=before),
            )
        self._house.stage.activate(package)
        return ""

    def probation(self, model: str, change: Deployment) -> str:
        soak_s, stage, clock = change.policy.soak_s, self._house.stage, _stopwatch()
        if change.keep:
            return ""
        soaked, kept = change.soaked_s, change.soaked_s
        while True:
            verdict = stage.judge(model, change.before, soaked, soak_s)
            if verdict.state == "bad":
                raise Refused("probation", verdict.sentence)
            if soaked >= soak_s:
                return verdict.sentence
            self._show(model, soaked, soak_s)
            if self.stopped.wait(min(self.look_every_s, soak_s - soaked)):
                self._keep_soak(model, soaked)
                raise Stopped
            soaked += clock()
            if soaked - kept >= KEEP_SOAK_EVERY_S:
                kept = soaked
                self._keep_soak(model, soaked)

    def _keep_soak(self, model: str, soaked_s: float) -> None:
        change = self._house.truths.get(model).deployment
        if change is not None:
            kept = replace(change, soaked_s=round(soaked_s, 1))
            self._house.truths.change(model, deployment=kept)

    # --- within

    def _note_installed(self, model: str, version: str) -> None:
        known = self._house.truths.get(model).installed
        if version not in known:
            self._house.truths.change(model, installed=(*known, version))

    def _shipped(self, model: str, version: str) -> Path | None:
        """Folder of a version that lies outside the stock: with the agent, or in models.path."""
        try:
            folder = self._house.library().find(model, version).folder
        except EdgeAgentError:
            return None
        return None if folder.is_relative_to(self._house.stock.folder) else folder

    def _folder(self, model: str, version: str) -> Path:
        return self._house.library().find(model, version).folder

    def _package(self, model: str, change: Deployment) -> Package:
        try:
            return self._house.library().find(model, change.version)
        except NotFound as error:
            raise Refused("activate", f"{error}: it was removed meanwhile") from error

    def _brought(self, model: str, before: int, size: int, have: int, _of: int) -> None:
        self._show(model, before + have, size)

    def _show(self, model: str, done: float, of: float) -> None:
        self.progress[model] = round(min(1.0, done / of), 3) if of else 1.0
        self._told()

    def _unless_stopped(self) -> None:
        if self.stopped.is_set():
            raise Stopped


def _check_code(package: Package) -> None:
    """Code that it brings may run here. Raises Refused."""
    if not package.brings_code:
        return
    from edgeagent.packaged.permit import vouched

    try:
        vouched(package)
    except EdgeAgentError as error:
        raise Refused("verify", str(error), remedy=error.remedy) from error


def _stopwatch() -> Callable[[], float]:
    """Seconds since the last call."""
    import time

    last = time.monotonic()

    def lap() -> float:
        nonlocal last
        now = time.monotonic()
        last, passed = now, now - last
        return passed

    return lap
