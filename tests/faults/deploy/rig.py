"""A device that changes its model: the real engine on real files, with a table of outcomes at
its edges (repository's reach, proof, pipelines, outbox)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unsure import UnsureDisk

from edgeagent.errors import Busy
from edgeagent.manifest import Package, load_package
from edgeagent.prove.lint import write_files
from edgeagent.update.deploy import Deployments
from edgeagent.update.desired import Desired, Policy, Wanted, Wish
from edgeagent.update.intent import Intent
from edgeagent.update.library import Library
from edgeagent.update.local import PackageFolder
from edgeagent.update.orders import Orders
from edgeagent.update.ports import Passed, Target, Verdict
from edgeagent.update.stock import Stock
from edgeagent.update.truth import Truth, Truths
from edgeagent.update.work import House

MODEL = "m"
_TOML = """name = "m"
version = "{version}"
task = "classify"
licence = "Apache-2.0"
labels = "labels.txt"

[[input]]
name = "image"
kind = "image"
size = [8, 8]

[output]
decoder = "classify"

[[variant]]
file = "m.tflite"
runtime = "litert"

[[variant]]
file = "other.onnx"
runtime = "onnx"
requires = {{ arch = "z80" }}
"""


def make_package(folder: Path, version: str, size: int = 2000) -> Path:
    """A package that lint finds whole; its model is never opened here."""
    place = folder / MODEL / version
    place.mkdir(parents=True)
    (place / "model.toml").write_text(_TOML.format(version=version))
    (place / "labels.txt").write_text("good\nbad\n")
    (place / "m.tflite").write_bytes(version.encode() * (size // len(version)))
    (place / "other.onnx").write_bytes(b"other")
    write_files(load_package(place))
    return place


class World:
    """What outlives a process: the medium, the fleet, and what it has been told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shipped, self.published = folder / "shipped", folder / "published"
        (folder / "scratch").mkdir()
        make_package(self.shipped, "1.0.0")
        for version in ("1.1.0", "1.2.0"):
            make_package(self.published, version)
        self.records: list[dict[str, Any]] = []
        self.document: Desired | None = None
        """What is retained on the device's topic."""
        self.rev = 0
        self.faults: dict[str, Callable[[], None]] = {}
        """Port → what happens when it is asked next."""
        self.starts = 0
        self.visited: list[str] = []
        """States whose work was begun, over all processes."""
        self.run: list[str] = []
        """Versions that the pipelines have run, in order."""
        self.disk = UnsureDisk(folder / "scratch")

    def wish(self, version: str, **policy: Any) -> None:
        self.rev += 1
        wish = Wish(version, Policy(**{"soak_s": 0.02, **policy}))
        self.document = Desired(self.rev, models={MODEL: wish})

    def unwish(self) -> None:
        self.rev += 1
        self.document = Desired(self.rev)

    def fault(self, port: str) -> None:
        happens = self.faults.get(port)
        if happens is not None:
            happens()


class Repository:
    """Packages of a folder, out of reach when told so."""

    def __init__(self, world: World) -> None:
        self._world = world

    def refresh(self, stopped: threading.Event) -> None:
        self._world.fault("refresh")

    def target(self, path: str) -> Target | None:
        _, model, version, _ = path.split("/", 3)
        folder = self._world.published / model / version
        return PackageFolder(folder).target(path) if folder.is_dir() else None

    def bring(self, target: Target, into: Path, *, bases: Sequence[Path] = (),
              progress: Callable[[int, int], None], stopped: threading.Event) -> None:  # fmt: skip
        self._world.fault("bring")
        _, model, version, _ = target.path.split("/", 3)
        package = PackageFolder(self._world.published / model / version, self._world.disk)
        package.bring(target, into, progress=progress, stopped=stopped)

    def close(self) -> None:
        pass


class Stage:
    """Pipelines of one process: they open what the library finds at its start."""

    def __init__(self, world: World, library: Library) -> None:
        self._world = world
        self.runs = library.find(MODEL).version
        world.run.append(self.runs)

    def incompatible(self, package: Package) -> Sequence[Any]:
        self._world.fault("incompatible")
        return ()

    def shadow(self, package: Package, seconds: float, stopped: threading.Event) -> Passed:
        self._world.fault("shadow")
        return Passed()

    def activate(self, package: Package) -> None:
        self._world.fault(f"activate {package.version}")
        self._world.fault("activate")
        if package.version != self.runs:
            self.runs = package.version
            self._world.run.append(self.runs)

    def withdraw(self, model: str) -> None:
        self.runs = ""

    def behaviour(self, model: str) -> Mapping[str, Any]:
        return {"p95_ms": 3.0}

    def judge(self, model: str, before: Mapping[str, Any], soaked: float, soak: float) -> Verdict:
        self._world.fault("judge")
        return Verdict("good" if soaked >= soak else "open")


class Prover:
    def __init__(self, world: World) -> None:
        self._world = world

    def prove(self, folder: Path, *, stopped: threading.Event, **_: Any) -> Passed:
        self._world.fault("prove")
        return Passed()


class Books:
    """An outbox that keeps records over restarts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def tell(self, data: Mapping[str, Any]) -> None:
        self._world.fault("tell")
        self._world.records.append(dict(data))

    @contextmanager
    def claim(self, size: int, what: str) -> Iterator[None]:
        self._world.fault("claim")
        yield


class Process:
    """One life of the agent."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.starts += 1
        models = world.folder / "data" / "models"
        self.truths = Truths(models, world.disk)
        self.stock = Stock(models, world.disk)
        self.intent = Intent(world.folder / "data", (), world.disk)
        self.stage = Stage(world, self.library())
        house = House(
            truths=self.truths, stock=self.stock, library=self.library,
            repository=lambda _origin: Repository(world), prover=Prover(world), stage=self.stage,
            books=Books(world),
        )  # fmt: skip
        self.engine = Deployments(house, self.wanted, pauses_s=(0.01,))
        self.orders = Orders(self.engine)
        self.engine.threaded = False
        self.engine.work.look_every_s = 0.005
        self._do = self.engine.work.do
        self.engine.work.do = self._watched  # type: ignore[method-assign]
        self.at: dict[str, Callable[[Process], None]] = {}
        """State → what happens when its work is begun."""

    def library(self) -> Library:
        return Library([self.world.folder / "data" / "models", self.world.shipped])

    def wanted(self) -> dict[str, Wanted]:
        return self.intent.wanted()

    def heard(self) -> None:
        """The retained document is delivered, as at each connect."""
        self.intent.take("device", self.world.document)
        self.engine.wake() if self.engine.busy else None

    def _watched(self, model: str, truth: Truth) -> str:
        self.world.visited.append(str(truth.state))
        happens = self.at.get(str(truth.state))
        if happens is not None:
            happens(self)
        return self._do(model, truth)

    @property
    def truth(self) -> Truth:
        return self.truths.get(MODEL)

    def work(self, rounds: int = 40) -> None:
        """Connect and go on until nothing is under way."""
        self.heard()
        for _ in range(rounds):
            self.engine.run_until_idle()
            truth = self.truth
            if not truth.open and not truth.untold:
                return
            self.engine._news.wait(0.01)
            self.engine._due.clear()


def lacking(times: int) -> Callable[[], None]:
    """A port that is not there so many times."""
    left = [times]

    def happens() -> None:
        if left[0]:
            left[0] -= 1
            raise Busy("not now")

    return happens
