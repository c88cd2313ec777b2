"""One drill after the other, and the verdict: noticed, degraded, recovered, accounted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins

from edgeagent.agent.drill.fault import FAULTS, Fault
from edgeagent.store.verify import verify

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.sync.job import Job

_NOTICE_S = 20.0
_RECOVER_S = 60.0
_LOOK_S = 0.1


class Verdict(Struct):
    """How the agent coped with one fault; None = that could not be tried."""

    drill: str
    noticed: bool | None = None
    """It said so by itself."""
    degraded: bool | None = None
    """What the fault does not touch went on as before."""
    recovered: bool | None = None
    """By itself, once the fault was gone."""
    accounted: bool | None = None
    """Every record is delivered, pending or told as dropped."""
    noticed_s: float = 0.0
    recovered_s: float = 0.0
    said: str = ""
    """The agent's own words; why it was left out."""

    @property
    def passed(self) -> bool:
        return all((self.noticed, self.degraded, self.recovered, self.accounted))


def run(agent: Agent, names: Sequence[str], seconds: float, job: Job) -> dict[str, Any]:
    """Make each fault for so long; nothing of it is left, whatever comes of it."""
    chosen = [name for name in FAULTS if name in names] if names else list(FAULTS)
    verdicts: list[Verdict] = []
    agent.outbox.testing = True
    try:
        for number, name in enumerate(chosen):
            job.progress(number / len(chosen), name)
            verdicts.append(_one(agent, name, seconds, job))
    finally:
        agent.outbox.testing = False
    tried = [its for its in verdicts if its.noticed is not None]
    return {
        "passed": all(its.passed for its in tried),
        "tried": len(tried),
        "drills": [{**to_builtins(its), "passed": its.passed} for its in verdicts],
    }


def _one(agent: Agent, name: str, seconds: float, job: Job) -> Verdict:
    fault = FAULTS[name](agent)
    if isinstance(fault, str):
        return Verdict(name, said=f"left out: {fault}")
    verdict = Verdict(name)
    before = _troubles(agent)
    steps = _steps(agent, fault)
    with fault.make():
        began = time.monotonic()
        verdict.noticed = _until(lambda: bool(fault.noticed()), _NOTICE_S, job)
        verdict.noticed_s = round(time.monotonic() - began, 2)
        verdict.said = fault.noticed()
        _until(lambda: time.monotonic() - began >= seconds, seconds, job)
        after = _steps(agent, fault)
        verdict.degraded = all(after[its] > count for its, count in steps.items())
    began = time.monotonic()
    verdict.recovered = _until(lambda: _troubles(agent) <= before, _RECOVER_S, job)
    verdict.recovered_s = round(time.monotonic() - began, 2)
    agent.outbox.flush(5.0)
    verdict.accounted = verify(agent.folder).ok
    return verdict


def _troubles(agent: Agent) -> set[str]:
    """Units that are not well; without figures, which change."""
    found = {its.name for its in agent.supervisor.health() if its.state in ("down", "degraded")}
    if agent.sync is not None and not agent.sync.up:
        found.add("link")
    if agent.decisions.fault:
        found.add("decisions")
    return found


def _steps(agent: Agent, fault: Fault) -> dict[str, int]:
    """Of each pipeline that the fault does not touch and that is at work."""
    return {
        name: pipeline.meter.steps
        for name, pipeline in agent.pipelines.items()
        if name not in fault.affected
        and hasattr(pipeline, "meter")
        and pipeline.health().state == "ok"
    }


def _until(condition: Callable[[], bool], timeout_s: float, job: Job) -> bool:
    """Whether it came true within the time. Raises Cancelled."""
    deadline, pause = time.monotonic() + timeout_s, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        job.progress()
        pause.wait(_LOOK_S)
    return True
