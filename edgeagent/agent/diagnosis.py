"""What the agent says about itself when a person asks: commands that only look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeagent.errors import NotFound, StoreError

_ECHO_S = 4.0
"""So long an echo may take."""

if TYPE_CHECKING:
    from pathlib import Path

    from edgeagent.agent.running import Agent
    from edgeagent.config.load import Loaded
    from edgeagent.sync.command_types import Why
    from edgeagent.sync.job import Job


def doctor(agent: Agent, job: Job) -> dict[str, Any]:
    """Every check, as the agent's user."""
    from edgeagent.config.load import REMOTE_FILE
    from edgeagent.diagnose import doctor as checks
    from edgeagent.diagnose.context import Context
    from edgeagent.update.library import Library, default_folders

    job.progress(0.0, "checking")
    library = Library(default_folders(agent.folder, agent.loaded.config.models.path))
    context = Context(
        data_dir=agent.folder,
        loaded=agent.loaded,
        fault=agent.loaded.stale,
        find_model=library.find,
        ask_agent=agent.status,
        test_link=lambda: test_link(agent),
        written=lambda: agent.reload(agent.folder / REMOTE_FILE).hash,
    )
    return checks.run(context).to_dict()


def test_link(agent: Agent) -> dict[str, Any]:
    """What came of proving the topics once more, on the connection that is there."""
    if agent.sync is None:
        return {"state": "off", "proven": False, "took_ms": 0.0, "complaints": []}
    return agent.sync.test(_ECHO_S)


def why(agent: Agent, arguments: Why) -> dict[str, Any]:
    """From all that was decided, the last samples included. Raises NotFound, UsageError."""
    from edgeagent.diagnose.why import Asked

    asked = Asked(arguments.target, arguments.since, arguments.label)
    pending = agent.outbox.stats().pending
    return _answered(
        asked, agent.decisions.blocks(), agent.loaded, agent.folder, pending, running=True
    )


def why_from_files(
    asked: Any, loaded: Loaded, folder: Path, *, running: bool | None
) -> dict[str, Any]:
    """The same from what an agent has left. ``running`` = whether it runs, None = not known.

    Raises:
        NotFound: there is no such pipeline or event.
        NotPermitted: this user may not read the blocks.
        UsageError: ``since`` can't be understood.
    """
    from edgeagent.store.decisions import read

    return _answered(asked, read(folder), loaded, folder, 0, running=running)


def _answered(
    asked: Any, blocks: Any, loaded: Loaded, folder: Path, pending: int, *, running: bool | None
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
            asked, blocks, loaded.config, now, record=record, pending=pending, running=running
        )
    except NotFound as error:
        if not loaded.stale:
            raise
        raise NotFound(
            f"{error}; in force is the last good configuration: {loaded.stale}",
            remedy="edgeagent config check",
        ) from error
    return answer.to_dict()
