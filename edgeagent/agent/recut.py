"""A version that takes other windows than the one before: its sources are built anew with it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from edgeagent.agent.build import Built, Surroundings, plan_of
from edgeagent.capture.unit import CaptureUnit
from edgeagent.errors import ModelError
from edgeagent.manifest import Package
from edgeagent.pipeline import Pipeline
from edgeagent.prove.samples import wanted_by
from edgeagent.supervisor import Supervisor, Unit

_ENDED_S = 5.0


def cut_otherwise(around: Surroundings, built: Built, name: str, package: Package) -> bool:
    """Whether the sources of pipeline ``name`` must cut other windows for a package than they do.

    Raises:
        ModelError: they can't: a recording is not begun anew for that.
    """
    pipeline = built.pipelines[name]
    stages = pipeline.stages if isinstance(pipeline, Pipeline) else None
    if stages is None or stages.memory is None:
        return False
    plan = plan_of(around, name, package)
    others = [
        source
        for input_, source in plan.sources.items()
        if wanted_by(plan.package, input_) != wanted_by(stages.memory.package, input_)
    ]
    for source in others:
        unit = built.sources.get(source)
        if isinstance(unit, CaptureUnit) and not unit.source.live:
            raise ModelError(
                f"pipelines.{name}: {package.name} {package.version} takes other windows, and the "
                f"recording {source} is being read",
                remedy="It can be changed when the recording is over.",
            )
    return bool(others)


def retire(
    around: Surroundings, built: Built, supervisor: Supervisor, names: Sequence[str]
) -> None:
    """End pipelines with their sources, which are to be built anew."""
    units: list[Unit] = []
    for name in names:
        pipeline = built.pipelines[name]
        if isinstance(pipeline, Pipeline):
            pipeline.retire()
            units.append(pipeline)
        for source in plan_of(around, name).sources.values():
            unit = built.sources.pop(source, None)
            if isinstance(unit, CaptureUnit):
                unit.stop()
                units.append(unit)
    end = time.monotonic() + _ENDED_S
    for ending in units:
        supervisor.wait(ending, max(0.1, end - time.monotonic()))
        supervisor.forget(ending)
