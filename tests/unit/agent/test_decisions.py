"""When decisions are written, and what becomes of them where that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.agent import decisions as module
from edgeagent.agent.decisions import Decisions
from edgeagent.diagnose.why.ask import decoded
from edgeagent.store.decisions import FOLDER, read
from edgeagent.types import Frame


class Clock:
    """time.monotonic, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


def note(decisions: Decisions, count: int = 1) -> None:
    ring = decisions.ring("p", "cam")
    for number in range(count):
        ring.saw(Frame("cam", number, np.zeros((1, 1, 3), np.uint8), 0, float(number)), ((), ()))


def test_a_write_a_minute_and_one_soon_after_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    jobs: list[Callable[[], None]] = []
    decisions = Decisions(tmp_path, 1 << 20, jobs.append)
    decisions.tick()
    decisions.state("online", ())
    decisions.tick()
    assert jobs == []
    clock.now += 5.1
    decisions.tick()
    decisions.tick()  # one that waits is not ordered again
    assert len(jobs) == 1
    jobs.pop()()
    for seconds, orders in ((30.0, 0), (31.0, 1)):
        clock.now += seconds
        decisions.tick()
        assert len(jobs) == orders
    jobs.pop()()
    note(decisions, 1100)
    clock.now += 1
    decisions.tick()
    assert len(jobs) == 1, "so many notes don't wait for the minute"


def test_a_killed_agent_leaves_all_but_the_last_minute(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path, 1 << 20, lambda work: work(), lambda: {"cam": {"dropped": 3}})
    decisions.state("degraded", ("cam: gone", "b: refused"), ("b: refused",))
    decisions.keep()
    note(decisions)
    pipeline = [its for its in decoded(read(tmp_path)) if its.pipeline]
    (agent,) = [its for its in decoded(read(tmp_path)) if not its.pipeline]
    assert pipeline == []
    assert (agent.states[0].reasons, agent.states[0].link) == (("cam: gone",), ("b: refused",))
    assert agent.losses == {"cam": {"dropped": 3}}
    # Whoever asks the agent itself gets the rest as well.
    assert [its.pipeline for its in decoded(decisions.blocks())] == ["", "p", ""]


def test_what_cant_be_written_stays_in_memory_within_bounds(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file in the folder's place")
    decisions = Decisions(tmp_path, 1 << 20, lambda work: work())
    for _ in range(3):
        note(decisions)
        decisions.keep()
    assert len([its for its in decoded(decisions._held) if its.pipeline]) == 3
    (tmp_path / FOLDER).unlink()
    decisions.keep()
    assert len([its for its in decoded(read(tmp_path)) if its.pipeline]) == 3
    assert not decisions._held


def test_without_room_only_the_last_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IN_MEMORY", 2000)
    decisions = Decisions(tmp_path, 0, lambda work: work())
    for _ in range(40):
        note(decisions)
        decisions.keep()
    assert not (tmp_path / FOLDER).exists()
    assert 0 < sum(map(len, decisions._held)) <= 2000


def test_the_states_last_word_is_repeated(tmp_path: Path) -> None:
    """However old: a file that holds it may be gone."""
    decisions: Any = Decisions(tmp_path, 1 << 20, lambda work: work())
    decisions.state("degraded", ("cam: gone",))
    for _ in range(3):
        decisions.keep()
    states = [its.states[0] for its in decoded(read(tmp_path))]
    assert len(states) == 3 and len({its.ms for its in states}) == 1
