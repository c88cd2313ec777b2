"""One rollout step by step, without broker and database."""

from __future__ import annotations

from typing import Any

from edgeagent.fleet.rollout.course import Course
from edgeagent.fleet.rollout.ledger import Rollout
from edgeagent.fleet.rollout.plan import Limit, Pace
from edgeagent.fleet.rollout.standing import Row, Said, ask

NEW = Said(online=True, own_rev=1, rev=1, version="2.0.0", wanted="2.0.0", state="committed")
BUSY = Said(online=True, own_rev=1, rev=1, version="1.0.0", wanted="2.0.0", state="proving")
FAILED = Said(online=True, own_rev=1, rev=1, version="1.0.0", wanted="2.0.0", state="failed")


class World:
    """A course, and what its devices say."""

    def __init__(self, drawn: Any, waves: tuple[int, ...], **plan: Any) -> None:
        rows = [
            Row(f"d{place}", place, wave, "a")
            for place, wave in enumerate(n for n, size in enumerate(waves) for _ in range(size))
        ]
        rollout = Rollout("r", 0.0, "me", "edgeagent", drawn.plan(**plan), "running")
        self.course, self.now = Course(rollout, rows, [], 100.0), 100.0
        self.said: dict[str, Said] = {}
        self.asked: list[str] = []

    def step(self, passed: float = 0.1) -> Any:
        """One step, and devices are asked as the driver does."""
        self.now += passed
        turn = self.course.step(lambda row: self.said.get(row.device, Said(online=True)),
                                lambda _device: "", self.now)  # fmt: skip
        for row in turn.ask:
            self.asked.append(row.device)
            self.course.rows[row.device] = ask(row, 1, "1.0.0", "", self.now)
        return turn


def test_as_many_at_once_as_the_plan_says_and_those_that_committed_are_not_among_them(
    drawn: Any,
) -> None:
    world = World(drawn, (6,), pace=Pace(at_once=2), settle_s=1000.0, silent_s=10**6)
    world.step()
    world.step()
    assert world.asked == ["d0", "d1"]
    world.said |= {"d0": NEW, "d1": BUSY}
    world.step()
    assert world.asked == ["d0", "d1", "d2"]


def test_waves_follow_each_other_and_a_person_is_asked_between_them(drawn: Any) -> None:
    world = World(drawn, (2, 2), ask=True)
    world.step()
    assert world.asked == ["d0", "d1"]
    world.said |= {"d0": NEW, "d1": NEW}
    world.step()
    world.step(1.0)
    assert world.course.rollout.state == "paused" and len(world.asked) == 2
    world.course.rollout.wish = "resume"
    assert world.step().obeyed
    world.course.rollout.wish = ""
    world.step()
    assert world.asked == ["d0", "d1", "d2", "d3"]
    world.said |= {"d2": NEW, "d3": NEW}
    world.step()
    world.step(1.0)
    world.step()
    assert world.course.rollout.state == "done"
    assert all(row.standing == "well" for row in world.course.rows.values())


def test_what_is_under_way_is_called_back_and_what_committed_stays(drawn: Any) -> None:
    world = World(drawn, (4, 4), profile=Limit(0.5, 2), total=Limit(1.0, 99))
    world.step()
    world.said |= {"d0": NEW, "d1": FAILED, "d2": FAILED, "d3": BUSY}
    turn = world.step()
    assert world.course.rollout.state == "aborting"
    assert [row.device for row in turn.recall] == ["d3"]
    assert not turn.ask and len(world.asked) == 4
    again = World(drawn, (2, 1), give_back=True)
    again.step()
    again.said |= {"d0": NEW, "d1": NEW}
    again.step()
    again.step(1.0)
    again.step()
    again.course.rollout.wish = "abort"
    assert {row.device for row in again.step().recall} == {"d0", "d1", "d2"}


def test_a_paused_rollout_still_stops_at_its_threshold(drawn: Any) -> None:
    world = World(drawn, (3,))
    world.step()
    world.course.rollout.wish = "pause"
    world.step()
    world.course.rollout.wish = ""
    world.said |= {f"d{n}": FAILED for n in range(3)}
    world.step()
    assert world.course.rollout.state in ("aborting", "aborted")
    assert "3 of 3 asked went wrong" in world.course.rollout.reason


def test_halted_it_blames_nobody_until_a_person_resumes(drawn: Any) -> None:
    world = World(drawn, (2,), timeout_s=5.0)
    world.step()
    world.course.halt("the broker takes nothing")
    world.step()
    assert world.course.rollout.state == "paused"
    world.step(100.0)
    assert {row.standing for row in world.course.rows.values()} == {"asked"}
