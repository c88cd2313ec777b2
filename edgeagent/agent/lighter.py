"""A lighter variant of a pipeline's model, while its board is too hot for the usual one.

Which of a package's variants is lighter depends on the board and is not known from its name: each
is opened aside and measured, the usual one as well, and one that takes a quarter less time takes
over between two samples.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from edgeagent.agent.aside import ask, hand_over, open_aside, opened_anew
from edgeagent.agent.build import opener, plan_of
from edgeagent.errors import EdgeAgentError
from edgeagent.stages import Stages

if TYPE_CHECKING:
    from edgeagent.agent.build import Surroundings
    from edgeagent.manifest import Package
    from edgeagent.pipeline import Pipeline

log = logging.getLogger("edgeagent.governor")

_LIGHTER = 0.75
_RUNS = 9

Opens = Callable[[], Stages]


class Lighter:
    """An act of the governor: see `device.governor.Act`.

    Args:
        around: what pipelines are built from.
        pipelines: those that may run another variant, as they are now.
    """

    name = "variant"

    def __init__(self, around: Surroundings, pipelines: Callable[[], Iterable[Pipeline]]) -> None:
        self._around = around
        self._pipelines = pipelines
        self._lighter: dict[str, str] = {}
        """Pipeline → the lighter model that it runs."""

    def take(self, reason: str) -> str:
        """Let each pipeline run its lightest variant; empty = none is lighter."""
        del reason
        done = [self._lightened(pipeline) for pipeline in self._pipelines() if pipeline.loaded]
        return ", ".join(filter(None, done))

    def back(self) -> str:
        """Run the usual variants again; empty = one can't be opened now."""
        for pipeline in self._pipelines():
            model = self._lighter.get(pipeline.name)
            # After a change of the model it runs what it should already.
            if model is not None and pipeline.model == model:
                try:
                    if opened_anew(self._around, pipeline) is None:
                        return ""
                except EdgeAgentError as error:
                    log.warning("%s stays on its lighter variant: %s", pipeline.name, error)
                    return ""
            self._lighter.pop(pipeline.name, None)
        return "the usual variants run again"

    def _lightened(self, pipeline: Pipeline) -> str:
        """What was done; empty = nothing."""
        config = self._around.config.pipelines[pipeline.name]
        try:
            package = plan_of(self._around, pipeline.name).package
        except EdgeAgentError:
            return ""
        # A variant that the configuration names is meant, and of another version nothing is known.
        running = pipeline.model.partition("/")[0]
        if config.runtime.variant or running != f"{package.name}@{package.version}":
            return ""
        if self._lighter.get(pipeline.name) == pipeline.model:
            return ""
        usual = _measure(pipeline.name, opener(self._around, pipeline.name, package), package)
        if usual is None:
            return ""
        usual.stages.session.close()
        found = self._lightest(pipeline.name, package, _LIGHTER * usual.seconds)
        if found is None or not hand_over(pipeline, found.stages, found.opens):
            return ""
        self._lighter[pipeline.name] = found.stages.model
        return (
            f"{pipeline.name} runs {found.stages.model} ({found.seconds * 1e3:.3g} ms in place of "
            f"{usual.seconds * 1e3:.3g} ms)"
        )

    def _lightest(self, name: str, package: Package, most_s: float) -> _Measured | None:
        """The variant that takes least, if that is less than ``most_s``; all others are closed."""
        best: _Measured | None = None
        for variant in package.manifest.variant:
            measured = _measure(name, self._opener(name, package, variant.file), package)
            if measured is None:
                continue
            if measured.seconds >= (best.seconds if best else most_s):
                measured.stages.session.close()
                continue
            if best is not None:
                best.stages.session.close()
            best = measured
        return best

    def _opener(self, name: str, package: Package, file: str) -> Opens:
        config = self._around.config
        pipeline = config.pipelines[name]
        asked = replace(pipeline, runtime=replace(pipeline.runtime, variant=file))
        other = replace(config, pipelines={**config.pipelines, name: asked})
        around = replace(self._around, config=other)

        def open_stages() -> Stages:
            from edgeagent.agent.stages import open_stages as really_open

            return really_open(around, name, package)

        return open_stages


class _Measured(Struct, frozen=True):
    seconds: float
    """That a sample takes."""
    stages: Stages
    opens: Opens


def _measure(name: str, opens: Opens, package: Package) -> _Measured | None:
    """None = it does not run."""
    from edgeagent.prove.samples import made_up

    try:
        stages = open_aside(name, opens, package, kindly=True)
    except EdgeAgentError as error:
        log.info("%s: another variant can't be used: %s", name, error)
        return None
    sample, took = made_up(package), []
    for _ in range(_RUNS):
        began = time.perf_counter()
        ask(stages, sample)
        took.append(time.perf_counter() - began)
    stages.session.hand_over()
    return _Measured(statistics.median(took), stages, opens)
