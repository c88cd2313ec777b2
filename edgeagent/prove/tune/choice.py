"""What was chosen for a model on this device, and under which circumstances that holds.

A choice is a small JSON file in the data folder. It holds as long as its circumstances are
literally the same: the device, the cores and the processor time that may be used, kernel and
drivers, the model's files, the runtimes' versions and the libraries of delegates. Otherwise it is
not used, and why is told.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent import clock, durable
from edgeagent.config.model import Runtime
from edgeagent.device import drivers, health
from edgeagent.device.identity import machine_hash
from edgeagent.device.profile import Board
from edgeagent.infer import delegates
from edgeagent.infer.installed import runtimes
from edgeagent.manifest import Package, sha256_of

VERSION = 1
FOLDER = "tuned"
_SAID = {
    "device": "it is another device",
    "cores": "the cores that may be used were {was} and are {now}",
    "quota": "the processor time that may be used was {was} and is {now}",
    "kernel": "the kernel was {was} and is {now}",
    "drivers": "the accelerator's driver was {was} and is {now}",
    "model": "the model's files are others",
    "runtimes": "the runtimes were {was} and are {now}",
    "library": "the delegate's library is another one",
}


class Row(Struct):
    """A candidate and what became of it. Times of a sample, in milliseconds."""

    settings: str
    file: str = ""
    precision: str = ""
    state: str = "lost"
    """``chosen`` | ``lost`` | ``failed`` | ``wrong`` | ``over`` (a bar)."""
    why: str = ""
    ms: float | None = None
    p95_ms: float | None = None
    cpu_ms: float | None = None
    pss_mb: float | None = None
    right: int | None = None
    samples: int | None = None
    """Golden or labelled samples, and how many of them it answers rightly."""
    rounds: int = 0
    """Rounds in which it was measured before it lost."""


class Asked(Struct, frozen=True, omit_defaults=True):
    """What a person wanted kept to, for the next search."""

    p95_ms: float | None = None
    pss_mb: float | None = None
    accuracy: float | None = None
    labelled: str = ""
    """Folder of samples with labels."""


class Choice(Struct):
    """The content of a file."""

    v: int
    model: str
    """``parts@1.2.0``"""
    at: str
    circumstances: dict[str, str]
    runtime: Runtime
    batch: int = 1
    goal: str = "latency"
    why: str = ""
    """One sentence."""
    ratio: float = 1.0
    """Its time as a share of the defaults'."""
    took_s: float = 0.0
    rows: list[Row] = field(default_factory=list)
    asked: Asked = Asked()

    @property
    def ms(self) -> float | None:
        """What a sample took when it was chosen."""
        return next((row.ms for row in self.rows if row.state == "chosen"), None)


class Choices:
    """All choices of a data folder."""

    def __init__(self, data_folder: Path) -> None:
        self.folder = data_folder / FOLDER

    def of(self, package: Package) -> Choice | None:
        """What was chosen for it, whether it still holds or not."""
        try:
            choice = msgspec.json.decode(self._file(package).read_bytes(), type=Choice)
        except (OSError, msgspec.DecodeError):
            return None  # a file that is damaged costs only another search
        return choice if choice.v == VERSION else None

    def of_another_version(self, package: Package) -> Choice | None:
        """What was chosen last for a version of the same model that is not this one."""
        mine, found = self._file(package), []
        for file in self.folder.glob(f"{package.name}@*.json"):
            if file != mine:
                try:
                    found.append(msgspec.json.decode(file.read_bytes(), type=Choice))
                except (OSError, msgspec.DecodeError):
                    continue
        return max(found, key=lambda its: its.at, default=None)

    def keep(self, package: Package, choice: Choice) -> Path:
        """Write it; the file. Raises as `unwritable`."""
        file = self._file(package)
        durable.replace(file, msgspec.json.format(msgspec.json.encode(choice), indent=1))
        return file

    def forget(self, package: Package) -> None:
        """Back to the defaults, with all versions of the model: what is remembered of one of them
        is what has the next one tuned by itself."""
        for file in self.folder.glob(f"{package.name}@*.json"):
            file.unlink(missing_ok=True)

    def _file(self, package: Package) -> Path:
        return self.folder / f"{package.name}@{package.version}.json"


def circumstances(package: Package, runtime: Runtime) -> dict[str, str]:
    """What a choice depends on, as it is now."""
    device = json.dumps([machine_hash(), Board().cpu() or Board().model()])
    return {
        "device": hashlib.sha256(device.encode()).hexdigest()[:16],
        "cores": _spans(sorted(os.sched_getaffinity(0))),
        "quota": _quota(),
        "kernel": drivers.kernel(),
        "drivers": _drivers(runtime),
        "model": _model(package),
        "runtimes": ", ".join(runtimes().values()),
        "library": _library(runtime.delegate),
    }


def outdated(choice: Choice, package: Package) -> str:
    """Why a choice does not hold any more; empty = it does."""
    now = circumstances(package, choice.runtime)
    # What an earlier version did not write down is not known to have changed.
    changed = [key for key in _SAID if choice.circumstances.get(key, now[key]) != now[key]]
    return "; ".join(
        _SAID[key].format(was=choice.circumstances.get(key) or "none", now=now[key] or "none")
        for key in changed
    )


class Chosen(Struct, frozen=True):
    """How a model is to be run."""

    runtime: Runtime
    said: str = ""
    """For its receipt: that it is tuned, or why it does not run as chosen; empty = nothing was."""
    tuned: bool = False


def chosen(data_folder: Path, package: Package, configured: Runtime) -> Chosen:
    """What was chosen for a model, unless somebody has configured how it is run, or it does not
    hold any more. Cheap where nothing was ever chosen."""
    if configured != Runtime(require=configured.require):
        return Chosen(configured)
    choice = Choices(data_folder).of(package)
    if choice is None:
        return Chosen(configured)
    why = outdated(choice, package)
    if why:
        said = f"not as tuned, because {why} (edgeagent tune {package.name})"
        return Chosen(configured, said)
    return Chosen(replace(choice.runtime, require=configured.require), "tuned", tuned=True)


def _model(package: Package) -> str:
    digest = hashlib.sha256()
    for variant in package.manifest.variant:
        entry = package.manifest.files.get(variant.file)
        content = entry.sha256 if entry else _hash(package.path(variant.file))
        told: Any = [msgspec.to_builtins(variant), content]
        digest.update(json.dumps(told, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _quota() -> str:
    allowed = health.quota()
    return "" if allowed is None else f"{allowed:.3g} processors"


def _drivers(runtime: Runtime) -> str:
    """Of accelerators, where one may be used."""
    if not runtime.provider and runtime.delegate in delegates.BUILT_IN:
        return ""
    return ", ".join(f"{module} {version}" for module, version in drivers.drivers().items())


def _hash(file: Path) -> str:
    try:
        told = file.stat()
        return _content(file, told.st_size, told.st_mtime_ns)
    except OSError:
        return "missing"


@lru_cache(64)
def _content(file: Path, _size: int, _mtime_ns: int) -> str:
    """The agent asks again and again; a file that was not written is not read anew."""
    return sha256_of(file)


def _library(delegate: str) -> str:
    """Size and time of a delegate's file; a soname, which the linker finds, stands for itself."""
    if delegate in delegates.BUILT_IN:
        return ""
    place = Path(delegates.library_of(delegate))
    try:
        told = place.stat()
    except OSError:
        return str(place)
    return f"{place} {told.st_size} {told.st_mtime_ns}"


def _spans(cores: list[int]) -> str:
    """``0-3,6``"""
    spans: list[list[int]] = []
    for core in cores:
        if spans and core == spans[-1][1] + 1:
            spans[-1][1] = core
        else:
            spans.append([core, core])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def stamp() -> str:
    """Now, as it stands in a choice."""
    return clock.rfc3339(clock.wall_ns())
