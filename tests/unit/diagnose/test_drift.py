"""What the doctor makes of the drift that a running agent tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.diagnose.checks.agent import drift, running
from edgeagent.diagnose.context import Context

CHANGED = [{"feature": "brightness", "distance": 0.62, "limit": 0.25}]
DRIFTED = {"state": "drift", "looks": 900, "reason": "what it sees has drifted: brightness is 48",
           "since": "2026-11-25T10:00:00Z", "changed": CHANGED}  # fmt: skip


def found(its: dict[str, Any], check: Any = drift, reasons: tuple[str, ...] = ()) -> list[Any]:
    status = {"state": "degraded" if reasons else "online", "reasons": reasons,
              "drift": {"door": its} if its else {}}  # fmt: skip
    return list(check(Context(Path("/none"), None, ask_agent=lambda: status)))


@pytest.mark.parametrize(
    ("its", "severity", "said", "remedy"),
    [
        (DRIFTED, "problem", "brightness is 48, since", "edgeagent drift learn door"),
        ({"state": "learning", "looks": 7, "learned": 0.4}, "ok", "40%", ""),
        ({"state": "learning", "looks": 7, "learned": 0.4, "fault": "disk full"}, "problem",
         "disk full", "edgeagent drift learn door"),
        ({"state": "watching", "looks": 9000, "limit": {"t mean": 0.9, "t range": 0.25}}, "note",
         "t mean changed so much", '"28 d"'),
        ({"state": "watching", "looks": 9000, "limit": {"t mean": 0.3}}, "ok", "usual", ""),
        ({}, "ok", "no pipeline", ""),
    ],
)  # fmt: skip
def test_each_state(its: dict[str, Any], severity: str, said: str, remedy: str) -> None:
    (finding,) = found(its)
    assert finding.severity == severity
    assert said in finding.what
    assert remedy in finding.remedy


def test_drift_is_told_once_and_not_as_a_reason_of_the_agent_again() -> None:
    reasons = ("door: drift: what it sees has drifted", "outbox: full")
    told = found(DRIFTED, running, reasons)
    assert [its.what for its in told] == [f"the agent is degraded: {reasons[1]}"]
