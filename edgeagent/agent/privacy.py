"""What the agent keeps of people: told, made to go, and noted when somebody looks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from edgeagent.errors import EdgeAgentError
from edgeagent.store import looks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeagent.agent.running import Agent
    from edgeagent.config.load import Loaded
    from edgeagent.privacy.purge import Hands, Purged
    from edgeagent.sync.command_types import Nothing, Purge
    from edgeagent.sync.job import Job

log = logging.getLogger("edgeagent.privacy")

LOOKED_AT = ("capture", "support-bundle", "privacy-report", "purge", "explain", "infer", "pool")
"""Commands that show somebody what is kept, or take it away."""


def report(agent: Agent, _arguments: Nothing, job: Job) -> dict[str, Any]:
    """Everything that is kept, as it is now."""
    from edgeagent.privacy.report import Live
    from edgeagent.privacy.report import report as look

    job.progress(0.0, "looking")
    lines = len(agent.commands.last_lines) if agent.commands is not None else 0
    live = Live(agent.status(), lines, agent.retention.told())
    return look(agent.folder, agent.loaded, agent.device, live)


def report_from_files(folder: Path, loaded: Loaded, device: str) -> dict[str, Any]:
    """The same where no agent runs. Raises nothing: what can't be read is said."""
    from edgeagent.privacy.report import report as look

    return look(folder, loaded, device)


def purge(agent: Agent, arguments: Purge, job: Job) -> dict[str, Any]:
    """Take out what is older than they say. Raises UsageError, StoreError."""
    from edgeagent.privacy import purge as purging
    from edgeagent.store.age import Now

    job.progress(0.0, "purging")
    limit = purging.limit_of(arguments.before, Now.read(boot=agent.boot))
    done = purging.purge(
        hands(agent), purging.known(arguments.stores), limit,
        undelivered=arguments.undelivered, dry=arguments.dry_run,
    )  # fmt: skip
    if not arguments.dry_run:
        log.warning("purged before %s by %s: %s", arguments.before, job.by, _short(done))
    return done.to_dict()


def purge_files(folder: Path, loaded: Loaded, device: str, arguments: Purge) -> dict[str, Any]:
    """The same where no agent runs. Raises Busy (one does), UsageError, StoreError."""
    from edgeagent import clock
    from edgeagent.agent.decisions import Decisions
    from edgeagent.agent.outbox import outbox_settings
    from edgeagent.device.identity import machine_hash
    from edgeagent.privacy import purge as purging
    from edgeagent.privacy.stores import STORES
    from edgeagent.store.age import Now
    from edgeagent.store.entry import give_back
    from edgeagent.store.outbox import Outbox

    limit = purging.limit_of(arguments.before, Now.read())
    stores = purging.known(arguments.stores)
    outbox = Outbox.open(
        folder, device=device, machine=machine_hash(), boot=clock.boot_id(),
        settings=outbox_settings(loaded),
    )  # fmt: skip
    try:
        its = purging.Hands(folder, outbox, Decisions(folder, 0, lambda work: work()))
        return purging.purge(
            its, stores, limit, undelivered=arguments.undelivered, dry=arguments.dry_run
        ).to_dict()
    finally:
        outbox.close()
        made = [place for its in STORES if its.rule for place in its.places]
        give_back(folder, "reserve", "lock", "epoch.json", *made)


def hands(agent: Agent) -> Hands:
    """Through what is written while the agent runs."""
    from edgeagent.privacy.purge import Hands

    return Hands(agent.folder, agent.outbox, agent.decisions)


def looked(agent: Agent, what: str, by: str, detail: Mapping[str, Any] | None = None) -> None:
    """Note that somebody looks. A full disk keeps nobody from looking: that is when they must."""
    try:
        line = looks.note(agent.folder, what, by, detail)
    except EdgeAgentError as error:
        log.error("that %s looks (%s) can't be noted: %s", by, what, error)
        return
    if agent.loaded.config.privacy.tell_looks:
        from edgeagent import clock
        from edgeagent.types import Draft

        told = {name: its for name, its in line.items() if name not in ("boot", "mono_ms", "clock")}
        draft = Draft("health", at_ns=clock.wall_ns(), mono_ms=clock.mono_ms())
        draft.data = {"looked": told}
        agent.outbox.append(draft)


def noted(agent: Agent, request: dict[str, Any]) -> dict[str, Any]:
    """A program on this device tells what it is about to show somebody (`looked` on the socket)."""
    detail = request.get("detail")
    shown = detail if isinstance(detail, dict) else {}
    looked(agent, str(request.get("what", ""))[:64], caller(request), shown)
    return {"noted": True}


def caller(request: dict[str, Any]) -> str:
    """Who has opened the control socket."""
    return f"local:{request.get('peer') or '?'}"


def _short(done: Purged) -> str:
    its = done.outbox
    others = ", ".join(f"{count} {name}" for name, count in done.others.items() if count)
    return (
        f"{its.records} records ({its.undelivered} of them undelivered), {its.evidence} pieces of "
        f"evidence, {its.dead_letters} refused, {done.answers} answers"
        + f", {others}"
        * bool(others)
    )
