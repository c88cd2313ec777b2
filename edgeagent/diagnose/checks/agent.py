"""Is an agent running here, and what does it say of itself?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeagent import __version__
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding
from edgeagent.errors import ConfigError, EdgeAgentError, NotPermitted, Unavailable

_LOOK = "edgeagent status; journalctl -u edgeagent -n 50"
_AT_LENS = {
    "dark": "Is there light, and is the cap off? See: edgeagent devices try {name} --save now.jpg",
    "bright": "Turn it away from the light. See: edgeagent devices try {name} --save now.jpg",
    "blurred": "Clean its glass, set its focus. See: edgeagent devices try {name} --save now.jpg",
    "frozen": "Take its power away for ten seconds; a server that repeats pictures: restart it",
    "covered": "Take away what hangs before it. See: edgeagent devices try {name} --save now.jpg",
    "moved": "Turn it back; if it is meant to look there: edgeagent devices learn {name}",
    "garbage": "Look at its cable and network. See: edgeagent devices try {name} --save now.jpg",
}
"""By fault of the picture (`sources.X.sight.faults`)."""

_BLIND = 0.8
"""A distance that must be larger than this is hardly ever reached."""


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
    at_lens = _remedies_at_lens(status)
    for reason in reasons:
        if ": drift: " in reason:
            continue  # `drift` tells more of it
        remedy = at_lens.get(reason.partition(": ")[0], _LOOK)
        yield Finding("agent", "problem", f"the agent is {state}: {reason}", how, remedy)


def _remedies_at_lens(status: dict[str, Any]) -> dict[str, str]:
    """What to do about cameras whose picture itself is at fault, by their names."""
    found = {}
    for name, source in status.get("sources", {}).items():
        fault = source.get("sight", {}).get("fault", "")
        if fault in _AT_LENS:
            found[name] = _AT_LENS[fault].format(name=name)
    return found


def version(context: Context) -> Iterator[Finding]:
    """After an update the old program runs on until it is restarted."""
    try:
        status = context.ask_agent() if context.ask_agent else {}
    except EdgeAgentError:
        status = {}  # `running` tells
    runs = str(status.get("version", ""))
    if runs and runs != __version__:
        yield Finding(
            "version", "problem", f"the agent that runs is {runs}, installed is {__version__}",
            "the control socket", "sudo systemctl restart edgeagent",
        )  # fmt: skip
        return
    yield Finding("version", "ok", f"this is edgeagent {__version__}")


def in_force(context: Context) -> Iterator[Finding]:
    """Whether it runs with the configuration that stands in the files."""
    try:
        status = context.ask_agent() if context.ask_agent else {}
        written = context.written() if context.written else ""
    except ConfigError as error:
        yield Finding("in force", "problem", "the configuration in the files is wrong; what was "
                      "read at the start stays in force until the next one", str(error),
                      "edgeagent config check")  # fmt: skip
        return
    except EdgeAgentError:
        status, written = {}, ""
    runs = str(status.get("config", ""))
    if runs and written and runs != written:
        yield Finding(
            "in force", "problem", "the configuration was changed since the agent started",
            f"{runs} runs, {written} is on disk", "sudo systemctl restart edgeagent",
        )  # fmt: skip
        return
    yield Finding("in force", "ok", "what runs is what stands in the files")


def drift(context: Context) -> Iterator[Finding]:
    """Whether pipelines see and say what is usual for them."""
    try:
        status = context.ask_agent() if context.ask_agent else {}
    except EdgeAgentError:
        status = {}  # `running` tells
    known = status.get("drift") or {}
    if not known:
        yield Finding("drift", "ok", "no pipeline is looked at")
    for name, its in known.items():
        how = f"{its.get('looks', 0):,} looks"
        if its["state"] == "drift":
            yield Finding(
                "drift", "problem", f"{name}: {its['reason']}, since {its['since']}",
                ", ".join(f"{one['feature']} {one['distance']} > {one['limit']}"
                          for one in its["changed"]),
                f"edgeagent drift show {name}; if it is right so: edgeagent drift learn {name}",
            )  # fmt: skip
        elif its.get("fault"):
            yield Finding("drift", "problem", f"{name}: {its['fault']}", how,
                          f"edgeagent drift learn {name}; see also: edgeagent doctor")  # fmt: skip
        elif its["state"] == "learning":
            yield Finding("drift", "ok", f"{name}: what is usual is learned, {its['learned']:.0%}",
                          how)  # fmt: skip
        elif blind := [its_ for its_, limit in its.get("limit", {}).items() if limit >= _BLIND]:
            yield Finding(
                "drift", "note", f"{name}: {', '.join(blind)} changed so much while it learned "
                "that drift of it will hardly be seen", how,
                f'Let it learn longer: pipelines.{name}.drift.learn = "28 d", then edgeagent drift '
                f"learn {name}",
            )  # fmt: skip
        else:
            yield Finding("drift", "ok", f"{name}: it sees what is usual", how)
