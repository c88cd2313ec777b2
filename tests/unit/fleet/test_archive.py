"""The account in both databases: once, together, whoever dies and whoever else writes."""

from __future__ import annotations

import base64
import hashlib
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeagent.errors import Busy, InputError, NotFound, StoreTooNew, UsageError
from edgeagent.fleet.archive import Archive, Group, Heard, Refused
from edgeagent.fleet.audit import as_json, audit
from edgeagent.fleet.batches import read
from edgeagent.fleet.database import Database, open_database
from edgeagent.fleet.evidence import Piece
from edgeagent.fleet.retention import Retention
from edgeagent.fleet.seats import Seats


def write(archive: Archive, *arrivals: Any, **more: Any) -> Any:
    return archive.write(Group(arrivals=list(arrivals), **more))


def rows(db: Database) -> list[tuple[Any, ...]]:
    return db.rows("SELECT device, epoch, seq FROM records ORDER BY device, epoch, seq")


def only(db: Database) -> Any:
    (stream,) = audit(db).streams
    return stream


# --- once -----------------------------------------------------------------------------------


def test_duplicates_are_dropped_within_a_group_and_after_a_restart(db: Database, made: Any) -> None:
    first = Archive(db)
    written = write(first, made.results(1, 100), made.results(50, 150), made.results(1, 10, "d2"))
    assert (written.records, written.duplicates) == (160, 51)
    for archive in (first, Archive(db)):
        again = write(archive, made.results(1, 150), made.results(148, 152))
        assert again.duplicates >= 153
    assert len(rows(db)) == len(set(rows(db))) == 162
    assert [s.received for s in audit(db).streams] == [152, 10]


def test_the_record_is_there_as_it_came(db: Database, archive: Archive, made: Any) -> None:
    text = 'tab\t "quote" back\\slash new\nline \\N \u0000 é \N{PILE OF POO} \\.'
    write(
        archive, made.arrival([made.record(1, kind="ev\0nt", pipeline="a\tb\\", data={"t": text})])
    )
    ((kind, pipeline, body),) = db.rows("SELECT kind, pipeline, body FROM records")
    assert (kind, pipeline) == ("ev\N{REPLACEMENT CHARACTER}nt", "a\tb\\")
    if isinstance(body, str):
        import json

        body = json.loads(body)
    assert body["data"]["t"] == text


def test_what_a_group_failed_with_is_not_there_and_can_come_again(
    db: Database, archive: Archive, made: Any
) -> None:
    write(archive, made.results(1, 5))
    poison = made.results(6, 9)
    poison.rows[-1] = poison.rows[-1]._replace(seq=2**63)
    with pytest.raises(InputError):
        write(archive, made.results(6, 8), poison, made.results(1, 3, "d2"))
    assert len(rows(db)) == 5
    assert write(archive, made.results(4, 9)).records == 4
    assert only(db).state == "complete"


# --- together ---------------------------------------------------------------------------


def test_gaps_fill_the_account_and_delivered_wins(
    db: Database, archive: Archive, made: Any
) -> None:
    odd = base64.b64encode(bytes([0b10101010])).decode()
    write(
        archive, made.results(1, 10),
        made.arrival([made.record(15), made.gap(20, 11, 18, dropped=odd, reason="thinned")]),
    )  # fmt: skip
    stream = only(db)
    assert stream.missing == [(11, 11), (13, 13), (17, 17), (19, 19)]
    assert stream.gaps == {"thinned": 4}
    write(archive, made.results(11, 13), made.arrival([made.gap(21, 15, 19, reason="full")]))
    stream = only(db)
    assert (stream.state, stream.produced, stream.received) == ("complete", 21, 16)
    # 15 came, 16 and 18 were told before, 12 came after all.
    assert stream.gaps == {"thinned": 3, "full": 2}
    assert stream.received + sum(stream.gaps.values()) == stream.produced


def test_a_later_epoch_tells_of_an_earlier_one(db: Database, archive: Archive, made: Any) -> None:
    write(archive, made.results(1, 7), made.arrival([made.record(12)]))
    write(
        archive,
        made.arrival(
            [
                made.gap(1, 9, None, epoch="E1", reason="database lost"),
                made.record(2, was={"epoch": "E1", "seq": 10}),
                made.record(3, was={"epoch": "E1", "seq": 7}),
                made.gap(4, 9, 9, epoch="E1", reason="full"),
            ],
            epoch="E2",
        ),
    )
    old, new = audit(db).streams
    assert (old.state, old.ended) == ("missing", "database lost")
    assert (old.missing, old.unknown) == ([(8, 8)], [(11, 11)])
    assert old.gaps == {"full": 1}
    assert (new.state, new.received, new.current) == ("complete", 4, True)
    # Seq 7 is here under its old number: the copy counts, but is not shown.
    assert ("d1", "E2", 3) not in rows(db)
    assert ("d1", "E2", 2) in rows(db)
    write(archive, made.results(8, 8))
    old = audit(db).streams[0]
    assert (old.state, old.missing) == ("unknown", [])
    assert audit(db).complete


def test_a_late_batch_of_an_epoch_that_is_over_changes_nothing(
    db: Database, archive: Archive, made: Any
) -> None:
    def current() -> Any:
        return db.rows("SELECT s.epoch FROM device d JOIN stream s ON s.id = d.stream")

    over = made.arrival([made.gap(1, 5, None, epoch="E1", reason="lost")], epoch="E2")
    # Shared subscriptions may turn the order round: the former epoch is heard of last.
    write(archive, made.results(2, 4, epoch="E2"))
    write(Archive(db), made.results(1, 2))
    assert current() == [("E1",)]
    write(archive, made.results(5, 6, epoch="E2"))
    assert current() == [("E2",)]
    write(archive, over, made.results(3, 4))
    write(Archive(db), made.results(5, 6))
    assert current() == [("E2",)]
    write(archive, heard=[Heard("d1", "E3", 0, True), Heard("d1", "E2", 9, False)])
    assert current() == [("E3",)]


def test_a_status_tells_of_records_that_did_not_come(
    db: Database, archive: Archive, made: Any
) -> None:
    write(
        archive, made.results(1, 3), heard=[Heard("d1", "E1", 6, True), Heard("d2", "X", 2, True)]
    )
    streams = audit(db).streams
    assert [s.missing for s in streams] == [[(4, 6)], [(1, 2)]]
    assert not audit(db).complete
    assert audit(db, ["d1"]).streams[0].device == "d1"
    with pytest.raises(NotFound, match="d9"):
        audit(db, ["d9"])


def test_the_account_over_many_blocks(db: Database, made: Any) -> None:
    rng = random.Random(7)
    starts = list(range(1, 20_001, 250))
    rng.shuffle(starts)
    archive = Archive(db)
    for count, at in enumerate(starts):
        if count % 9 == 0:
            archive = Archive(db)  # Another process: nothing in memory.
        write(archive, made.results(at, at + 249), made.results(at, at + 20))
    stream = only(db)
    assert (stream.state, stream.received, stream.produced) == ("complete", 20_000, 20_000)
    assert db.rows("SELECT floor FROM stream") == [(4,)]
    assert write(archive, made.results(3000, 9000)).records == 0
    assert len(rows(db)) == 20_000


def test_the_unreadable_is_kept_for_a_look(db: Database, archive: Archive, made: Any) -> None:
    bad = made.arrival([made.record(1), {"seq": -1, "kind": "x\0"}])
    write(archive, bad, refused=[Refused("edgeagent/d1/records", "no batch\0", b"\0\xff")])
    assert audit(db).refused == {"d1 E1": 1, "edgeagent/d1/records": 1}
    assert as_json(audit(db))["refused"]["d1 E1"] == 1


# --- evidence ------------------------------------------------------------------------------


def referring(made: Any, data: bytes, seq: int = 1, type_: str = "image/jpeg") -> Any:
    sha = hashlib.sha256(data).hexdigest()
    return made.arrival(
        [made.record(seq, blobs=[{"sha256": sha, "bytes": len(data), "type": type_}])]
    )


def cut(data: bytes, size: int, device: str = "d1") -> list[Piece]:
    sha = hashlib.sha256(data).hexdigest()
    return [Piece(device, sha, at, data[at : at + size]) for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1024, 3072, 4096, 1 << 20])
def test_evidence_in_any_order_before_or_after_its_record(
    db: Database, archive: Archive, made: Any, size: int
) -> None:
    data = random.Random(1).randbytes(20_000)
    pieces = cut(data, size)
    random.Random(2).shuffle(pieces)
    half = len(pieces) // 2
    archive.write(Group(pieces=pieces[:half]))
    write(archive, referring(made, data))
    assert only(db).evidence.missing == 1
    # Sent again in other sizes, as after a limit was met.
    whole = archive.write(Group(pieces=[*cut(data, 2048)[:3], *pieces[half:]])).evidence
    assert whole == 1
    ((sha, size_, kind, state, stored),) = db.rows(
        "SELECT sha256, bytes, type, state, data FROM blob"
    )
    assert (bytes(stored), size_, kind, state) == (data, len(data), "image/jpeg", 1)
    assert sha == hashlib.sha256(data).hexdigest()
    assert db.rows("SELECT count(*) FROM piece") == [(0,)]
    assert archive.write(Group(pieces=pieces)).evidence == 0
    assert only(db).evidence.here == 1


def test_chunks_that_do_not_match_are_thrown_away(
    db: Database, archive: Archive, made: Any
) -> None:
    data = b"a" * 3000
    wrong = [piece._replace(data=b"b" * len(piece.data), device="d2") for piece in cut(data, 1024)]
    write(archive, referring(made, data), pieces=wrong)
    assert db.rows("SELECT count(*) FROM piece") == [(0,)]
    assert write(archive, made.results(2, 2), pieces=cut(data, 1024)).evidence == 1


def test_evidence_told_lost_is_not_missing(db: Database, archive: Archive, made: Any) -> None:
    data = b"x" * 10
    sha = hashlib.sha256(data).hexdigest()
    write(archive, referring(made, data))
    write(archive, made.arrival([made.record(2, "blob", data={"sha256": sha, "reason": "quota"})]))
    assert (only(db).evidence.lost, only(db).evidence.missing) == (1, 0)
    assert db.rows("SELECT reason FROM blob") == [("quota",)]


def test_retention_deletes_records_and_evidence_but_not_the_account(
    db: Database, archive: Archive, made: Any
) -> None:
    data = b"y" * 2000
    write(archive, referring(made, data), made.results(2, 6000), pieces=cut(data, 1024))
    retention = Retention(db, 3600.0)
    retention.delete()
    assert len(rows(db)) == 6000
    past = db.stamp(time.time() - 7200)
    db.run("UPDATE record SET received = ? WHERE seq <= 5500", (past,))
    db.run("UPDATE blob SET received = ?", (int(time.time()) - 7200,))
    assert retention.delete()
    assert not retention.delete()
    assert [seq for *_, seq in rows(db)] == list(range(5501, 6001))
    for table in ("blob", "evidence", "piece"):
        assert db.rows(f"SELECT count(*) FROM {table}") == [(0,)]
    assert (only(db).state, only(db).received) == ("complete", 6000)
    assert write(archive, made.results(1, 6000)).records == 0


# --- whoever dies and whoever else writes ------------------------------------------------------


def _worker(url: str, seed: int, ready: Any) -> None:
    from tests_made import made

    archive = Archive(open_database(url))
    rng = random.Random(seed)
    batches = [(d, at) for d in range(4) for at in range(1, 2001, 50)]
    rng.shuffle(batches)
    ready.set()
    for d, at in batches:
        arrival = made.results(at, at + 49, f"d{d}")
        while True:
            try:
                archive.write(Group(arrivals=[arrival]))
                break
            except Exception:
                time.sleep(0.01)


def test_processes_that_write_the_same_one_killed(url: str, made: Any) -> None:
    """All write everything; there is each record once, whoever was first."""
    open_database(url).close()
    context = multiprocessing.get_context("fork")
    ready = [context.Event() for _ in range(3)]
    import sys
    import types

    module = types.ModuleType("tests_made")
    module.made = made  # type: ignore[attr-defined]
    sys.modules["tests_made"] = module
    workers = [
        context.Process(target=_worker, args=(url, seed, event)) for seed, event in enumerate(ready)
    ]
    for worker in workers:
        worker.start()
    for event in ready:
        assert event.wait(20)
    time.sleep(0.1)
    os.kill(workers[0].pid or 0, signal.SIGKILL)
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL, 0, 0]
    db = open_database(url)
    found = audit(db)
    assert found.complete
    assert [s.received for s in found.streams] == [2000] * 4
    assert len(rows(db)) == 8000
    db.close()


def _sit(url: str, queue: Any) -> None:
    db = open_database(url)
    queue.put(Seats(db, "main").own)
    signal.pause()


def test_seats_are_taken_from_below_and_orphans_found(url: str, made: Any) -> None:
    db = open_database(url)
    seats, context = Seats(db, "main"), multiprocessing.get_context("fork")
    assert seats.own == 0
    assert seats.alone()
    queue = context.Queue()
    others = [context.Process(target=_sit, args=(url, queue), daemon=True) for _ in range(2)]
    for number, other in enumerate(others, start=1):
        other.start()
        assert queue.get(timeout=20) == number
    assert Seats(open_database(url), "second").own == 0
    assert seats.orphans() == []
    assert not seats.alone()
    others[0].kill()
    assert made.eventually(seats.orphans) == [1]
    # While it is being emptied, nobody else gets it.
    third = context.Process(target=_sit, args=(url, queue), daemon=True)
    third.start()
    assert queue.get(timeout=20) == 3
    seats.leave(1)
    assert seats.orphans() == []
    for other in (others[1], third):
        other.kill()
        other.join()
    made.eventually(seats.alone)
    db.close()


def test_a_newer_schema_is_refused(url: str) -> None:
    db = open_database(url)
    db.run("UPDATE edgeagent.meta SET version = 99" if "://" in url else "PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreTooNew):
        open_database(url)


def test_urls_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mysql"):
        open_database("mysql://x/y")
    with pytest.raises(Exception) as caught:
        open_database(str(tmp_path))
    assert not isinstance(caught.value, (OSError, Busy))


TEXT = st.text(max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
RECORD = st.fixed_dictionaries(
    {"seq": st.integers(1, 2**53), "kind": TEXT | st.sampled_from(["gap", "blob", "event"])},
    optional={
        "pipeline": TEXT, "at": TEXT | st.datetimes().map(lambda t: t.isoformat() + "Z"),
        "data": VALUES, "from": st.integers(1, 2**53), "to": st.integers(1, 2**53), "reason": TEXT,
        "dropped": st.binary(max_size=9).map(lambda b: base64.b64encode(b).decode()),
        "was": st.fixed_dictionaries({"epoch": st.just("E0"), "seq": st.integers(1, 2**53)}),
        "test": st.booleans(), "x": VALUES,
    },
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(records=st.lists(RECORD, min_size=1, max_size=5))
def test_what_is_read_is_taken_by_the_database(
    db: Database, archive: Archive, made: Any, records: list[Any]
) -> None:
    arrival = read(msgspec.json.encode({"device": "d1", "epoch": "E1", "records": records}))
    before = db.rows("SELECT count(*) FROM record")[0][0]
    written = write(archive, arrival)
    assert db.rows("SELECT count(*) FROM record")[0][0] == before + written.records
    assert written.records + written.duplicates == len(arrival.rows)
    as_json(audit(db))
