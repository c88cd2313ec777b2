"""What the agent says about itself when a person asks: commands that only look."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.errors import NotFound, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edgeagent.agent.running import Agent
    from edgeagent.config.load import Loaded
    from edgeagent.diagnose.context import Context
    from edgeagent.diagnose.why import Asked
    from edgeagent.sync.command_types import Drill, Identify, Nothing, Why
    from edgeagent.sync.job import Job
    from edgeagent.update.library import Library

_ECHO_S = 4.0
"""So long an echo may take."""


def doctor(agent: Agent, _arguments: Nothing, job: Job) -> dict[str, Any]:
    """Every check, as the agent's user."""
    from edgeagent.diagnose import doctor as checks

    job.progress(0.0, "checking")
    return checks.run(context_of(agent)).to_dict()


def context_of(agent: Agent) -> Context:
    """What checks of the running agent look at."""
    from edgeagent.config.load import REMOTE_FILE
    from edgeagent.diagnose.context import Context

    return Context(
        data_dir=agent.folder,
        loaded=agent.loaded,
        fault=agent.loaded.stale,
        find_model=_library(agent).find,
        ask_agent=agent.status,
        test_link=lambda: test_link(agent),
        written=lambda: agent.reload(agent.folder / REMOTE_FILE).hash,
    )


def _library(agent: Agent) -> Library:
    from edgeagent.update.library import Library, default_folders

    return Library(default_folders(agent.folder, agent.loaded.config.models.path))


def bundle(agent: Agent, _arguments: Nothing, job: Job) -> dict[str, Any]:
    """Collect a bundle and send it as evidence of a record, like a picture."""
    from hashlib import sha256

    from edgeagent.diagnose.bundle import TYPE, collect
    from edgeagent.sync.command_types import Why
    from edgeagent.types import Draft, Evidence

    job.progress(0.0, "collecting")
    commands = agent.commands
    name, data = collect(
        context_of(agent), device=agent.device, why=lambda its: why(agent, Why(its)),
        log=lambda: commands.last_lines if commands else [],
        models=lambda: _library(agent).list(),
    )  # fmt: skip
    draft = Draft("health", at_ns=clock.wall_ns(), mono_ms=clock.mono_ms())
    draft.data = {"support_bundle": f"{name}.tar.gz"}
    draft.evidence = (Evidence(TYPE, data),)
    agent.outbox.append(draft)
    return {"name": f"{name}.tar.gz", "bytes": len(data), "sha256": sha256(data).hexdigest()}


def drill(agent: Agent, arguments: Drill, job: Job) -> dict[str, Any]:
    """Faults for some seconds each, and the verdicts."""
    from edgeagent.agent.drill import run

    return run(agent, arguments.what, arguments.seconds, job)


def identify(_agent: Agent, arguments: Identify, job: Job) -> dict[str, Any]:
    """Blink. Raises Unavailable, NotPermitted."""
    from edgeagent.device.lights import blink, light

    waiting = threading.Event()

    def wait(seconds: float) -> None:
        job.progress()
        waiting.wait(seconds)

    its = light()
    return {"light": its.name, "blinked": blink(its, arguments.seconds, wait)}


def test_link(agent: Agent) -> dict[str, Any]:
    """What came of proving the topics once more, on the connection that is there."""
    if agent.sync is None:
        return {"state": "off", "proven": False, "took_ms": 0.0, "complaints": []}
    return agent.sync.test(_ECHO_S)


def why(agent: Agent, arguments: Why, _job: Job | None = None) -> dict[str, Any]:
    """From all that was decided, the last samples included. Raises NotFound, UsageError."""
    from edgeagent.diagnose.why import Asked

    asked = Asked(arguments.target, arguments.since, arguments.label)
    pending = agent.outbox.stats().pending
    return _answered(
        asked, agent.decisions.blocks(), agent.loaded, agent.folder, pending, running=True
    )


def why_from_files(
    asked: Asked, loaded: Loaded, folder: Path, *, running: bool | None
) -> dict[str, Any]:
    """The same from what an agent has left. ``running`` = whether it runs, None = not known.

    Raises:
        NotFound: there is no such pipeline or event.
        NotPermitted: this user may not read the blocks.
        UsageError: ``since`` can't be understood.
    """
    from edgeagent.store.decisions import read

    return _answered(asked, read(folder), loaded, folder, 0, running=running)


def labels_of(loaded: Loaded, folder: Path, pipeline: str) -> Sequence[str]:
    """Labels that the model of a pipeline can say; empty = that is not known."""
    from edgeagent.agent.ports import config_ports

    its = loaded.config.pipelines.get(pipeline)
    asks = config_ports(folder).labels_of
    if its is None or asks is None:
        return ()
    return asks(its.model, its.version, loaded.config.models.path) or ()


def _answered(
    asked: Asked,
    blocks: Iterable[bytes],
    loaded: Loaded,
    folder: Path,
    pending: int,
    *,
    running: bool | None,
) -> dict[str, Any]:
    from edgeagent.diagnose.why import why as explain
    from edgeagent.diagnose.why.times import Now
    from edgeagent.store.export import one

    def record(id_: str) -> dict[str, Any] | None:
        try:
            return one(folder, int(id_.removeprefix("e-")))
        except (NotFound, StoreError):
            return None  # it can't be read; the blocks may still tell

    now = Now.read(loaded.config.device.timezone)
    try:
        answer = explain(
            asked, blocks, loaded.config, now, record=record, pending=pending, running=running,
            labels=labels_of(loaded, folder, asked.target),
        )  # fmt: skip
    except NotFound as error:
        if not loaded.stale:
            raise
        raise NotFound(
            f"{error}; in force is the last good configuration: {loaded.stale}",
            remedy="edgeagent config check",
        ) from error
    return answer.to_dict()
