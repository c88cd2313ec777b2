"""``edgeagent doctor``: every check side by side, each with its own deadline.

A check is a function of a `Context` that yields findings. It may take its time or break:
neither keeps the others from telling, and the report is there within `LIMIT_S`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from edgeagent.diagnose.checks import (
    access,
    agent,
    board,
    crashed,
    guarded,
    handlers,
    kept,
    kernel,
    link,
    machine,
    models,
    network,
    service,
    settings,
    sources,
    storage,
)
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding, Report

log = logging.getLogger("edgeagent.doctor")

LIMIT_S = 9.0
"""Longest run of all checks."""

Look = Callable[[Context], Iterator[Finding]]


class Check(Struct, frozen=True):
    """A row of the table."""

    name: str
    look: Look
    deadline_s: float = 5.0

    @property
    def about(self) -> str:
        """What it looks for, in a sentence."""
        return " ".join((self.look.__doc__ or "").partition("\n\n")[0].split())


CHECKS: tuple[Check, ...] = (
    Check("config", settings.config),
    Check("identity", settings.identity),
    Check("secrets", guarded.secrets),
    Check("exposure", guarded.exposure),
    Check("redaction", guarded.redaction),
    Check("data folder", storage.folder),
    Check("read-only", storage.read_only),
    Check("space", storage.space),
    Check("outbox", storage.outbox, 8.0),
    Check("backlog", kept.backlog, 8.0),
    Check("refused", kept.refused),
    Check("clone", kept.clone),
    Check("order of time", kept.order),
    Check("leftovers", kept.leftovers),
    Check("starts", kept.starts),
    Check("crashes", crashed.crashed),
    Check("changes", kept.changes),
    Check("wishes", kept.wishes),
    Check("cpu", machine.cpu),
    Check("python", machine.python),
    Check("libraries", machine.libraries),
    Check("runtimes", models.runtimes, 8.0),
    Check("models", models.configured, 8.0),
    Check("golden", models.golden, 8.5),
    Check("handlers", handlers.signed),
    Check("delegates", access.delegates),
    Check("accelerators", access.accelerators),
    Check("groups", access.groups),
    Check("sources", sources.configured, 6.0),
    Check("nameserver", network.nameserver),
    Check("route", network.route),
    Check("broker", link.broker, 8.0),
    Check("topics", link.proven, 6.0),
    Check("id clash", link.rivals),
    Check("certificates", link.certificates),
    Check("profile", board.profile),
    Check("clock", board.clock),
    Check("memory", board.memory),
    Check("swap", machine.swap),
    Check("limits", board.limits),
    Check("temperature", board.temperature),
    Check("throttling", board.throttling),
    Check("frequency", machine.frequency),
    Check("disk errors", kernel.disk_errors),
    Check("file system", kernel.file_system),
    Check("killed", kernel.killed),
    Check("power", kernel.power),
    Check("usb", kernel.usb),
    Check("unit", service.unit),
    Check("last exit", service.last_exit),
    Check("journal", service.journal),
    Check("agent", agent.running),
    Check("version", agent.version),
    Check("in force", agent.in_force),
    Check("drift", agent.drift, 6.0),
)


def run(context: Context, checks: Sequence[Check] = CHECKS) -> Report:
    """Run the checks and collect what they find, in the table's order. Never raises."""
    started = time.monotonic()
    running = [_Run(check, context) for check in checks]
    findings: list[Finding] = []
    for its in running:
        findings += its.collect(started)
    return Report(tuple(findings), time.monotonic() - started)


class _Run:
    """One check on its own thread, which is left behind when it does not end: a file system or
    a resolver that hangs can't be interrupted."""

    def __init__(self, check: Check, context: Context) -> None:
        self.check = check
        self._found: queue.Queue[Finding | None] = queue.Queue()
        threading.Thread(
            target=self._look, args=(context,), name=f"doctor:{check.name}", daemon=True
        ).start()

    def _look(self, context: Context) -> None:
        try:
            for finding in self.check.look(context):
                self._found.put(finding)
        except Exception as error:  # a broken check is itself a finding
            log.debug("check %s", self.check.name, exc_info=True)
            said = f"this check broke: {type(error).__name__}: {error}"
            remedy = "Report it with the output of: EDGEAGENT_DEBUG=1 edgeagent doctor --json"
            self._found.put(Finding(self.check.name, "failed", said, "", remedy))
        self._found.put(None)

    def collect(self, started: float) -> list[Finding]:
        """What it found until its deadline."""
        limit = min(self.check.deadline_s, LIMIT_S)
        found: list[Finding] = []
        while True:
            try:
                finding = self._found.get(timeout=max(0.0, started + limit - time.monotonic()))
            except queue.Empty:
                said = f"this check did not end within {limit:g} s"
                return [*found, Finding(self.check.name, "problem", said, "", _SLOW)]
            if finding is None:
                return found
            found.append(finding)


_SLOW = "Something that it asked does not answer: see with dmesg whether a disk or device hangs."
