"""Stages that are opened beside the ones that run."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from edgeagent.errors import EdgeAgentError, ModelError
from edgeagent.types import Frame, Window

if TYPE_CHECKING:
    from edgeagent.agent.build import Surroundings
    from edgeagent.manifest import Package
    from edgeagent.pipeline import Pipeline
    from edgeagent.stages import Stages
    from edgeagent.types import Joint, Prediction, Sample

_GATHERED, _GATHERED_BYTES, _GATHER_S = 12, 24 << 20, 4.0
"""Samples for a proof at most, how large they are together, and how long they are waited for."""
_LOOK_S = 0.2
_WARM = 3
_NICE = 10
_TAKEN_OVER_S = 30.0


class Gathering:
    """A few copies of what pipelines are given, spread over some seconds."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._bytes = 0
        self._next = 0.0
        self._enough = threading.Event()

    def tap(self, given: Sample | Joint, _predictions: list[Prediction]) -> None:
        """See `pipeline.Pipeline.tap`. A source's own memory can't be held, so it is copied."""
        now = time.monotonic()
        if now < self._next or self._enough.is_set() or not isinstance(given, (Frame, Window)):
            return
        self._next = now + _GATHER_S / _GATHERED
        if isinstance(given, Frame):
            self.samples.append(replace(given, pixels=given.pixels.copy()))
            self._bytes += given.pixels.nbytes
        else:
            self.samples.append(replace(given, values=given.values.copy()))
            self._bytes += given.values.nbytes
        if len(self.samples) >= _GATHERED or self._bytes >= _GATHERED_BYTES:
            self._enough.set()

    def wait(self, stopped: threading.Event) -> None:
        """Until there are enough, or time is up, or it is stopped."""
        end = time.monotonic() + _GATHER_S
        while time.monotonic() < end and not stopped.is_set():
            if self._enough.wait(_LOOK_S):
                return


def open_aside(
    name: str, opener: Callable[[], Stages], package: Package, *, kindly: bool
) -> Stages:
    """Stages, opened and warmed on a thread of their own, whose session belongs to nobody.

    Args:
        name: of the pipeline.
        opener: opens them.
        package: of the model that they run.
        kindly: at low priority, so that the pipelines go on. Not for a model with threads of its
            own, which would keep that priority.

    Raises:
        EdgeAgentError: they can't be opened, or do not run.
    """
    made: list[Stages] = []
    failed: list[BaseException] = []

    def work() -> None:
        if kindly:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            stages = opener()
            try:
                _warm(stages, package)
            except BaseException:
                stages.session.close()
                raise
            made.append(stages)
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            failed.append(error)

    thread = threading.Thread(target=work, name=f"open:{name}", daemon=True)
    thread.start()
    thread.join()
    if failed:
        if isinstance(failed[0], EdgeAgentError):
            raise failed[0]
        raise ModelError(f"{package.name}@{package.version}: {failed[0]!r}") from failed[0]
    return made[0]


def _warm(stages: Stages, package: Package) -> None:
    """The first runs plan memory, and are slower than all others."""
    from edgeagent.prove.samples import made_up

    sample = made_up(package)
    for _ in range(_WARM):
        ask(stages, sample)
    reset = getattr(stages.session, "reset", None)
    if reset is not None:
        reset()
    stages.session.hand_over()


def ask(stages: Stages, sample: Sample | Joint) -> list[Prediction]:
    """What the model of the stages says, and nothing is remembered of it."""
    prepared = stages.prepare(sample)
    return stages.interpret(stages.session.run(prepared.tensors), prepared)


def opened_anew(around: Surroundings, pipeline: Pipeline, *, kindly: bool = True) -> Stages | None:
    """Open what a pipeline runs anew, aside, and have it take over from one sample to the next;
    None = it does not take it. Raises EdgeAgentError: it can't be opened, and what runs goes on."""
    from edgeagent.agent.build import opener, plan_of

    package = plan_of(around, pipeline.name).package
    opens = opener(around, pipeline.name, package)
    fresh = open_aside(pipeline.name, opens, package, kindly=kindly)
    return fresh if hand_over(pipeline, fresh, opens) else None


def hand_over(pipeline: Pipeline, stages: Stages, opens: Callable[[], Stages]) -> bool:
    """Have stages that were opened aside take over, and close those before; False = the pipeline
    does not take them."""
    from edgeagent.stages import Change
    from edgeagent.update.behaviour import Watch

    change = Change(stages, opens, Watch(stages.model))
    pipeline.change(change)
    if not change.done.wait(_TAKEN_OVER_S) and pipeline.withdraw(change):
        stages.session.close()
        return False
    if change.before is not None:
        change.before.stages.session.close()
    return True
