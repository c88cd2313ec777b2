"""The service, as systemd sees it; nothing of it where there is no systemd."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding

UNIT = "edgeagent.service"
_ASK_S = 3.0
_WANTED = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "ExecMainCode",
    "ExecMainStatus", "NRestarts", "NeedDaemonReload",
)  # fmt: skip
_MEANINGS = {
    69: "what it needs is not there", 70: "a fault of the agent itself",
    75: "another agent holds the data folder", 77: "it may not do what it must",
    78: "the configuration is wrong and no good one is kept",
    203: "its program can't be run", 216: "a group of the unit does not exist here",
    217: "its user does not exist here", 226: "its sandbox can't be set up",
}  # fmt: skip
_RESULTS = {
    "watchdog": "its pipelines gave no sign of life, so systemd ended it",
    "oom-kill": "the kernel ended it for want of memory",
    "timeout": "it did not start or stop in time",
    "core-dump": "it crashed in native code (a driver or a runtime)",
    "start-limit-hit": "it was started too often in a short time, and is not tried again",
}
_REMEDIES = {
    "watchdog": "edgeagent why PIPELINE --since 1h; journalctl -u edgeagent -n 50",
    "oom-kill": "Use a smaller model, or raise MemoryMax: sudo systemctl edit edgeagent",
    "start-limit-hit": "Put right what the log says, then: sudo systemctl reset-failed edgeagent "
                       "&& sudo systemctl start edgeagent",
}  # fmt: skip
_MANY_RESTARTS = 3
_LOG = "journalctl -u edgeagent -n 50"


def unit(context: Context) -> Iterator[Finding]:
    """Installed, and started at each boot."""
    shown = _shown(context)
    if shown is None:
        yield Finding("unit", "ok", "there is no systemd here", "/run/systemd/system")
        return
    how = f"systemctl show {UNIT}"
    if shown.get("LoadState") == "masked":
        yield Finding(
            "unit", "failed", "the service is masked, so nothing can start it", how,
            "sudo systemctl unmask edgeagent && sudo systemctl enable --now edgeagent",
        )  # fmt: skip
        return
    if shown.get("LoadState") != "loaded":
        yield Finding(
            "unit", "note", "the service is not installed: the agent runs by hand only", how,
            "Install the package, then: sudo systemctl enable --now edgeagent",
        )  # fmt: skip
        return
    if shown.get("UnitFileState") == "disabled":
        yield Finding("unit", "problem", "the service does not start at boot", how,
                      "sudo systemctl enable edgeagent",
                      (("systemctl", "enable", "edgeagent"),))  # fmt: skip
    elif shown.get("NeedDaemonReload") == "yes":
        yield Finding("unit", "problem", "the unit's file has changed since systemd read it", how,
                      "sudo systemctl daemon-reload && sudo systemctl restart edgeagent",
                      (("systemctl", "daemon-reload"),))  # fmt: skip
    else:
        yield Finding("unit", "ok", f"the service is {shown.get('UnitFileState', 'loaded')}", how)


def last_exit(context: Context) -> Iterator[Finding]:
    """How it ended last, in words, and whether it keeps being started anew."""
    shown = _shown(context)
    if shown is None or shown.get("LoadState") != "loaded":
        yield Finding("last exit", "ok", "no service has ended")
        return
    how = f"systemctl show {UNIT}"
    state, result = shown.get("ActiveState", ""), shown.get("Result", "success")
    restarts = int(shown.get("NRestarts") or 0)
    status = int(shown.get("ExecMainStatus") or 0)
    meaning = _RESULTS.get(result) or _MEANINGS.get(status, "")
    what = f"exit code {status}" if shown.get("ExecMainCode") == "1" else f"signal {status}"
    said = f"{what}: {meaning}" if meaning else what
    if state == "failed" or result not in ("", "success"):
        yield Finding("last exit", "failed", f"the service has failed ({result}): {said}", how,
                      _REMEDIES.get(result, _LOG))  # fmt: skip
    elif state == "inactive":
        yield Finding("last exit", "problem", "the service is stopped", how,
                      "sudo systemctl start edgeagent")  # fmt: skip
    elif restarts >= _MANY_RESTARTS:
        yield Finding("last exit", "problem", f"systemd had to start it anew {restarts} times",
                      how, _LOG)  # fmt: skip
    else:
        yield Finding("last exit", "ok", f"the service is {state or 'unknown'}", how)


def journal(context: Context) -> Iterator[Finding]:
    """Whether the log of an earlier boot can be read after a crash."""
    root = context.root
    if not (root / "run/systemd/system").is_dir():
        yield Finding("journal", "ok", "there is no journal of systemd here")
        return
    how = str(root / "var/log/journal")
    if (root / "var/log/journal").is_dir():
        yield Finding("journal", "ok", "the log outlives a restart of the device", how)
        return
    yield Finding(
        "journal", "problem", "the log is in memory: after a crash of the device nothing is left",
        how, "sudo mkdir -p /var/log/journal && sudo systemctl restart systemd-journald",
        (("mkdir", "-p", "/var/log/journal"), ("systemctl", "restart", "systemd-journald")),
    )  # fmt: skip


def _shown(context: Context) -> dict[str, str] | None:
    """Properties of the unit; None = there is no systemd. Raises OSError, SubprocessError."""
    if not (context.root / "run/systemd/system").is_dir():
        return None
    done = subprocess.run(
        ["systemctl", "show", UNIT, f"--property={','.join(_WANTED)}"],
        capture_output=True, text=True, timeout=_ASK_S, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {key: value for key, _, value in pairs}
