"""Outputs of a wave, from records as a collector has them."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.fleet.archive import Archive, Group
from edgeagent.fleet.database import Database
from edgeagent.fleet.rollout.course import Course
from edgeagent.fleet.rollout.ledger import Ledger, Rollout
from edgeagent.fleet.rollout.plan import Quality
from edgeagent.fleet.rollout.quality import judge
from edgeagent.fleet.rollout.standing import Row, Said
from edgeagent.fleet.rollout.watching import compare

NOW = 1_800_000_000.0
HOUR = 3600.0


class Filled:
    """Two profiles, ten devices each, half of them in the first wave; the rest waits."""

    def __init__(self, db: Database, archive: Archive, made: Any) -> None:
        self._db, self._archive, self._made = db, archive, made
        self._made_random = random.Random(1)
        self._seq: dict[str, int] = {}
        self.rows = [
            Row(f"{p}{n}", n, int(n >= 5), p, *(("well",) if n < 5 else ("waiting",)),
                asked=NOW if n < 5 else 0.0, committed=NOW + 60 if n < 5 else 0.0)
            for p in ("pi", "nano") for n in range(10)
        ]  # fmt: skip

    def tell(self, device: str, count: int, version: str, score: float, at: float) -> None:
        first = self._seq.get(device, 0) + 1
        records = [
            self._made.record(seq, "event", model=f"parts@{version}/int8", data={
                "phase": "new", "score": max(0.0, min(1.0, self._made_random.gauss(score, 0.05)))})
            for seq in range(first, first + count)
        ]  # fmt: skip
        self._seq[device] = first + count - 1
        self._archive.write(Group(arrivals=[self._made.arrival(records, device)]))
        stamp = self._db.stamp(at)
        self._db.run(
            "UPDATE record SET received = ? WHERE stream ="
            " (SELECT id FROM stream WHERE device = ?) AND seq >= ?", (stamp, device, first),
        )  # fmt: skip
        self._db.run(
            "UPDATE stream SET first_heard = ? WHERE device = ?", (NOW - 48 * HOUR, device)
        )

    def rollout(self, plan: Any) -> Rollout:
        return Rollout("r", NOW, "a", "edgeagent", plan, "running")


@pytest.fixture
def filled(db: Database, archive: Archive, made: Any) -> Filled:
    return Filled(db, archive, made)


def test_one_profile_that_falls_silent_is_found_in_spite_of_the_night(
    db: Database, filled: Filled, drawn: Any
) -> None:
    limits = Quality(rate=0.5, score=0.1, before_s=24 * HOUR, after_s=HOUR)
    for row in filled.rows:
        filled.tell(row.device, 120, "1.0.0", 0.8, NOW - 12 * HOUR)  # 5 an hour by day
    end = NOW + 60 + 10 * HOUR
    for row in filled.rows:  # By night it is half of that everywhere …
        new = row.standing == "well"
        few = new and row.profile == "nano"  # … and nearly nothing on one board.
        version = "2.0.0" if new else "1.0.0"
        filled.tell(row.device, 3 if few else 25, version, 0.8, NOW + 5 * HOUR)
    compared = compare(db, filled.rows, filled.rollout(drawn.plan(quality=limits)), end)
    assert [its.profile for its in compared] == ["", "nano", "pi"]
    nano, pi = compared[1:]
    assert (nano.before.events, nano.after.events) == (600, 15)
    assert nano.before.hours == pytest.approx(5 * 24) and nano.after.hours == pytest.approx(50)
    assert (pi.control_before.events, pi.control_after.events) == (600, 125)
    found = {its.profile: [f.bad for f in judge(its, limits)] for its in compared}
    assert found["pi"] == [False, False] and found["nano"][0]


def test_what_the_old_version_sent_late_does_not_count_for_the_new_one(
    db: Database, filled: Filled, drawn: Any
) -> None:
    filled.tell("pi0", 40, "1.0.0", 0.9, NOW - HOUR)
    filled.tell("pi0", 30, "1.0.0", 0.9, NOW + HOUR)  # a backlog
    filled.tell("pi0", 25, "2.0.0", 0.5, NOW + HOUR)
    limits = Quality(score=0.2, before_s=2 * HOUR, after_s=HOUR)
    compared = compare(db, filled.rows, filled.rollout(drawn.plan(quality=limits)), NOW + 2 * HOUR)
    assert (compared[0].before.events, compared[0].after.events) == (40, 25)
    (finding,) = judge(compared[0], limits)
    assert finding.bad and "moved by -0.4" in finding.sentence


def test_a_wave_waits_for_its_evidence_and_stops_by_it(
    db: Database, filled: Filled, drawn: Any, tmp_path: Path
) -> None:
    limits = Quality(score=0.2, before_s=HOUR, after_s=HOUR)
    rollout = filled.rollout(drawn.plan(quality=limits))
    course, now = Course(rollout, filled.rows, [], NOW), NOW + 100.0
    said = Said(online=True, version="2.0.0", state="committed", wanted="2.0.0")
    course.step(lambda _row: said, lambda _d: "", now)
    assert rollout.state == "running" and "watching the outputs of wave 1" in rollout.reason
    assert not course.wants_findings(now) and course.wants_findings(NOW + 61 + HOUR)
    for row in filled.rows[:5]:
        filled.tell(row.device, 30, "1.0.0", 0.9, NOW - 60)
        filled.tell(row.device, 30, "2.0.0", 0.4, NOW + 600)
    later = NOW + 61 + HOUR
    course.judge([f for c in compare(db, course.rows.values(), rollout, later)
                  for f in judge(c, limits)])  # fmt: skip
    turn = course.step(lambda _row: said, lambda _d: "", later)
    assert rollout.state == "aborting" or rollout.state == "aborted"
    assert rollout.reason.startswith("quality: all profiles: scores")
    assert not turn.ask and course.waves[0].findings
    assert time.time() < later  # Nothing of it was asked of the clock.


def test_a_database_of_before_there_were_rollouts(tmp_path: Path) -> None:
    import sqlite3
    from importlib import resources

    old = sqlite3.connect(tmp_path / "fleet.db")
    script = resources.files("edgeagent.fleet").joinpath("schema/sqlite.sql").read_text()
    old.executescript(script + "; PRAGMA user_version = 1")
    old.execute("INSERT INTO seat VALUES ('main', 3)")
    old.commit()
    old.close()
    from edgeagent.fleet.database import open_database

    db = open_database(str(tmp_path / "fleet.db"))
    assert Ledger(db).all() == []
    assert db.rows("SELECT number FROM seat") == [(3,)]
    db.close()
