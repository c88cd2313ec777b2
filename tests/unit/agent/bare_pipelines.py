"""Pipelines as an agent builds them, without the rest of an agent."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.agent.build import Surroundings, build
from edgeagent.config.model import Config
from edgeagent.infer.sharing import Sharing
from edgeagent.pipeline import Pipeline
from edgeagent.supervisor import Supervisor
from edgeagent.types import Draft
from edgeagent.update.library import Library


class Sink:
    """Records as they would be appended, in order."""

    seq = None

    def __init__(self) -> None:
        self.drafts: list[Draft] = []

    def append(self, draft: Draft) -> Sink:
        self.drafts.append(draft)
        return self

    def frames(self) -> list[int]:
        return [draft.frame for draft in self.drafts if draft.kind == "result"]

    def events(self, phase: str) -> list[Draft]:
        return [d for d in self.drafts if d.kind == "event" and d.data["phase"] == phase]


class Running:
    """Pipelines of a configuration on a library of our own, started."""

    def __init__(
        self,
        models: Path,
        table: dict[str, Any],
        sharing: Sharing | None = None,
        folder: Path | None = None,
    ) -> None:
        self.sink = Sink()
        config = msgspec.convert(table, Config)
        self.around = Surroundings(
            config, "hash", Library([models]), self.sink, sharing=sharing, folder=folder
        )
        self.supervisor = Supervisor()
        self.built = build(self.around)
        for unit in (*self.built.pipelines.values(), *self.built.sources.values()):
            self.supervisor.start(unit)

    def pipeline(self, name: str = "door") -> Pipeline:
        pipeline = self.built.pipelines[name]
        assert isinstance(pipeline, Pipeline)
        return pipeline

    def until(self, condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, [h.reason for h in self.supervisor.health()]
            time.sleep(0.01)

    def steps(self, more: int, name: str = "door") -> None:
        """Wait until it has looked at so many more samples."""
        wanted = self.pipeline(name).meter.steps + more
        self.until(lambda: self.pipeline(name).meter.steps >= wanted)

    def stop(self) -> None:
        self.supervisor.stop(5)
