"""The drift of all pipelines of an agent: where what is usual is kept, and who is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from edgeagent.config.drift import Drift as Keys
from edgeagent.config.units import seconds
from edgeagent.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from edgeagent.agent.pooling import Pooling
    from edgeagent.agent.running import Agent
    from edgeagent.drift.files import Files
    from edgeagent.drift.watch import Drift, DriftSettings
    from edgeagent.pipeline import Pipeline
    from edgeagent.stages import Drifts
    from edgeagent.sync.command_types import DriftAction
    from edgeagent.sync.job import Job

_PATIENCE_S = 60.0
"""Between two tries to keep what could not be kept."""


class Drifting:
    """`tick` by the main thread, the rest by any."""

    def __init__(self, agent: Agent, submit: Callable[[Callable[[], None]], None]) -> None:
        """``submit`` has long work done on another thread."""
        self._agent = agent
        self._submit = submit
        self._files: Files | None = None
        self._pooling: Pooling | None = None
        self._drifts: dict[str, Drift] = {}
        self._next = 0.0
        self._busy = False

    def of(self, pipeline: Pipeline) -> Drifts | None:
        """What a pipeline is to tell of each sample; None = nobody wants to know."""
        drift = self._drift(pipeline.name)
        if self._agent.loaded.config.pipelines[pipeline.name].pool is None:
            return drift
        from edgeagent.agent.pooling import Onlooker

        sampler = self.pooling.of(pipeline)
        return drift if sampler is None else Onlooker(drift, sampler)

    @property
    def pooling(self) -> Pooling:
        """The samples that are kept to be labelled; made when it is first asked for."""
        if self._pooling is None:
            from edgeagent.agent.pooling import Pooling

            self._pooling = Pooling(self._agent, self._submit)
        return self._pooling

    @property
    def pooled(self) -> dict[str, Any]:
        """What is kept, without loading anything where nothing is."""
        return self._pooling.status() if self._pooling is not None else {}

    def _drift(self, pipeline: str) -> Drift | None:
        """Made when it is first asked for; None = nobody looks."""
        keys = self._agent.loaded.config.pipelines[pipeline].drift
        if keys is False:
            return None
        if pipeline not in self._drifts:
            from edgeagent.drift.files import Files
            from edgeagent.drift.watch import Drift

            outbox = self._agent.outbox
            if self._files is None:
                self._files = Files(outbox.folder, lambda: outbox.allotment)
            settings = settings_of(Keys() if keys is True else keys)
            self._drifts[pipeline] = Drift(pipeline, settings, self._files, outbox.append)
        return self._drifts[pipeline]

    def tick(self) -> None:
        """Have kept what is due."""
        now = time.monotonic()
        if self._busy or now < self._next or not any(its.due for its in self._drifts.values()):
            return
        self._busy, self._next = True, now + _PATIENCE_S
        self._submit(self._keep)

    def _keep(self) -> None:
        for its in list(self._drifts.values()):
            if its.due:
                its.keep()
                if not its.fault:
                    self._next = 0.0
        self._busy = False

    def stop(self) -> None:
        """The last of this run."""
        for its in list(self._drifts.values()):
            its.keep()

    def reasons(self) -> Iterator[str]:
        """What has drifted, by pipeline, in words."""
        for name, its in list(self._drifts.items()):
            if its.reason:
                yield f"{name}: {its.reason}"

    def status(self) -> dict[str, Any]:
        """By pipeline."""
        return {name: its.status() for name, its in list(self._drifts.items())}

    def asked(self, pipeline: str) -> Drift:
        """Raises NotFound, Unavailable."""
        known = self._agent.loaded.config.pipelines
        if pipeline not in known:
            raise NotFound(f"there is no pipeline {pipeline!r}; there are: "
                           f"{', '.join(known) or 'none'}")  # fmt: skip
        its = self._drifts.get(pipeline)
        if its is None:
            raise Unavailable(
                f"nobody looks for drift of {pipeline}: it is off, or does not run",
                remedy=f"See pipelines.{pipeline}.drift and edgeagent status",
            )
        return its


def settings_of(keys: Keys) -> DriftSettings:
    """As configured."""
    from edgeagent.drift.watch import DriftSettings

    return DriftSettings(
        every_ms=1e3 * seconds(keys.every), learn_ms=1e3 * seconds(keys.learn),
        samples=keys.samples, threshold=keys.threshold, ignore=frozenset(keys.ignore),
        from_package=keys.reference == "auto",
    )  # fmt: skip


def drift(agent: Agent, arguments: DriftAction, _job: Job) -> dict[str, Any]:
    """The command. Raises NotFound, Unavailable."""
    drifting = agent.drifting
    if arguments.action == "learn":
        if not arguments.pipeline:
            raise NotFound("drift learn: name the pipeline that is to learn anew")
        drifting.asked(arguments.pipeline).learn()
    if arguments.pipeline:
        return {"pipelines": {arguments.pipeline: drifting.asked(arguments.pipeline).status()}}
    return {"pipelines": drifting.status()}
