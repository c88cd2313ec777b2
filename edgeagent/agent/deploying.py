"""The engine of model changes, wired to this agent: made where there is a change to be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.agent.capabilities import delegates
from edgeagent.agent.wishes import Books
from edgeagent.config.check import Fault
from edgeagent.config.model import Config, Runtime
from edgeagent.errors import NotFound
from edgeagent.manifest import Package, read_manifest
from edgeagent.update.compatible import Use, incompatible, named
from edgeagent.update.deploy import Deployments
from edgeagent.update.desired import Wanted
from edgeagent.update.library import Library, default_folders
from edgeagent.update.local import PackageFolder
from edgeagent.update.ports import Passed, Repository, Stage, Verdict
from edgeagent.update.proof import ChildProver
from edgeagent.update.proven import Proven
from edgeagent.update.stock import Stock
from edgeagent.update.truth import Truths
from edgeagent.update.work import House

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent

FLEET = "fleet"
"""Origin of what a person at the device wants of the fleet's own repository."""
HOT_C = 85.0
"""Above this a board throttles, and a proof would say nothing of the version."""
LEAST_FREE = 16 << 20
"""Bytes of the disk that a change must not take."""


def deployments(
    agent: Agent, wanted: Callable[[], Mapping[str, Wanted]], on_trial: Callable[[], bool]
) -> Deployments:
    """The engine over what the agent runs. ``on_trial``: a configuration is tried now."""
    config = agent.loaded.config
    models = agent.folder / "models"

    def library() -> Library:
        return Library(default_folders(agent.folder, config.models.path))

    house = House(
        truths=Truths(models),
        stock=Stock(models),
        library=library,
        repository=lambda origin: open_repository(agent, origin),
        prover=ChildProver(
            lambda folder: runtime_of(config, folder),
            Proven(agent.folder / "proven.json"),
            getattr(agent.stage, "live", lambda _model, _stopped: ()),
        ),
        stage=agent.stage or Idle(agent, library()),
        books=Books(agent),
        headroom=Board(agent.folder),
        profile=agent.profile_name,
        delegates=delegates(),
        keep=config.models.keep,
        zone=config.device.timezone,
        samples=lambda model: samples_of(agent, model),
        busy=lambda: "a configuration is tried now" if on_trial() else "",
    )
    return Deployments(house, wanted)


def open_repository(agent: Agent, origin: str) -> Repository:
    """The repository that an origin means. Raises EdgeAgentError.

    Where this device has a root of trust, only what is signed gets in, from wherever it comes;
    where it has none, nothing comes but what a person at the device installs.
    """
    from edgeagent.agent import updates

    origin = "" if origin == FLEET else origin
    if Path(agent.loaded.config.trust.root).is_file():
        found: Repository = updates.repository(agent, origin)
        return found
    if not origin:
        raise NotFound(
            "this device has no root of trust, so it takes no models from the fleet",
            remedy=f"Put the fleet's root.json at {agent.loaded.config.trust.root} "
            "(edgeagent fleet init writes it), or install by hand: edgeagent models install DIR",
        )
    return PackageFolder(Path(origin))


def runtime_of(config: Config, folder: Path) -> Runtime:
    """How the pipelines run the model of a package folder."""
    model = read_manifest(folder).name
    for pipeline in config.pipelines.values():
        if pipeline.enabled and named(pipeline.model) == model:
            return pipeline.runtime
    return Runtime()


def samples_of(agent: Agent, model: str) -> Path | None:
    """Stored frames for parity: those that the agent keeps of a model's pipelines."""
    folder = agent.folder / "samples" / model
    return folder if folder.is_dir() else None


class Board:
    """`update.ports.Headroom` over the board's own figures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def lacks(self) -> str:
        from edgeagent.device import health

        hottest = health.temperature()
        if hottest is not None and hottest[1] >= HOT_C:
            return f"it is too hot for a change: {hottest[0]} has {hottest[1]:.0f} °C"
        throttle = health.throttle()
        if throttle is not None and throttle.now:
            return f"the board is throttled: {', '.join(throttle.now)}"
        free = health.disk(self._folder).free_bytes
        if free < LEAST_FREE:
            return f"the disk has {free >> 20} MiB left; a change wants {LEAST_FREE >> 20}"
        return ""


class Idle:
    """`update.ports.Stage` where no pipelines run: a version is proven, and the next start opens
    it."""

    def __init__(self, agent: Agent, library: Library) -> None:
        self._use = Use(agent.loaded.config, agent.loaded.places, library.find)

    def incompatible(self, package: Package) -> Sequence[Fault]:
        return incompatible(package, self._use)

    def shadow(self, *_of: object) -> Passed:
        return Passed()

    def activate(self, _package: Package) -> None:
        """Nothing is open."""

    def withdraw(self, _model: str) -> None:
        """Nothing is open."""

    def behaviour(self, _model: str) -> Mapping[str, Any]:
        return {}

    def judge(self, *_of: object) -> Verdict:
        return Verdict("good", "no pipeline runs it here")


def live_stage(agent: Agent, around: Any, built: Any) -> Stage:
    """The stage over the running pipelines."""
    from edgeagent.agent.change import LiveStage

    return LiveStage(around, agent.loaded.places, built, agent.supervisor)
