"""What the agent says when asked: its status, and commands by the control socket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgeagent import CONTRACT, __version__
from edgeagent.agent.beside import figures
from edgeagent.agent.crashed import summary
from edgeagent.errors import Busy

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.store.outbox import OutboxStats

SAFE_MODE = (
    "safe mode: the agent did not stay up for a minute in ten starts, so pipelines rest. Look at "
    "its log, put right what is wrong, then restart it: systemctl restart edgeagent"
)
STARTING_S = 10.0
"""A source that opens is nothing to worry about so soon after the start."""


def verdict(agent: Agent) -> tuple[str, list[str]]:
    """``online`` or ``degraded``, and every reason in plain words."""
    reasons = [f"configuration: {agent.loaded.stale}"] if agent.loaded.stale else []
    starting = time.monotonic() - agent.began < STARTING_S
    for health in agent.supervisor.health():
        if starting and health.reason == "opening":
            continue
        if health.state in ("down", "degraded"):
            reasons.append(f"{health.name}: {health.reason or health.state}")
    stats = agent.outbox.stats()
    if stats.fault:
        reasons.append(f"outbox: {stats.fault}")
    reasons += storage_reasons(agent, stats)
    reasons += agent.drifting.reasons()
    if agent.unserved:
        reasons.append(f"serve: {agent.unserved}")
    if agent.sync is not None:
        reasons += agent.sync.reasons()
    if agent.safe_mode:
        return "safe-mode", [SAFE_MODE, *reasons]
    return ("degraded" if reasons else "online"), reasons


def unused(agent: Agent) -> list[str]:
    """What a finite run could not use of all that it was given, by unit."""
    return [
        f"{health.name}: {health.reason or health.detail.get('last_error', 'skipped some')}"
        for health in agent.supervisor.health()
        if health.state == "down" or health.detail.get("skipped") or health.detail.get("corrupt")
    ]


def storage_reasons(agent: Agent, stats: OutboxStats) -> Iterator[str]:
    """What the caps on bytes kept and bytes written cost now."""
    storage = agent.loaded.config.storage
    if stats.coarse_s:
        yield (
            f"outbox: more than {storage.max_written_per_day} a day was written:"
            f" one result in {stats.coarse_s} s is kept of each pipeline"
        )
    if stats.overdrawn_bytes:
        mib = stats.overdrawn_bytes / 2**20
        yield f"storage: {mib:.1f} MiB above storage.max: remove models, or raise it"


def status(agent: Agent) -> dict[str, Any]:
    """One screen's worth of truth; what `edgeagent status` shows."""
    from edgeagent.device.health import pss_bytes  # not needed to start

    state, reasons = verdict(agent)
    wishes = agent.wishes
    config = agent.loaded.config
    return {
        "state": state,
        "reasons": reasons,
        "device": agent.device,
        "name": config.device.name,
        "site": config.device.site,
        "version": __version__,
        "contract": CONTRACT,
        "config": agent.loaded.hash,
        "warnings": list(agent.loaded.warnings),
        "profile": agent.profile_name,
        "boot": agent.boot,
        "clock": "synced" if agent.clock_trusted else "unsynced",
        "uptime_s": round(time.monotonic() - agent.began, 1),
        "link": agent.sync.status() if agent.sync else {"state": "off", "detail": "no mqtt.host"},
        **({"serve": {"at": agent.server.listen.where}} if agent.server is not None else {}),
        "outbox": account(agent),
        "storage": storage(agent),
        "pipelines": {name: unit_status(unit) for name, unit in agent.pipelines.items()},
        "drift": agent.drifting.status(),
        **({"pool": pooled} if (pooled := agent.drifting.pooled) else {}),
        "sources": {name: unit_status(unit) for name, unit in agent.sources.items()},
        **({"desired": wishes.status()} if wishes is not None else {}),
        **figures(agent),
        "crashes": summary(agent),
        "memory": {"pss_mb": round((pss_bytes() or 0) / 2**20, 1)},
    }


def unit_status(unit: Any) -> dict[str, Any]:
    """State, reason and figures of one unit."""
    health = unit.health()
    return {"state": health.state, "reason": health.reason, **health.detail}


def account(agent: Agent) -> dict[str, Any]:
    """The outbox's account."""
    stats = agent.outbox.stats()
    return {
        "epoch": stats.epoch,
        "produced": stats.produced,
        "delivered": stats.delivered,
        "pending": stats.pending,
        "dropped": stats.dropped,
        "queued": stats.queued,
        "bytes": stats.bytes,
        "blob_bytes": stats.blob_bytes,
        "dead_letters": stats.dead_letters,
        "oldest_pending_age_s": round(stats.oldest_pending_age_s, 1),
        "written_bytes": stats.written_bytes,
    }


def storage(agent: Agent) -> dict[str, Any]:
    """What the agent keeps and has written, beside what it may."""
    stats, allotment = agent.outbox.stats(), agent.outbox.allotment
    others = allotment.others() if allotment else 0
    return {
        "max_bytes": allotment.cap if allotment else 0,
        "used_bytes": stats.bytes + stats.blob_bytes + others,
        "others_bytes": others,
        "written_today_bytes": stats.written_today_bytes,
        "max_written_per_day_bytes": agent.outbox.settings.written_per_day or 0,
    }


def answer(agent: Agent, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines that answer one request of the control socket.

    ``status``, ``look``, ``looked`` and ``link-test`` change nothing; everything else is a command
    and goes through the journal, exactly as one that came by MQTT.
    """
    if request["type"] == "status":
        yield {"final": True, **status(agent)}
        return
    if request["type"] == "look":
        from edgeagent.agent.privacy import caller, looked
        from edgeagent.agent.trial import look

        asked = request.get("arguments") or {}
        if asked.get("picture"):
            looked(agent, "devices try", caller(request), {"source": asked.get("source", "")})
        yield from look(agent, request)
        return
    if request["type"] == "looked":
        from edgeagent.agent.privacy import noted

        yield {"final": True, **noted(agent, request)}
        return
    if request["type"] == "link-test":
        from edgeagent.agent.diagnosis import test_link

        yield {"final": True, **test_link(agent)}
        return
    if agent.commands is None:
        raise Busy("the agent is still starting")
    yield from agent.commands.submit(request)
