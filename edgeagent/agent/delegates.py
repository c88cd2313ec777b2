"""Vendors' delegates in a running agent: where failures are kept and told, and how a pipeline that
runs without its delegate gets it back. Imported once a model asks for one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent import clock
from edgeagent.agent.aside import opened_anew
from edgeagent.agent.build import Built, Surroundings
from edgeagent.errors import EdgeAgentError
from edgeagent.pipeline import Pipeline
from edgeagent.types import Draft
from edgeagent.update.cooloff import CoolOff
from edgeagent.update.delegated import Delegated, Form

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.stages import Sink

log = logging.getLogger("edgeagent.models")

FILE = "delegates.json"


def open_delegated(
    folder: Path, outbox: Sink, alive: Callable[[], tuple[Surroundings, Built] | None]
) -> Delegated:
    """What keeps the account of vendors' libraries of an agent.

    Args:
        folder: the data folder.
        outbox: gets a record of each that is put aside, or back.
        alive: what pipelines are built from, and what was built; None = not yet.
    """

    def tell(form: Form, phase: str, reason: str) -> None:
        data = {"unit": form.title, "phase": phase, "fault": "delegate", "reason": reason}
        at_ns, mono_ms = clock.wall_ns(), clock.mono_ms()
        outbox.append(Draft("health", at_ns=at_ns, mono_ms=mono_ms, data=data))
        found = alive()
        for pipeline in lacking(found[1], form.package) if found else ():
            if phase == "new" and pipeline.stages is not None:
                # It began before the answer came.
                pipeline.stages.loss = reason

    def ready(package: Package) -> None:
        found = alive()
        if found is not None:
            give_back(*found, package)

    return Delegated(CoolOff(folder / FILE), ready, tell)


def give_back(around: Surroundings, built: Built, package: Package) -> None:
    """Have pipelines that run this package without its delegate run with it again, from one sample
    to the next."""
    for pipeline in list(lacking(built, package)):
        try:
            fresh = opened_anew(around, pipeline)
        except EdgeAgentError as error:
            log.warning("%s stays without its delegate: %s", pipeline.name, error)
            continue
        if fresh is not None:
            log.info("%s runs on its delegate again: %s", pipeline.name, fresh.receipt)


def lacking(built: Built, package: Package) -> Iterator[Pipeline]:
    """Pipelines that run this package without what they asked for."""
    for pipeline in built.pipelines.values():
        stages = pipeline.stages if isinstance(pipeline, Pipeline) else None
        if stages is None or not stages.loss:
            continue
        if stages.memory is not None and stages.memory.package.folder == package.folder:
            assert isinstance(pipeline, Pipeline)
            yield pipeline
