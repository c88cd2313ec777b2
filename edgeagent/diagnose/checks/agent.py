"""Is an agent running here, and what does it say of itself?"""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding
from edgeagent.errors import EdgeAgentError, NotPermitted, Unavailable


def running(context: Context) -> Iterator[Finding]:
    """Asked over its control socket."""
    if context.ask_agent is None:
        return
    how = "the control socket"
    try:
        status = context.ask_agent()
    except Unavailable as error:
        yield Finding("agent", "note", str(error), how,
                      error.remedy or "sudo systemctl start edgeagent")  # fmt: skip
        return
    except NotPermitted as error:
        yield Finding("agent", "problem", str(error), how, error.remedy)
        return
    except EdgeAgentError as error:
        yield Finding("agent", "failed", f"the agent answers with an error: {error}", how,
                      error.remedy or "journalctl -u edgeagent -n 50")  # fmt: skip
        return
    state = str(status.get("state", "unknown"))
    version = status.get("version", "")
    if state == "online":
        yield Finding("agent", "ok", f"the agent {version} runs and is well", how)
        return
    reasons = [str(its) for its in status.get("reasons") or ["it gives no reason"]]
    for reason in reasons:
        yield Finding("agent", "problem", f"the agent is {state}: {reason}", how,
                      "edgeagent status; journalctl -u edgeagent -n 50")  # fmt: skip
