"""Two questions of a person, asked beside the show."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.demo.asking import Asking
from edgeagent.serve.client import ControlClient
from edgeagent.serve.control import ControlSocket

COVERED = {"severity": "problem", "what": "the agent is degraded: belt: is covered (since 10:00)"}
OTHER = {"severity": "problem", "what": "the clock is not synchronised"}


def heard(asking: Asking, count: int) -> list[str]:
    found: list[str] = []
    for _ in range(500):
        found += asking.answers()
        if len(found) >= count and not asking.waits:
            break
        threading.Event().wait(0.01)
    return found


@pytest.mark.parametrize(
    ("findings", "said"),
    [([OTHER, COVERED], "the agent is degraded: belt: is covered"),
     ([OTHER], "the clock is not synchronised"), ([], "nothing is wrong")],
)  # fmt: skip
def test_a_sentence_each_and_once(tmp_path: Path, findings: list[Any], said: str) -> None:
    asked: list[str] = []

    def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        asked.append(request["type"])
        result = {"why": {"sentence": "belt is covered"}, "doctor": {"findings": findings}}
        yield {"status": "successful", "result": result[request["type"]]}

    socket = ControlSocket(tmp_path / "s", answer)
    asking = Asking(ControlClient(tmp_path / "s"))
    assert not asking.waits
    asking.ask("belt")
    asking.ask("belt")
    assert heard(asking, 2) == ["edgeagent why belt: belt is covered", f"edgeagent doctor: {said}"]
    assert asked == ["why", "doctor"]
    socket.close()


def test_an_agent_that_is_gone(tmp_path: Path) -> None:
    asking = Asking(ControlClient(tmp_path / "none"))
    asking.ask("belt")
    (said,) = heard(asking, 1)
    assert said.startswith("the agent was asked and did not answer: no agent runs")
