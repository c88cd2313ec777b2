"""What a search for a faster configuration costs a pipeline that runs beside it.

``python -m benchmarks.retune`` prints one JSON document: a step of `parts` on a belt at 20 frames a
second, before, during and after a search as the agent does it (`prove.tune.again`).
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.step import Nowhere
from edgeagent.agent.build import Surroundings, build
from edgeagent.config.model import Config, Runtime
from edgeagent.manifest import Package
from edgeagent.pipeline import Pipeline
from edgeagent.prove.tune.again import tune_again
from edgeagent.prove.tune.choice import Choice
from edgeagent.supervisor import Supervisor
from edgeagent.update.library import Library

ALONE_S = 40.0
_BELT: dict[str, Any] = {
    "sources": {"belt": {"kind": "synthetic", "scene": "belt", "fps": 20}},
    "pipelines": {"belt": {"source": "belt", "model": "parts"}},
}
_MODELS = Path(__file__).resolve().parent.parent / "models"


class Stretch:
    """The steps of a pipeline from entering to leaving."""

    def __init__(self, pipeline: Pipeline, dropped: Any) -> None:
        self._pipeline = pipeline
        self._dropped = dropped

    def __enter__(self) -> Stretch:
        self._at = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        steps, total_s, began, dropped = (
            now - was for now, was in zip(self._now(), self._at, strict=True)
        )
        self.figures = {
            "seconds": round(began, 1), "steps": steps, "dropped": dropped,
            "mean_ms": round(total_s / max(1, steps) * 1e3, 3),
        }  # fmt: skip

    def _now(self) -> tuple[int, float, float, int]:
        step = self._pipeline.meter.step
        return step.count, step.total_s, time.monotonic(), self._dropped()


def measure(folder: Path) -> dict[str, Any]:
    """Figures of each stretch, and what the search found."""
    library = Library([_MODELS])
    config = msgspec.convert(_BELT, Config)
    around = Surroundings(config, "none", library, Nowhere(), folder=folder)
    supervisor, built = Supervisor(), build(around)
    for unit in (*built.pipelines.values(), *built.sources.values()):
        supervisor.start(unit)
    pipeline, source = built.pipelines["belt"], built.sources["belt"]
    assert isinstance(pipeline, Pipeline)
    try:
        pipeline.settled.wait(30)
        stretches = [Stretch(pipeline, lambda: source.dropped) for _ in range(3)]
        with stretches[0]:
            time.sleep(ALONE_S)
        with stretches[1]:
            choice = tune_again(library.find("parts"), _before(library.find("parts")),
                                threading.Event())  # fmt: skip
        with stretches[2]:
            time.sleep(ALONE_S)
    finally:
        supervisor.stop(5)
    named = zip(("alone", "beside a search", "alone again"), stretches, strict=True)
    return {name: its.figures for name, its in named} | {"found": choice.why}


def _before(package: Package) -> Choice:
    """A choice that holds no more: the defaults, chosen under other circumstances."""
    return Choice(1, f"{package.name}@{package.version}", "2026-01-01T00:00:00Z", {}, Runtime())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(measure(Path(place)), indent=1))
