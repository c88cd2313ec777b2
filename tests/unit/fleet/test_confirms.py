"""When devices are told, and by whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeagent.fleet.archive import Archive, Group
from edgeagent.fleet.confirms import Confirms
from edgeagent.fleet.database import Database, open_database


class At:
    """A database whose clock stands."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.seconds = db.now()

    def now(self) -> float:
        return self.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@pytest.fixture
def at(db: Database) -> At:
    return At(db)


def told(confirms: Confirms, *, accept: bool = True) -> dict[str, Any]:
    due = confirms.due()
    for one in due if accept else ():
        confirms.accepted(one)
    return {one.device: json.loads(one.payload) for one in due}


def test_one_per_device_in_two_seconds_whoever_asks(at: At, url: str, made: Any) -> None:
    archive = Archive(at)
    other_db = At(open_database(url))
    other_db.seconds = at.seconds
    here, there = Confirms(archive, "main"), Confirms(Archive(other_db), "main")
    archive.write(Group(arrivals=[made.results(1, 9), made.results(3, 4, "d2")]))
    assert told(here) == {
        "d1": {"epoch": "E1", "upto": 9, "missing": [], "by": "main"},
        "d2": {"epoch": "E1", "upto": 4, "missing": [[1, 2]], "by": "main"},
    }
    archive.write(Group(arrivals=[made.results(10, 12)]))
    assert told(here) == told(there) == {}
    at.seconds = other_db.seconds = at.seconds + 2.1
    assert told(there)["d1"]["upto"] == 12
    assert told(here) == {}
    # Another collector's name is another account of what was told.
    assert set(told(Confirms(archive, "second"))) == {"d1", "d2"}
    other_db.close()


def test_what_the_broker_did_not_take_is_due_again(at: At, made: Any) -> None:
    archive = Archive(at)
    archive.write(Group(arrivals=[made.results(1, 9)]))
    confirms = Confirms(archive, "main")
    assert told(confirms, accept=False)
    assert not told(confirms)
    at.seconds += 2.1
    assert told(Confirms(Archive(at), "main")), "a killed process has claimed it, and did not tell"
    at.seconds += 2.1
    assert told(confirms, accept=True)
    at.seconds += 2.1
    assert not told(confirms)


def test_a_connection_tells_everybody_once(at: At, made: Any) -> None:
    archive = Archive(at)
    archive.write(Group(arrivals=[made.results(1, 2, f"d{n}") for n in range(450)]))
    confirms = Confirms(archive, "main")
    assert [len(told(confirms)) for _ in range(4)] == [200, 200, 50, 0]
    at.seconds += 100
    assert not told(confirms)
    confirms.connected()
    assert [len(told(confirms)) for _ in range(4)] == [200, 200, 50, 0]


def test_something_missing_is_repeated_more_and_more_rarely(at: At, made: Any) -> None:
    archive = Archive(at)
    archive.write(Group(arrivals=[made.results(1, 2), made.results(4, 5)]))
    confirms = Confirms(archive, "main", again_s=10.0)
    assert told(confirms)
    waits = []
    for _ in range(3):
        began = at.seconds
        while not told(confirms):
            at.seconds += 1
        waits.append(at.seconds - began)
    assert waits == pytest.approx([10, 20, 40], abs=1.5)
    archive.write(Group(arrivals=[made.results(3, 3)]))
    at.seconds += 3
    assert told(confirms)["d1"]["missing"] == []
    at.seconds += 10_000
    assert not told(confirms)


def test_a_device_that_asks_is_told_again(at: At, made: Any) -> None:
    archive, confirms = Archive(at), None
    archive.write(Group(arrivals=[made.results(1, 9)]))
    confirms = Confirms(archive, "main")
    assert told(confirms)
    at.seconds += 3
    assert not told(confirms)
    archive.write(Group(arrivals=[made.results(9, 9)]))
    assert told(confirms)["d1"]["upto"] == 9


def test_only_the_epoch_that_is_written_now_is_confirmed(at: At, made: Any) -> None:
    archive, confirms = Archive(at), None
    archive.write(Group(arrivals=[made.results(1, 9)]))
    archive.write(Group(arrivals=[made.results(1, 3, epoch="E2")]))
    confirms = Confirms(archive, "main")
    assert told(confirms)["d1"]["epoch"] == "E2"
    # A carried export of the former epoch changes nothing about that.
    archive.write(Group(arrivals=[made.results(10, 12)], carried=True))
    at.seconds += 3
    assert not told(confirms)
    assert json.loads(confirms.present(archive.stream("d1", "E1"), "E1"))["upto"] == 12
