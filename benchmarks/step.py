"""What a pipeline step costs beside the bare runtime: same process, same tensors, in turns.

A step is prepare, infer, interpret, track, decide, what is noted for `why`, and a look for drift
when one is due, as an agent has it by default; its outbox keeps nothing, because appending has a
benchmark of its own. Where the picture is prepared in each step
the bare side gets the tensor ready-made.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.models import Subject, subjects
from benchmarks.session import bare_litert, bare_onnx
from edgeagent.agent.stages import stages_for
from edgeagent.config.model import Pipeline as PipelineConfig
from edgeagent.decide.ring import Ring
from edgeagent.drift.watch import Drift, DriftSettings
from edgeagent.pipeline import Pipeline
from edgeagent.stages import Stages
from edgeagent.types import Draft, Frame, Prepared

T = TypeVar("T")
Times = tuple[float, float]
"""Processor time of the thread and time on the clock, seconds."""

_BLOCKS = 10
"""A run is cut into so many, to tell how the ratio varies."""
_WARM_UP = 20
_APART_MS = 200.0
"""Samples are so far from one another, as they are at 5 frames a second."""


class Nowhere:
    """An outbox that keeps nothing."""

    seq = None

    def append(self, draft: Draft) -> Nowhere:
        del draft
        return self


def alternate(ours: Callable[[], Any], bare: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Two calls that take turns: medians of the processor time of this thread in µs, their
    difference and ratio, between what the ratio lies in eight of ten parts of the run, and the
    ratio of the time on the clock.

    Both run in one thread, and what else the machine does makes them wait but costs them little:
    on a busy machine the clock would measure the others.
    """
    for _ in range(_WARM_UP):
        ours(), bare()
    pairs = [(_timed(ours), _timed(bare)) for _ in range(rounds)]
    size = max(1, rounds // _BLOCKS)
    ratios = sorted(
        _medians(pairs[at : at + size], 0, _ratio) for at in range(0, size * _BLOCKS, size)
    )
    a, b = (its * 1e6 for its in _medians(pairs, 0, lambda one, other: (one, other)))
    return {
        "ours_us": round(a, 1), "bare_us": round(b, 1), "overhead_us": round(a - b, 1),
        "ratio": round(a / b, 4), "low": round(ratios[1], 4), "high": round(ratios[-2], 4),
        "clock_ratio": round(_medians(pairs, 1, _ratio), 4),
    }  # fmt: skip


def _timed(call: Callable[[], Any]) -> Times:
    used, began = time.thread_time(), time.perf_counter()
    call()
    ended = time.perf_counter()
    return time.thread_time() - used, ended - began


def _medians(pairs: list[tuple[Times, Times]], clock: int, of: Callable[[float, float], T]) -> T:
    ours, bare = zip(*pairs, strict=True)
    return of(*(statistics.median(its[clock] for its in side) for side in (ours, bare)))


def _ratio(one: float, other: float) -> float:
    return one / other


def row(subject: Subject, folder: Path, rounds: int, *, prepared: bool) -> dict[str, float]:
    """One comparison. ``prepared``: the picture is prepared in each step."""
    package = subject.open(folder)
    config = PipelineConfig(model=package.name, source="s", runtime=subject.choice)
    stages = stages_for("bench", package, config)
    pipeline = Pipeline("bench", None, Nowhere(), lambda: stages, notes=Ring("bench"))  # type: ignore[arg-type]
    pipeline.drift = Drift("bench", DriftSettings())
    pipeline.drift.begin(stages.model, stages.threshold, None)
    try:
        tensors = _ready(subject, stages, prepared=prepared)
        file = next(its.file for its in package.manifest.variant if its.runtime == subject.runtime)
        call = (bare_litert if subject.runtime == "litert" else bare_onnx)(
            package.path(file), tensors
        )
        frames = _frames(subject)

        found = alternate(lambda: pipeline.step(stages, next(frames)), call, rounds)
        return found | {"things": len(pipeline.lately[-1].predictions)}
    finally:
        stages.session.close()


def _ready(subject: Subject, stages: Stages, *, prepared: bool) -> list[object]:
    """The tensors of the bare side; ours gets the same ones, unless it is to prepare them."""
    if subject.tensor is not None:
        given = Prepared([subject.tensor])
    else:
        made = stages.prepare(next(_frames(subject)))
        given = Prepared([tensor.copy() for tensor in made.tensors], made.placement)
    if not prepared:
        stages.prepare = lambda _sample: given
    return list(given.tensors)


def _frames(subject: Subject) -> Iterator[Frame]:
    seen, now, at = subject.picture(), time.time_ns(), time.monotonic() * 1e3
    return (Frame("s", number, seen, now, at + _APART_MS * number) for number in count(1))


def measure(folder: Path, *, full: bool = False) -> dict[str, dict[str, float]]:
    """All rows: by model and runtime; those that are prepared end in ``, 1080p prepared``."""
    rows: dict[str, dict[str, float]] = {}
    for subject in subjects():
        rounds = subject.rounds * (2 if full else 1)
        for prepared in (False, True) if subject.prepared else (False,):
            name = f"{subject.title}, {subject.runtime}{', 1080p prepared' if prepared else ''}"
            rows[name] = row(subject, folder / "step", rounds, prepared=prepared)
            shutil.rmtree(folder / "step", ignore_errors=True)
    return rows
