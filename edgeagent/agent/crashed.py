"""Crashes of this agent and its children: what is kept of them, and who is told."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgeagent import clock, crashes
from edgeagent.errors import EdgeAgentError, StoreError

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent

log = logging.getLogger("edgeagent.crashes")

_LINES = 40
_SEEN = 12
_STACK = 4000
_COMMIT_S = 5.0


def watched(agent: Agent) -> crashes.Keeper | None:
    """From now on crashes of this process are kept; those of the last are taken up. None where the
    folder can't be written."""
    keeper = crashes.Keeper(
        agent.folder, agent.loaded.hash, lambda text: _clean(agent, text),
        lambda: list(_last(agent)),
    )  # fmt: skip
    try:
        keeper.gather()
        keeper.arm()
    except EdgeAgentError as error:
        log.error("crashes can't be kept: %s", error)
        return None
    crashes.keep(keeper)
    agent.keeper = keeper
    threading.excepthook = _of_thread
    sys.excepthook = _of_main
    return keeper


def _of_thread(its: threading.ExceptHookArgs) -> None:
    name = its.thread.name if its.thread is not None else "a thread"
    if its.exc_value is not None:
        log.error("%s has ended", name, exc_info=its.exc_value)
        crashes.exception(name, its.exc_value)


def _of_main(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if not isinstance(error, KeyboardInterrupt):
        crashes.exception("main", error)
    sys.__excepthook__(kind, error, trace)


def look_at_crashes(agent: Agent, silent: Sequence[str]) -> None:
    """Now and then, on the main thread: what may end this process is put down beforehand (the
    watchdog does, for units that are silent), and what has crashed is told."""
    keeper = agent.keeper
    if keeper is None:
        return
    keeper.remark(f"these did not react: {', '.join(silent)}" if silent else "")
    if keeper.news.is_set() and agent.commands is not None:
        keeper.news.clear()
        agent.commands.submit_job(lambda: _tell(agent, keeper))


def _tell(agent: Agent, keeper: crashes.Keeper) -> None:
    """Each crash that nobody was told of: in the log, and as a record."""

    def told(its: crashes.Report) -> None:
        log.error("%s; edgeagent crashes", crashes.sentence(its))
        draft = _record(its)
        if agent.outbox.append(draft).wait(_COMMIT_S) is None:
            raise StoreError("the record of a crash can't be written")

    try:
        keeper.tell(told)
    except EdgeAgentError as error:
        # The next start has them still.
        log.warning("that something crashed can't be told now: %s", error)


def _record(its: crashes.Report) -> Any:
    from edgeagent.types import Draft

    draft = Draft("health", at_ns=clock.wall_ns(), mono_ms=clock.mono_ms())
    shown = ("at", "what", "who", "reason", "version", "config", "times")
    about = {name: its[name] for name in shown if name in its}
    draft.data = {"code": "crashed", "crash": {**about, "stack": its.get("stack", "")[-_STACK:]}}
    return draft


def summary(agent: Agent) -> dict[str, Any]:
    """For the status: how many reports are kept, and the last of them."""
    try:
        kept = crashes.read(agent.folder)
    except OSError as error:  # the rest of the status is needed all the more
        return {"kept": 0, "fault": str(error)}
    if not kept:
        return {"kept": 0}
    last = kept[-1]
    return {"kept": len(kept), "last": {name: last.get(name, "") for name in
                                        ("id", "at", "who", "what", "reason")}}  # fmt: skip


def _clean(agent: Agent, text: str) -> str:
    from edgeagent.diagnose.checks.guarded import secret_files
    from edgeagent.diagnose.scrub import Scrub, secrets_of

    config = agent.loaded.config
    return Scrub(secrets_of(config, [file for _, file in secret_files(config)]))(text)


def _last(agent: Agent) -> Iterator[str]:
    """The last decisions that are on the medium, and the last lines of the log."""
    yield from list(_decisions(agent))[-_SEEN:]
    commands = agent.commands
    if commands is not None:
        yield from commands.last_lines[-_LINES:]


def _decisions(agent: Agent) -> Iterator[str]:
    import msgspec

    from edgeagent.decide.block import Block
    from edgeagent.store.decisions import read

    newest: dict[str, Block] = {}
    for data in read(agent.folder):
        block = msgspec.msgpack.decode(data, type=Block)
        if block.steps:
            newest[block.pipeline] = block
    for name, block in newest.items():
        for step in block.steps[-_SEEN:]:
            seen = ", ".join(f"{its.label} {its.score:.2f} {its.verdict}" for its in step.seen)
            yield f"{name}: frame {step.frame}: {seen or step.held or 'nothing'}"
