"""The running pipelines, as a change of model needs them (`update.ports.Stage`).

A new version is opened and warmed aside, on a thread of its own and at low priority, then handed
over between two frames. What ran before stays open, if there is memory for it, until the new one
is committed: it is asked about some of the same samples, which is the best evidence that there
is, and it is back within a frame if it must be.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.agent.aside import ask, open_aside
from edgeagent.agent.build import Built, Surroundings, Unbuilt, plan_of, rebuild
from edgeagent.agent.evidence import (
    Pictures,
    figures_of,
    how_well,
    shadowed,
    version_of,
    version_under,
    why_down,
)
from edgeagent.agent.recut import cut_otherwise, retire
from edgeagent.config.check import Fault
from edgeagent.config.toml import Places
from edgeagent.errors import Busy, EdgeAgentError, NotFound
from edgeagent.manifest import Package
from edgeagent.pipeline import Change, Parked, Pipeline
from edgeagent.prove.process import free_memory
from edgeagent.stages import Stages
from edgeagent.supervisor import Supervisor
from edgeagent.update.behaviour import Watch, behaviours
from edgeagent.update.compatible import Use, incompatible, named, pinned
from edgeagent.update.ports import Passed, Refused, Verdict
from edgeagent.update.probation import differs, judge
from edgeagent.update.shadow import Shadow, ShadowReport

if TYPE_CHECKING:
    from edgeagent.types import Sample

log = logging.getLogger("edgeagent.change")

_TAKEN_OVER_S = 30.0
"""A pipeline that has not taken over by then hangs."""
_ROOM = 96 << 20
"""Bytes that must be free for the version before to stay open."""
_BESIDE = 0.1
"""Share of a core that the version before may take on probation."""


class LiveStage:
    """All pipelines of an agent. Called by one thread, that of the deployments.

    Args:
        around: what pipelines are built from.
        places: lines of the configuration's keys.
        built: the units by name, as the agent has them; revived ones are put there.
        supervisor: runs them.
    """

    def __init__(
        self, around: Surroundings, places: Places, built: Built, supervisor: Supervisor
    ) -> None:
        self._around = around
        self._use = Use(around.config, places, around.library.find)
        self._built = built
        self._supervisor = supervisor
        self._parked: dict[str, Parked] = {}
        """By pipeline: what ran before the version that is on probation."""
        self._beside: dict[str, Shadow] = {}

    # --- the port --------------------------------------------------------------------------

    def incompatible(self, package: Package) -> Sequence[Fault]:
        """See `ports.Stage`."""
        return incompatible(package, self._use)

    def live(self, model: str, stopped: threading.Event) -> list[Sample]:
        """Copies of a few samples that the pipelines of a model are given now, for its proof."""
        from edgeagent.agent.aside import Gathering

        gathering = Gathering()
        pipelines = list(self._running(model))
        for pipeline in pipelines:
            pipeline.tap = gathering.tap
        try:
            gathering.wait(stopped)
        finally:
            for pipeline in pipelines:
                pipeline.tap = None
        return gathering.samples

    def shadow(self, package: Package, seconds: float, stopped: threading.Event) -> Passed:
        """See `ports.Stage`. Raises Refused, ModelError."""
        shadows: dict[str, Shadow] = {}
        pictures = Pictures(self._around.outbox, package)
        try:
            for pipeline in self._running(package.name):
                shadows[pipeline.name] = self._shadow(pipeline, package, pictures)
            stopped.wait(seconds)
        finally:
            for name, shadow in shadows.items():
                self._untap(name, shadow)
            reports = {name: shadow.stop() for name, shadow in shadows.items()}
        for name, report in reports.items():
            self._judge_shadow(name, package, report, stopped)
        return Passed(shadowed(reports), msgspec.to_builtins(reports))

    def activate(self, package: Package) -> None:
        """See `ports.Stage`. Raises EdgeAgentError."""
        names = [name for name in self._concerned(package.name) if not self._runs(name, package)]
        self._end_beside(names)
        recut = [
            name
            for name in names
            if cut_otherwise(self._around, self._built, name, self._package_for(name, package))
        ]
        changes: dict[str, Change] = {}
        back = {n for n, its in self._parked.items() if n in names and _is(its.stages, package)}
        try:
            for name in names:
                pipeline = self._built.pipelines[name]
                if isinstance(pipeline, Pipeline) and self._supervisor.runs(pipeline):
                    changes[name] = self._opened(name, package)
            anew = {name: changes.pop(name) for name in recut}
        except BaseException:
            for change in changes.values():
                change.stages.session.close()
            raise
        self._hand_over(changes)
        for change in anew.values():
            change.stages.session.close()  # it opens: more was not to be known
        retire(self._around, self._built, self._supervisor, recut)
        for name in names:
            ended = name not in recut and _ended(self._built.pipelines[name])
            if name not in changes and not ended:
                self._revive(name, package)
        for name, change in changes.items():
            self._keep(name, change, back=name in back)

    def withdraw(self, model: str) -> None:
        """See `ports.Stage`."""
        for name, _ in self._use.pipelines(model):
            self._end_beside([name])
            pipeline = self._built.pipelines[name]
            if isinstance(pipeline, Pipeline):
                pipeline.retire()
                error = NotFound(f"no version of {model} is left that runs here")
                stand_in = self._built.pipelines[name] = Unbuilt(name, error)
                self._supervisor.forget(pipeline)
                self._supervisor.start(stand_in)

    def behaviour(self, model: str) -> Mapping[str, Any]:
        """See `ports.Stage`."""
        watched = {its.name: its.watch.behaviour() for its in self._running(model)}
        return dict(msgspec.to_builtins(watched))

    def judge(
        self, model: str, before: Mapping[str, Any], soaked_s: float, soak_s: float
    ) -> Verdict:
        """See `ports.Stage`."""
        known = behaviours(before)
        told: list[str] = []
        figures: dict[str, Any] = {}
        for name, config in self._use.pipelines(model):
            pipeline = self._built.pipelines[name]
            if not isinstance(pipeline, Pipeline):
                continue
            was, now = known.get(name), pipeline.watch.behaviour()
            beside = self._beside[name].report() if name in self._beside else None
            versions = (version_under(was), version_under(now))
            figures[name] = figures_of(was, now, beside)
            fault = judge(
                was, now, versions=versions, expect=config.expect,
                beside=(beside.agreement, beside.recent) if beside else (),
            )  # fmt: skip
            sentence = fault.sentence if fault else why_down(pipeline)
            if sentence:
                code = fault.code if fault else "errors"
                return Verdict("bad", f"{name}: {sentence}", {**figures, "code": code})
            told.append(f"{name}: {how_well(was, now, beside)}")
        if soaked_s < soak_s:
            return Verdict("open", "; ".join(told), figures)
        self.release(model)
        return Verdict("good", "; ".join(told), figures)

    def release(self, model: str) -> None:
        """Nobody goes back any more: close what was there before."""
        names = list(self._concerned(model))
        self._end_beside(names)
        for name in names:
            parked = self._parked.pop(name, None)
            if parked is not None:
                parked.stages.session.close()

    # --- which pipelines -------------------------------------------------------------------

    def _concerned(self, model: str) -> Iterator[str]:
        """Pipelines that have anything of this model open."""
        for name, config in self._around.config.pipelines.items():
            models = {named(config.model) if not pinned(config) else ""}
            models |= {named(its.model) for its in config.refine.values() if not its.version}
            models.add(named(config.redact.model) if config.redact else "")
            if config.enabled and model in models and name in self._built.pipelines:
                yield name

    def _runs(self, name: str, package: Package) -> bool:
        """Whether it is what a pipeline runs already, as after a restart in the middle."""
        pipeline = self._built.pipelines[name]
        first = named(self._around.config.pipelines[name].model) == package.name
        if not first or not isinstance(pipeline, Pipeline) or not self._supervisor.runs(pipeline):
            return False
        return pipeline.settled.is_set() and version_of(pipeline.model) == package.version

    def _running(self, model: str) -> Iterator[Pipeline]:
        for name, _ in self._use.pipelines(model):
            pipeline = self._built.pipelines.get(name)
            if isinstance(pipeline, Pipeline) and self._supervisor.runs(pipeline):
                yield pipeline

    # --- handing over ----------------------------------------------------------------------

    def _opened(self, name: str, package: Package) -> Change:
        """Stages with this package, warm, or those that ran before and are still open."""
        opener = self._opener(name, package)
        parked = self._parked.get(name)
        if parked is not None and _is(parked.stages, package):
            del self._parked[name]
            return Change(parked.stages, opener, parked.watch)
        runtime = self._around.config.pipelines[name].runtime
        first = self._package_for(name, package)
        stages = open_aside(name, opener, first, kindly=(runtime.threads or 1) == 1)
        running = self._pipeline(name)
        if first is not package:
            # A second model: what is watched goes on.
            return Change(stages, opener, running.watch)
        return Change(stages, opener, Watch(stages.model))

    def _opener(self, name: str, package: Package) -> Callable[[], Stages]:
        config = self._around.config.pipelines[name]

        def find(model: str, version: str) -> Package:
            asked = named(model) == package.name and version in ("", package.version)
            return package if asked else self._around.library.find(model, version)

        def open_stages() -> Stages:
            from edgeagent.agent.stages import open_stages as really_open

            chosen = find(config.model, config.version)
            plan = plan_of(self._around, name, chosen)
            return really_open(self._around, name, plan.package, find)

        return open_stages

    def _hand_over(self, changes: dict[str, Change]) -> None:
        """All or none. Raises Busy where a pipeline does not take over."""
        for name, change in changes.items():
            self._pipeline(name).change(change)
        late = [name for name, its in changes.items() if not its.done.wait(_TAKEN_OVER_S)]
        late = [name for name in late if self._pipeline(name).withdraw(changes[name])]
        if not late:
            return
        for name, change in changes.items():
            if name in late:
                change.stages.session.close()
            elif change.before is not None:
                before = change.before
                back = Change(before.stages, before.open_stages, before.watch)
                self._pipeline(name).change(back)
                if back.done.wait(_TAKEN_OVER_S):
                    change.stages.session.close()
        raise Busy(f"{', '.join(late)} did not take the new version over: it hangs")

    def _pipeline(self, name: str) -> Pipeline:
        pipeline = self._built.pipelines[name]
        assert isinstance(pipeline, Pipeline)
        return pipeline

    def _keep(self, name: str, change: Change, *, back: bool) -> None:
        """Leave what ran before open, and ask it about some of the same samples; not where it
        is taken back."""
        known = self._parked.pop(name, None)
        if known is not None:
            known.stages.session.close()
        before = change.before
        if before is None:
            return
        if back or free_memory() < _ROOM or _same_version(before.stages, change.stages):
            before.stages.session.close()
            return
        self._parked[name] = before
        beside = Shadow(
            name, lambda sample: ask(before.stages, sample), before.stages.session.hand_over,
            threshold=max(before.stages.threshold, change.stages.threshold), newer=False,
            share=_BESIDE,
        )  # fmt: skip
        self._beside[name] = beside
        beside.start()
        self._pipeline(name).tap = beside.tap

    def _end_beside(self, names: Sequence[str]) -> None:
        for name in names:
            beside = self._beside.pop(name, None)
            if beside is None:
                continue
            self._untap(name, beside)
            beside.stop()
            if beside.alive:
                # It hangs in the runtime: its session can't be had back.
                self._parked.pop(name, None)

    def _untap(self, name: str, shadow: Shadow) -> None:
        pipeline = self._built.pipelines.get(name)
        if isinstance(pipeline, Pipeline) and pipeline.tap == shadow.tap:
            pipeline.tap = None

    def _revive(self, name: str, package: Package) -> None:
        """A pipeline that can't run with what there was. Where it is not the model that it
        lacks, it stays as it is."""
        dead = self._built.pipelines[name]
        try:
            units = rebuild(self._around, self._built, name, self._package_for(name, package))
        except EdgeAgentError as error:
            log.warning("%s still can't run: %s", name, error)
            return
        self._supervisor.forget(dead)
        for unit in units:
            self._supervisor.start(unit)

    def _package_for(self, name: str, package: Package) -> Package:
        config = self._around.config.pipelines[name]
        if named(config.model) == package.name:
            return package
        return self._around.library.find(config.model, config.version)

    # --- beside ----------------------------------------------------------------------------

    def _shadow(self, pipeline: Pipeline, package: Package, pictures: Pictures) -> Shadow:
        from edgeagent.prove.predict import Predictor

        config = self._around.config.pipelines[pipeline.name]
        threshold = package.manifest.output.threshold
        if config.threshold is not None:
            threshold = config.threshold
        predictor = Predictor(package, config.runtime, threshold)
        shadow = Shadow(
            pipeline.name, lambda sample: predictor(sample).predictions, predictor.close,
            threshold=threshold, newer=True, disagreed=pictures.of(pipeline),
        )  # fmt: skip
        shadow.start()
        pipeline.tap = shadow.tap
        return shadow

    def _judge_shadow(
        self, name: str, package: Package, report: ShadowReport, stopped: threading.Event
    ) -> None:
        running = self._pipeline(name)
        versions = version_of(running.model), package.version
        if report.failed:
            asked = report.failed + report.agreement.samples
            said = f"{report.failed} of {asked} samples failed beside {versions[0]}"
            raise Refused("shadow", f"{name}: {said}: {report.error}")
        if stopped.is_set():
            return
        fault = differs(report.agreement, *versions)
        if fault is not None:
            raise Refused("shadow", f"{name}: {fault.sentence}")


def _ended(pipeline: Any) -> bool:
    """A recording that was read to its end needs no other model."""
    return bool(pipeline.health().state == "ended")


def _is(stages: Stages, package: Package) -> bool:
    return stages.model.partition("/")[0] == f"{package.name}@{package.version}"


def _same_version(one: Stages, other: Stages) -> bool:
    return one.model == other.model
