"""Commands that measure a model on this device: `bench` and `tune` (contract §3).

Pipelines run on beside them: what is told are times of a device at work.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.agent.deploying import runtime_of
from edgeagent.prove.bench.measure import bench as measure
from edgeagent.prove.bench.plan import Candidate, Plan
from edgeagent.prove.tune.choice import Choices, chosen
from edgeagent.prove.tune.search import Bars, within_budget
from edgeagent.prove.tune.search import tune as search
from edgeagent.prove.tune.space import space_here
from edgeagent.update.library import Library, default_folders

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.manifest import Package
    from edgeagent.sync import command_types as types
    from edgeagent.sync.job import Job


def bench(agent: Agent, arguments: types.Bench, job: Job) -> dict[str, Any]:
    """Single-stream figures of a model as this agent runs it."""
    package = _package(agent, arguments.model)
    config = agent.loaded.config
    runtime = runtime_of(config, package.folder)
    if config.models.tuned:
        runtime = chosen(agent.folder, package, runtime).runtime
    title = f"{package.name}@{package.version}"
    plan = Plan(seconds=arguments.seconds, most_s=max(2 * arguments.seconds, 10.0))
    with _alone(agent):
        result = measure([Candidate(package.folder, runtime, title=title)], plan, _step(job))
    told: dict[str, Any] = msgspec.to_builtins(result)
    for figures in told["candidates"][0]["figures"]:
        del figures["latencies"]
    return {**told, "sound": result.sound}


def tune(agent: Agent, arguments: types.Tune, job: Job) -> dict[str, Any]:
    """Find the fastest configuration, and keep it; pipelines take it up within half a minute."""
    package = _package(agent, arguments.model)
    bars = within_budget(Bars(seconds=arguments.seconds), package)
    with _alone(agent):
        choice = search(package, space_here(package), bars, _step(job))
    Choices(agent.folder).keep(package, choice)
    told: dict[str, Any] = msgspec.to_builtins(choice)
    return told


def _alone(agent: Agent) -> AbstractContextManager[None]:
    """What the agent searches by itself gives way meanwhile."""
    return agent.retuning.held("a person measures") if agent.retuning else nullcontext()


def _step(job: Job) -> Callable[[str], None]:
    """Progress; a command that was cancelled ends there."""
    return lambda doing: job.progress(None, doing)


def _package(agent: Agent, name: str) -> Package:
    folders = default_folders(agent.folder, agent.loaded.config.models.path)
    return Library(folders).find(name)
