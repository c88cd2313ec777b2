"""The truth about each model: one small file, replaced at one instant (contract §6).

``models/{name}.json`` in the data folder says which version runs at the next start and how far
a change has come. Whatever else there is (folders, the database, what was reported) follows it:
handing over to a new version and taking it back are one replacement of this file each.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, Union

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent.config.paths import within_reach
from edgeagent.errors import StoreError
from edgeagent.update.desired import Policy
from edgeagent.update.disk import Disk
from edgeagent.update.states import ENDS, End, Step

log = logging.getLogger(__name__)

MOST_FAILED = 20
"""Versions that are remembered as not to be tried again."""
_SUFFIX = ".json"


class Hold(Struct, frozen=True, omit_defaults=True):
    """A person's veto at the device."""

    by: str = ""
    since: str = ""
    until: str = ""
    reason: str = ""


class Deployment(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One change of one model."""

    id: str
    version: str
    """The new one."""
    base: str = ""
    """The version that ran when it began; empty = none did."""
    base_previous: str = ""
    key: str = ""
    """Of the wish (`desired.Wanted.key`); empty = a person at the device."""
    source: str = ""
    rev: int = 0
    by: str = ""
    signed: bool = False
    """Signed, or given on the device itself."""
    policy: Policy = field(default_factory=Policy)
    origin: str = ""
    """Where a person took it from: a folder or URL; empty = the fleet's repository."""
    keep: bool = False
    """Only brought and proven: the version that runs stays."""
    active: bool = False
    """The truth names the new version."""
    stop: Union[End, None] = None
    """It is being taken back, to end so."""
    reason: str = ""
    detail: str = ""
    before: dict[str, Any] = field(default_factory=dict)
    """How the old version had done (`ports.Stage.behaviour`)."""
    soaked_s: float = 0.0
    began: str = ""
    since: str = ""
    """When it came into the present state."""
    times_s: dict[str, float] = field(default_factory=dict)
    told: bool = False
    """The outbox has the record of its end."""


class Truth(Struct, frozen=True, omit_defaults=True):
    """All that must be known of a model."""

    version: str = ""
    """That runs; empty = the newest that may (`blocked`)."""
    previous: str = ""
    state: Union[Step, None] = None
    """Of the deployment; None = there never was one."""
    boots: int = 0
    """How often the work of the present state was begun."""
    deployment: Union[Deployment, None] = None
    failed: dict[str, str] = field(default_factory=dict)
    """Version → why it is not tried again."""
    hold: Union[Hold, None] = None
    settled: str = ""
    """Key of the wish that was acted upon last."""
    installed: tuple[str, ...] = ()
    """Versions that deployments have brought: what may be removed by them."""

    @property
    def open(self) -> bool:
        """A change is under way."""
        return self.state is not None and self.state not in ENDS

    @property
    def untold(self) -> bool:
        """A change has ended, and the outbox does not know."""
        ended = self.state in ENDS
        return ended and self.deployment is not None and not self.deployment.told

    @property
    def on_trial(self) -> bool:
        """The new version runs and is not kept yet."""
        return self.open and self.deployment is not None and self.deployment.active

    @property
    def blocked(self) -> frozenset[str]:
        """Versions that must not run just because they are the newest."""
        unproven = {self.deployment.version} if self.open and self.deployment else set()
        return frozenset(unproven | self.failed.keys())

    def taken_back(self, end: End, reason: str, detail: str) -> Truth:
        """The old version is the truth again; what is left to do is to run it and to tell."""
        change = self.deployment
        assert change is not None
        return replace(
            self,
            version=change.base,
            previous=change.base_previous,
            deployment=replace(change, active=False, stop=end, reason=reason, detail=detail),
        )


def truth_file(models: Path, model: str) -> Path:
    """Where the truth about a model lies in the folder of installed models."""
    return models / f"{model}{_SUFFIX}"


def read_truth(file: Path) -> Truth | None:
    """What a file says; None where there is none, or where it is damaged (which is logged)."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Truth)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.error("%s can't be read, the newest version is taken: %s", file, error)
        return None


class Truths:
    """The files of all models. Any thread."""

    def __init__(self, models: Path, disk: Disk | None = None) -> None:
        self.folder = models
        self._disk = disk or Disk()
        self._lock = threading.RLock()
        self._known: dict[str, Truth] = {}
        for file in sorted(models.glob(f"*{_SUFFIX}")) if within_reach(models) else ():
            truth = read_truth(file)
            if truth is not None:
                self._known[file.name.removesuffix(_SUFFIX)] = truth

    def all(self) -> dict[str, Truth]:
        with self._lock:
            return dict(self._known)

    def get(self, model: str) -> Truth:
        with self._lock:
            return self._known.get(model, Truth())

    def save(self, model: str, truth: Truth) -> Truth:
        """On the medium when it returns. Raises StoreError, and nothing has changed then."""
        with self._lock:
            if truth != self._known.get(model):
                content = msgspec.json.format(msgspec.json.encode(truth), indent=1)
                self._disk.write(truth_file(self.folder, model), content)
                self._known[model] = truth
            return truth

    def change(self, model: str, **fields: Any) -> Truth:
        """`save` with some fields changed: for those who know nothing of the others."""
        with self._lock:
            return self.save(model, replace(self.get(model), **fields))


def undo_trials(models: Path, detail: str) -> list[str]:
    """Take back every version that is on trial, before anything opens it; which.

    ``detail`` may hold ``{version}``. For a start after too many that did not last.
    """
    truths = Truths(models)
    undone = []
    for model, truth in truths.all().items():
        if not truth.on_trial or truth.deployment is None:
            continue
        version = truth.deployment.version
        said = detail.format(version=version)
        try:
            truths.save(model, truth.taken_back("rolled-back", "boots", said))
        except StoreError as error:
            log.error("%s %s can't be taken back: %s", model, version, error)
            continue
        undone.append(f"{model} {version}")
    return undone
