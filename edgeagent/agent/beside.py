"""What runs beside pipelines that look at what happens now, once they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeagent.agent.build import Built, Surroundings
    from edgeagent.agent.running import Agent


def begin(agent: Agent, around: Surroundings, built: Built) -> None:
    """Start the governor, and what tunes again, as configured."""
    config = around.config
    if config.governor.enabled:
        from edgeagent.agent.governing import Governing

        agent.governing = Governing(around, built)
        agent.supervisor.start(agent.governing)
    if config.models.tuned:
        from edgeagent.agent.retuning import Retuning

        agent.retuning = Retuning(agent, around, built)
        agent.supervisor.start(agent.retuning)


def figures(agent: Agent) -> dict[str, object]:
    """Of both, and of delegates that are put aside, for `status` and metrics."""
    governing, retuning, delegated = agent.governing, agent.retuning, agent.delegated
    told: dict[str, object] = {}
    aside = delegated.told() if delegated is not None else []
    if aside:
        told["aside"] = aside
    if governing is not None:
        told["governor"] = governing.governor.status()
    if retuning is not None and retuning.status():
        told["tuning"] = retuning.status()
    return told
