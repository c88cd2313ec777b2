"""When an epoch begins, what its first record says, and what is carried into it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from store_play import Opener, Receiver, TurnedClock, drain, event, pages_of, result

from edgeagent.errors import StoreTooNew
from edgeagent.store import epochs
from edgeagent.store.outbox import Outbox
from edgeagent.store.verify import verify
from edgeagent.types import Evidence

ROWS = 600


def settled_down(outbox: Outbox) -> None:
    """Wait until nothing is carried any more."""
    deadline = time.monotonic() + 20
    while verify(outbox.folder).carrying:
        assert time.monotonic() < deadline
        outbox.wait_pending(0.05)


def everything(outbox: Outbox) -> list[dict[str, Any]]:
    """All pending records, by seq; they stay pending."""
    found: list[dict[str, Any]] = []
    batches = []
    while (batch := outbox.next_batch(max_bytes=1 << 20)) is not None:
        batches.append(batch)
        found += map(json.loads, batch.bodies)
    for batch in batches:
        outbox.release(batch)
    return sorted(found, key=lambda record: record["seq"])


@pytest.fixture
def filled(opened: Opener) -> tuple[Path, str]:
    """A closed outbox: records 1..100 delivered, the rest of 600 pending, a command, a memory."""
    outbox = opened()
    for number in range(100):
        outbox.append(result(number))
    outbox.flush(5)
    drain(outbox, Receiver())
    for number in range(100, ROWS):
        outbox.append(result(number, size=200))
    outbox.flush(5)
    outbox.journal.claim("c1", "ping", "digest", at="2026-01-01T00:00:00Z")
    outbox.remember("key", b"value")
    outbox.close()
    return outbox.folder, outbox.epoch


def test_the_first_epoch_begins_with_the_first_record(opened: Opener) -> None:
    outbox = opened()
    assert outbox.append(result()).wait(2) == 1
    assert len(outbox.epoch) == 26


def test_a_restart_or_crash_goes_on(opened: Opener, filled: tuple[Path, str]) -> None:
    outbox = opened()
    assert outbox.epoch == filled[1]
    assert outbox.append(result()).wait(2) == ROWS + 1


@pytest.mark.parametrize("keys", [{"machine": "m2"}, {"device": "d2"}])
def test_a_clone_and_a_renamed_device_begin_anew(
    opened: Opener, filled: tuple[Path, str], keys: dict[str, str]
) -> None:
    outbox = opened(**keys)
    settled_down(outbox)
    records = everything(outbox)
    assert outbox.epoch != filled[1]
    assert records[0]["kind"] == "gap" and records[0]["seq"] == 1
    assert records[0]["epoch"] == filled[1]
    assert (records[0]["from"], records[0]["to"], records[0]["count"]) == (101, None, None)
    assert [record["data"]["n"] for record in records[1:]] == list(range(100, ROWS))
    assert records[1]["was"] == {"epoch": filled[1], "seq": 101}
    assert outbox.journal.claim("c1", "ping", "digest").outcome == "known"
    assert outbox.recall("key") == b"value"
    assert not epochs.asides(outbox.folder)
    assert not (outbox.folder / "quarantine").exists()
    assert verify(outbox.folder, deep=True).ok


def test_the_same_files_again_are_no_clone(opened: Opener, filled: tuple[Path, str]) -> None:
    folder, epoch = filled
    shutil.copytree(folder, folder.with_name("moved"))
    assert opened(folder.with_name("moved")).epoch == epoch


def test_a_lost_database_is_told(opened: Opener, filled: tuple[Path, str]) -> None:
    folder, epoch = filled
    shutil.rmtree(folder / "db")
    outbox = opened()
    records = everything(outbox)
    assert [(r["seq"], r["epoch"], r["from"], r["to"]) for r in records] == [(1, epoch, 1, None)]
    assert records[0]["reason"] == "database lost"


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(pages_of(path) // 3 * 4096)


def _no_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xaa" * 100)


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(pages_of(path) * 4096))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _middle(path: Path) -> None:
    pages = pages_of(path)
    with path.open("r+b") as file:
        for page in range(pages // 2, pages // 2 + 4):
            file.seek(page * 4096)
            file.write(b"\x5a" * 4096)


def _other_program(path: Path) -> None:
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE thing (x)")
    other.execute("PRAGMA user_version = 1")
    other.commit()
    other.close()


@pytest.mark.parametrize(
    ("damage", "saved"),
    [
        (_truncate, 0), (_no_header, 0), (_zeros, 0), (_empty, 0), (_other_program, 0),
        (_middle, ROWS - 100 - 120),
    ],
)  # fmt: skip
def test_damage_is_set_aside_and_what_reads_is_saved(
    opened: Opener, filled: tuple[Path, str], damage: Any, saved: int
) -> None:
    folder, epoch = filled
    damage(folder / "db" / "outbox.db")
    outbox = opened()
    settled_down(outbox)
    assert outbox.epoch != epoch
    records = everything(outbox)
    assert records[0]["epoch"] == epoch and records[0]["to"] is None
    carried = [record["was"]["seq"] for record in records[1:]]
    assert carried == sorted(set(carried)) and len(carried) >= saved
    assert all(record["data"]["n"] == record["was"]["seq"] - 1 for record in records[1:])
    if damage is _middle:
        assert outbox.journal.claim("c1", "ping", "digest").outcome == "known"
    assert outbox.append(event("new", "k")).wait(2) == len(records) + 1
    assert verify(folder, deep=True).ok
    # It stays there for whoever wants to look, once.
    assert (folder / "quarantine" / "outbox.db").exists() == (damage is not _empty)
    outbox.close()
    damage(folder / "db" / "outbox.db")
    settled_down(opened())
    folders = {path.name for path in folder.iterdir() if path.is_dir()} - {"quarantine"}
    assert folders == {"aside", "blobs", "db"} and not epochs.asides(folder)


def test_garbage_in_the_log_is_ignored(opened: Opener, filled: tuple[Path, str]) -> None:
    folder, epoch = filled
    (folder / "db" / "outbox.db-wal").write_bytes(b"\x11" * 50_000)
    outbox = opened()
    assert outbox.epoch == epoch
    assert outbox.append(result()).wait(2) == ROWS + 1
    assert verify(folder, deep=True).ok


def test_damage_found_while_running(opened: Opener, filled: tuple[Path, str]) -> None:
    folder, epoch = filled
    outbox = opened(keep_sent_s=0.0)
    _middle(folder / "db" / "outbox.db")
    receiver = Receiver()
    deadline = time.monotonic() + 20
    while outbox.epoch == epoch:
        assert time.monotonic() < deadline
        ticket = outbox.append(event("new", "k"))
        drain(outbox, receiver, max_bytes=4000)
        assert ticket.wait(5)
    settled_down(outbox)
    drain(outbox, receiver)
    assert outbox.stats().pending == 0
    assert verify(folder, deep=True).ok
    assert receiver.unknown(outbox.epoch, outbox.last_seq) == []
    was = {r["was"]["seq"] for r in receiver.records[outbox.epoch].values() if "was" in r}
    assert len(was | receiver.records[epoch].keys()) >= ROWS - 100 - 120
    assert receiver.open_ended[epoch] <= ROWS


def test_gaps_and_open_events_go_with_the_records(opened: Opener) -> None:
    outbox = opened(queue=16, events_s=30.0, results_s=30.0)
    outbox.append(event("new", "k"))
    for _ in range(20):
        outbox.append(result())
    outbox.flush(5)
    old = outbox.epoch
    gap = next(record for record in everything(outbox) if record["kind"] == "gap")
    outbox.close()
    outbox = opened(machine="m2")
    settled_down(outbox)
    records = everything(outbox)
    told = next(record for record in records[1:] if record["kind"] == "gap")
    assert told == {**gap, "seq": told["seq"], "epoch": old}
    began = next(record for record in records if record["kind"] == "event")
    assert began["data"]["id"] == f"e-{began['seq']}"
    assert outbox.close_open_events() == 1
    assert everything(outbox)[-1]["data"]["id"] == began["data"]["id"]


def test_an_event_of_which_all_was_delivered_ends_under_a_new_id(opened: Opener) -> None:
    outbox = opened()
    outbox.append(event("new", "k"))
    outbox.flush(2)
    drain(outbox, Receiver())
    old = outbox.epoch
    outbox.close()
    outbox = opened(machine="m2")
    settled_down(outbox)
    assert outbox.close_open_events() == 1
    last = everything(outbox)[-1]
    assert last["data"]["id"] == f"e-{last['seq']}"
    assert last["data"]["was"] == f"{old}/e-1"


def test_evidence_follows_its_record(opened: Opener) -> None:
    outbox = opened()
    for number in range(2):
        draft = event("new", f"k{number}")
        draft.evidence = (Evidence("image/jpeg", b"%d" % number * 500),)
        outbox.append(draft)
        if number == 0:
            outbox.flush(2)
            drain(outbox, Receiver())
    outbox.flush(2)
    outbox.close()
    outbox = opened(machine="m2")
    settled_down(outbox)
    first = outbox.blobs.next()
    assert first and outbox.blobs.read(first.sha256, 0, 1000) == b"0" * 500
    outbox.blobs.sent(first.sha256)
    assert outbox.blobs.next() is None
    drain(outbox, Receiver())
    second = outbox.blobs.next()
    assert second and outbox.blobs.read(second.sha256, 0, 1000) == b"1" * 500


def test_a_new_epoch_on_demand(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock)
    for number in range(50):
        outbox.append(result(number))
    outbox.flush(2)
    old = outbox.epoch
    flying = outbox.next_batch(max_bytes=1000)
    assert flying
    assert outbox.new_epoch("the broker has seen more") == outbox.epoch != old
    # What was under way belongs to the former epoch and changes nothing any more.
    outbox.delivered(flying)
    settled_down(outbox)
    records = everything(outbox)
    assert records[0]["reason"] == "the broker has seen more"
    assert [record["data"]["n"] for record in records[1:]] == list(range(50))
    assert not outbox.confirmed(outbox.epoch, 10_000, [], "main")
    assert outbox.confirmed(old, 10_000, [], "main")
    assert outbox.stats().pending == 51


def test_an_epoch_that_nobody_knows_is_told_once(opened: Opener) -> None:
    outbox = opened()
    for _ in range(3):
        outbox.lost_epoch("01ANCIENT")
        outbox.lost_epoch(outbox.epoch)
    told = [(record["epoch"], record["from"], record["to"]) for record in everything(outbox)]
    assert told == [("01ANCIENT", 1, None)]


def test_a_crash_while_an_epoch_begins_is_made_good(
    opened: Opener, filled: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, epoch = filled
    # As after a crash between setting aside and the new database, with a half-made one.
    epochs.set_aside(folder)
    (folder / "db.new").mkdir()
    (folder / "db.new" / "outbox.db").write_bytes(b"half")
    outbox = opened()
    settled_down(outbox)
    records = everything(outbox)
    assert len(records) == 1 + ROWS - 100
    assert records[0]["epoch"] == epoch


def test_carrying_goes_on_after_a_crash_without_doubling(
    opened: Opener, filled: tuple[Path, str]
) -> None:
    folder, _ = filled
    outbox = opened(machine="m2")
    outbox.close(0.0)
    for _ in range(20):
        outbox = opened(machine="m2")
        if not verify(folder).carrying:
            break
        outbox.close(0.0)
    settled_down(outbox)
    seqs = [record["was"]["seq"] for record in everything(outbox)[1:]]
    assert seqs == list(range(101, ROWS + 1))


def test_a_newer_schema_is_refused_and_left_alone(opened: Opener, filled: tuple[Path, str]) -> None:
    path = filled[0] / "db" / "outbox.db"
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match="99"):
        opened()
    assert path.read_bytes() == before


def test_an_older_schema_is_brought_forward(
    opened: Opener, filled: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeagent.store import database

    steps = database.schema_steps()
    steps[2] = ["ALTER TABLE account ADD COLUMN note TEXT NOT NULL DEFAULT 'moved'"]
    monkeypatch.setattr(database, "schema_steps", lambda: steps)
    outbox = opened()
    assert outbox.epoch == filled[1]
    outbox.close()
    db = sqlite3.connect(filled[0] / "db" / "outbox.db")
    assert db.execute("SELECT note FROM account").fetchone() == ("moved",)
    assert db.execute("PRAGMA user_version").fetchone() == (2,)
    db.close()


def test_a_failing_migration_changes_nothing(
    opened: Opener, filled: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeagent.errors import StoreError
    from edgeagent.store import database

    steps = database.schema_steps()
    steps[2] = ["ALTER TABLE account ADD COLUMN note TEXT", "CREATE TABLE account (x)"]
    monkeypatch.setattr(database, "schema_steps", lambda: steps)
    with pytest.raises(StoreError):
        opened()
    monkeypatch.undo()
    assert opened().epoch == filled[1]


def test_ulids_sort_by_time() -> None:
    ids = [epochs.ulid(ns * 10**6) for ns in range(1000, 2000)]
    assert ids == sorted(ids) and len(set(ids)) == 1000
    assert epochs.ulid(-5)[:10] == "0" * 10
