"""A pipeline whose model says what the test wants; all behind the model is the real thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import Struct

from edgeagent import clock
from edgeagent.agent.decisions import Decisions
from edgeagent.capture.gate.gate import Gate
from edgeagent.config.model import Config, Pipeline, Privacy
from edgeagent.decide.decider import Decide
from edgeagent.diagnose.why import Answer, Asked, why
from edgeagent.diagnose.why.times import Now
from edgeagent.errors import EdgeAgentError, SourceEnded
from edgeagent.pipeline import Pipeline as Runner
from edgeagent.stages import Stages
from edgeagent.store.decisions import read
from edgeagent.types import Draft, Frame, Prediction, Prepared

THRESHOLD = 0.5


class Receipt(Struct):
    seq: int | None


class Numbered:
    """Gives numbers as the store does."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []

    def append(self, draft: Draft) -> Receipt:
        self.drafts.append(draft)
        return Receipt(len(self.drafts))


class Samples:
    """One sample each 200 ms, the last of them now."""

    def __init__(self, count: int, ago_s: float) -> None:
        now = clock.mono_ms() - 1e3 * ago_s
        self._times = [now - 200.0 * (count - 1 - number) for number in range(count)]
        self._count = count

    def get(self, timeout_s: float) -> Frame:
        if not self._times:
            raise SourceEnded
        ms = self._times.pop(0)
        at_ns = clock.wall_ns() - int((clock.mono_ms() - ms) * 1e6)
        pixels = np.zeros((8, 8, 3), np.uint8)
        return Frame("cam", self._count - len(self._times), pixels, at_ns, ms)

    def close(self) -> None:
        pass


class Model:
    """What it finds in the n-th sample, or why that fails."""

    def __init__(self, found: Sequence[Sequence[Prediction] | EdgeAgentError]) -> None:
        self._found = list(found)
        self.present: Sequence[Prediction] = ()

    def run(self, tensors: Any) -> list[Any]:
        its = self._found.pop(0)
        if isinstance(its, EdgeAgentError):
            raise its
        self.present = its
        return []

    def hand_over(self) -> None:
        pass

    def close(self) -> None:
        pass


class Device:
    """An agent's decisions in a folder, and pipelines that run to their end."""

    def __init__(self, folder: Path, max_bytes: int = 1 << 20) -> None:
        self.folder = folder
        self.pipelines: dict[str, Pipeline] = {}
        self.decisions = Decisions(folder, max_bytes, lambda work: work())
        self.sink = Numbered()

    def run(
        self,
        name: str,
        found: Sequence[Sequence[Prediction] | EdgeAgentError],
        *,
        ago_s: float = 0.0,
        prepare: Callable[[Any], Prepared] = lambda _: Prepared([]),
        paused: bool = False,
        rest: str = "",
        model: str = "parts@1.2.0/int8",
        **keys: Any,
    ) -> None:
        """Have a pipeline look at as many samples as the model is given answers for."""
        self.pipelines[name] = keys.pop("settings", None) or Pipeline("parts", "cam", **keys)
        settings = self.pipelines[name]
        decide = Decide(
            name, settings, Privacy(), (), threshold=THRESHOLD, model=model, config="c3f1"
        )
        session = Model(found)
        stages = Stages(
            model=model, receipt="r", session=session, prepare=prepare,
            interpret=lambda *_: list(session.present), track=lambda its, _ms: its, decide=decide,
            finish=decide.finish, picture=decide.picture, found=lambda: decide.last,
            setup=decide.setup, gate=Gate(settings) if settings.gate else None,
        )  # fmt: skip
        runner = Runner(
            name, Samples(len(found), ago_s), self.sink, lambda: stages,
            notes=self.decisions.ring(name, "cam"),
        )  # fmt: skip
        runner.pause(paused)
        runner.rest(rest)
        runner.run()

    def why(
        self,
        target: str,
        since: str = "",
        label: str = "",
        *,
        synced: bool = True,
        running: bool | None = True,
        pending: int = 0,
        wait_s: float = 0.0,
        labels: Sequence[str] = (),
    ) -> Answer:
        """Ask, from what is on disk. ``wait_s`` later than now."""
        if running:
            self.decisions.keep()
        its = Now.read("UTC", lambda: synced)
        now = Now(its.boot, its.ms + 1e3 * wait_s, its.wall_ms + 1e3 * wait_s, synced)
        return why(
            Asked(target, since, label), read(self.folder), Config(pipelines=self.pipelines), now,
            running=running, pending=pending, labels=labels,
        )  # fmt: skip


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)
