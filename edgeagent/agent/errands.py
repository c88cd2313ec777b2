"""Commands that look at a source and begin anew, and where large results go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.errors import StoreError
from edgeagent.types import Draft, Evidence

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.sync.command_types import Capture, Nothing
    from edgeagent.sync.job import Job
    from edgeagent.sync.judgement import Order

_COMMIT_S = 10.0


def capture(agent: Agent, arguments: Capture, job: Job) -> dict[str, Any]:
    """Figures of a source and a picture, redacted as its pipelines want it. Raises NotFound."""
    from edgeagent.agent.trial import look

    asked = {"source": arguments.source, "seconds": arguments.seconds, "picture": True}
    report: dict[str, Any] = {}
    for line in look(agent, {"arguments": asked}):
        job.progress(None, "looking")
        report = line
    return {name: value for name, value in report.items() if name != "final"}


def restart(agent: Agent, _arguments: Nothing, _job: Job) -> dict[str, Any]:
    """It ends after this is answered, in a second or so, and is another process then."""
    agent.renew()
    return {"boot": agent.boot, "restarts": True}


def put_away(
    agent: Agent, order: Order, data: bytes, type: str = "application/json"
) -> dict[str, Any]:
    """Keep a large result as evidence of a record of its own; it goes out as all evidence does.

    Raises StoreError.
    """
    import hashlib  # seldom needed

    kept = Evidence(type, data)
    ticket = agent.outbox.append(
        Draft(
            "result", at_ns=clock.wall_ns(), mono_ms=clock.mono_ms(),
            data={"command": order.id, "type": order.type}, evidence=(kept,),
        )
    )  # fmt: skip
    seq = ticket.wait(_COMMIT_S)
    if seq is None:
        raise StoreError(f"the result of {len(data)} bytes could not be kept: {ticket.lost}")
    blob = {
        "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "type": kept.type,
    }  # fmt: skip
    return {"blob": blob, "seq": seq, "epoch": agent.outbox.epoch}
