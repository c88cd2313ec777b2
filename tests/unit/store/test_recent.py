"""What those who look on are shown of the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.store.outbox import Outbox
from edgeagent.store.recent import Cursor
from edgeagent.store.settings import OutboxSettings
from edgeagent.types import Draft


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox.open(tmp_path, device="d", settings=OutboxSettings(), boot="b", machine="m")
    yield outbox
    outbox.close()


def fill(box: Outbox, kinds: str) -> None:
    for number, kind in enumerate(kinds):
        kinds_of = {"e": "event", "r": "result"}
        box.append(Draft(kind=kinds_of[kind], pipeline="p", data={"n": number}))
    assert box.flush(5.0)


def test_the_newest_of_a_kind_and_what_follows(box: Outbox) -> None:
    assert box.newest("event", 5) == ([], Cursor(box.epoch, 0))
    fill(box, "rerere")
    records, cursor = box.newest("event", 2)
    assert [its["data"]["n"] for its in records] == [3, 5]
    assert cursor == Cursor(box.epoch, 6)
    assert box.following("event", cursor, 5) == ([], cursor)
    fill(box, "rr")
    records, cursor = box.following("event", cursor, 5)
    assert (records, cursor.seq) == ([], 8)  # what is no event is not looked at twice
    fill(box, "eeee")
    records, cursor = box.following("event", cursor, 3)
    assert ([its["seq"] for its in records], cursor.seq) == ([9, 10, 11], 11)
    assert [its["seq"] for its in box.following("event", cursor, 3)[0]] == [12]


def test_in_another_epoch_one_begins_anew(box: Outbox) -> None:
    fill(box, "ee")
    records, cursor = box.following("event", Cursor("former", 700), 9)
    assert [its["seq"] for its in records] == [1, 2]
    assert cursor == Cursor(box.epoch, 2)


@pytest.mark.parametrize("text", ["", "7", "-7", "e-", "e-x", "e--1", "e-²", "e-" + "9" * 30])
def test_what_is_no_cursor(text: str) -> None:
    found = Cursor.parse(text)
    assert found is None or str(found) == text


def test_a_cursor_is_read_as_it_is_written() -> None:
    assert Cursor.parse(str(Cursor("a-b-c", 17))) == Cursor("a-b-c", 17)
