"""What is an incident, and that each is told once: time goes by in leaps, nothing waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.fleet.alerts.incident import Book, Incident
from edgeagent.fleet.alerts.judge import Limits, Presence, Records
from edgeagent.fleet.archive import Archive, Group
from edgeagent.fleet.database import Database

LIMITS = Limits(offline_s=300, broker_s=30, settle_s=60, no_events_s=3600, holes_s=600)


def row(state: str = "online", **more: Any) -> dict[str, Any]:
    return {"state": state, "online": state != "offline", "name": "", "site": "hall 2",
            "reasons": ["connection lost"] if state == "offline" else [], **more}  # fmt: skip


class Story:
    """A fleet, a clock and a book."""

    def __init__(self, db: Database, count: int) -> None:
        self.rows = {f"d{n:04}": row() for n in range(count)}
        self.presence, self.book, self.now = Presence(LIMITS), Book(db), 1e9
        self.linked = True
        self.told: list[tuple[str, str, bool]] = []

    def states(self, state: str, *devices: str) -> None:
        for device in devices:
            self.rows[device] = row(state)

    def go(self, seconds: float, step: float = 10.0) -> list[tuple[str, str, bool]]:
        """Let time go by; what is told meanwhile."""
        told: list[tuple[str, str, bool]] = []
        until = self.now + seconds
        while self.now < until:
            self.now += step
            found, kinds = self.presence.judge(self.rows, linked=self.linked, now=self.now)
            self.book.reconcile(found, kinds, self.now)
            for alert in self.book.due():
                told.append((*alert.incident.key, bool(alert.ended)))
                self.book.told(alert)
        return told


@pytest.fixture
def story(db: Database) -> Story:
    made = Story(db, 40)
    assert made.go(100) == []
    return made


def test_one_device_once_and_once_when_it_is_back(story: Story) -> None:
    story.states("offline", "d0001")
    assert story.go(290) == []
    assert story.go(2000) == [("offline", "d0001", False)]
    (open_,) = story.book.open()
    assert "d0001 at hall 2 is offline: connection lost" in open_.incident.sentence
    story.states("online", "d0001")
    assert story.go(2000) == [("offline", "d0001", True)]
    assert story.book.open() == [] == story.book.due()


def test_a_short_absence_is_none(story: Story) -> None:
    for _ in range(5):
        story.states("offline", "d0001")
        assert story.go(200) == []
        story.states("online", "d0001")
        assert story.go(50) == []


def test_a_lost_broker_is_one_alert(story: Story) -> None:
    story.states("offline", "d0001")
    assert story.go(500) == [("offline", "d0001", False)]
    story.linked = False
    assert story.go(5000) == [("broker", "", False)]
    # It comes back and has forgotten everything but wills; devices come back one by one.
    story.linked = True
    story.states("offline", *story.rows)
    assert story.go(50) == [("broker", "", True)]
    story.states("online", *story.rows)
    assert story.go(2000) == [("offline", "d0001", True)]


def test_many_at_once_are_one_alert_and_who_stays_away_is_named(story: Story) -> None:
    names = list(story.rows)
    for n in range(0, 30, 3):  # Over some twenty seconds.
        story.states("offline", *names[n : n + 3])
        assert story.go(2, step=2) == []
    assert story.go(600) == [("many-offline", "", False)]
    (open_,) = story.book.open()
    assert open_.document()["count"] == 30
    story.states("online", *names[:28])
    told = story.go(1000)
    assert ("many-offline", "", True) in told
    assert sorted(told)[1:] == [("offline", names[28], False), ("offline", names[29], False)]


def test_what_nobody_heard_of_is_not_taken_back(db: Database) -> None:
    book, its = Book(db), Incident("offline", "d1", 5.0, "gone")
    book.reconcile([its], {"offline"}, 10.0)
    assert [alert.ended for alert in book.due()] == [0.0]
    book.reconcile([], {"offline"}, 20.0)  # Nobody took it, and it is over.
    assert book.due() == []
    book.reconcile([its], {"offline"}, 30.0)
    book.told(book.due()[0])
    book.reconcile([], {"offline"}, 40.0)
    (over,) = book.due()
    assert over.ended == 40.0
    book.reconcile([its], {"offline"}, 50.0)  # Again, before that was told.
    assert book.due() == [] and len(book.open()) == 1
    other = Incident("broker", "", 55.0, "no broker")
    book.reconcile([its, other], {"broker"}, 55.0)
    book.begun(book.due()[0])  # One of two took it.
    assert [alert.incident.key for alert in book.due()] == [other.key]
    book.reconcile([its], {"broker"}, 58.0)
    assert [bool(alert.ended) for alert in book.due()] == [True]
    book.told(book.due()[0])
    book.reconcile([], set(), 60.0)  # Not judged: it stays.
    assert len(book.open()) == 1
    first = book.open()[0].document()
    assert first["state"] == "open" and first["id"] == over.document()["id"]


def test_events_that_stopped_and_records_that_do_not_come(db: Database, made: Any) -> None:
    archive, records = Archive(db), Records(db, LIMITS)
    archive.write(
        Group(
            arrivals=[
                made.arrival([made.record(1, "event"), made.record(2), made.record(4)], "d1"),
                made.arrival([made.record(1)], "d2"),
            ]
        )
    )
    now = db.now()
    rows = {"d1": row(), "d2": row(), "d3": row()}
    assert records.judge(rows, now)[0] == []
    found, kinds = records.judge(rows, now + 3700)
    assert kinds == {"rollout", "no-events", "holes"}
    # d2 never told an event: it may have no rule that does.
    assert [its.key for its in found] == [("no-events", "d1"), ("holes", "d1/E1")]
    assert "records 3 did not come" in found[1].sentence
    archive.write(Group(arrivals=[made.arrival([made.record(3, "event")], "d1")]))
    assert records.judge(rows, db.now() + 10)[0] == []
    away = {"d1": row("offline")}
    assert records.judge(away, db.now() + 9999)[0] == []


def test_an_aborted_rollout_is_told_and_never_taken_back(tmp_path: Path) -> None:
    from edgeagent.fleet.database import open_database
    from edgeagent.fleet.rollout.ledger import Ledger
    from edgeagent.fleet.rollout.plan import Plan

    db = open_database(str(tmp_path / "fleet.db"))
    ledger = Ledger(db)
    rollout = ledger.create(
        Plan(model="parts", version="2.0.0"), [], author="me", prefix="edgeagent", note=""
    )
    records, book = Records(db, LIMITS), Book(db)
    found, kinds = records.judge({}, db.now())
    assert found == []
    db.run("UPDATE rollout SET state = 'aborted', reason = 'too many', ended = ?", (db.now(),))
    found, kinds = records.judge({}, db.now())
    book.reconcile(found, kinds, db.now())
    (alert,) = book.due()
    assert alert.incident.key == ("rollout", rollout.id)
    assert "parts@2.0.0 is aborted: too many" in alert.incident.sentence
    book.told(alert)
    found, kinds = records.judge({}, db.now() + 90_000)
    book.reconcile(found, kinds, db.now())
    assert book.due() == [] == book.open()
    db.close()
