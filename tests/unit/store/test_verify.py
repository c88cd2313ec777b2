"""`verify` finds every kind of false book, and does not mind a running agent."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
from store_play import Opener, Receiver, drain, event, pages_of, result

from edgeagent.errors import NotFound, StoreError
from edgeagent.store.verify import verify


@pytest.fixture
def book(opened: Opener, tmp_path: Path) -> Path:
    """A copy of a database with every state in it: as it comes from a dead device."""
    outbox = opened(max_record_bytes=400, results_s=0.01)
    for number in range(300):
        outbox.append(result(number, size=900 if number % 7 == 3 else 0))
    outbox.flush(5)
    receiver = Receiver()
    for _ in range(2):
        batch = outbox.next_batch(max_bytes=6000)
        assert batch
        receiver.take(batch)
        outbox.delivered(batch)
    outbox.append(event("new", "k"))
    outbox.append(result(1, size=900))
    outbox.flush(5)
    outbox.close()
    copy = tmp_path / "copied.db"
    shutil.copyfile(outbox.folder / "db" / "outbox.db", copy)
    return copy


def change(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def test_a_true_book(book: Path) -> None:
    report = verify(book, deep=True)
    assert report.ok, report
    assert report.produced > 301
    assert report.produced == report.delivered + report.pending + sum(report.dropped.values())
    assert report.kept == report.delivered > 0
    assert report.gaps_pending == 1


PENDING = "SELECT max(seq) FROM record WHERE kind = 0"
KEPT = "SELECT min(seq) FROM record"


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        (f"DELETE FROM record WHERE seq = ({PENDING})", "1 seqs are neither there nor delivered"),
        ("DELETE FROM record WHERE seq > 100", "seqs are neither there nor delivered"),
        ("DELETE FROM record WHERE kind = 7", "is neither delivered nor there"),
        ("DELETE FROM gap", "dropped, by gaps"),
        ("UPDATE gap SET bits = x'0000' WHERE bits IS NOT NULL", "dropped, by gaps"),
        ("UPDATE account SET delivered = delivered - 1, produced = produced - 1", "delivered"),
        ("UPDATE account SET pending = pending + 1, produced = produced + 1", "1 seqs are neither"),
        ("UPDATE dropped SET count = count + 1", "dropped, by reasons"),
        ("DELETE FROM range", "delivered"),
        ("UPDATE range SET last = last + 900 WHERE name = 'settled'", "never given"),
        ("INSERT INTO record VALUES (4, 0, 0, '{}')", "4 is told as dropped, but is there"),
        (f"UPDATE record SET body = '{{broken' WHERE seq = ({KEPT})", "1: the medium"),
        (f"UPDATE record SET body = '{{\"seq\":9}}' WHERE seq = ({KEPT})", "1: the medium"),
        ("DELETE FROM account", "holds no account"),
    ],
)  # fmt: skip
def test_a_false_book(book: Path, fault: str, finding: str) -> None:
    change(book, fault)
    report = verify(book, deep=True)
    assert not report.ok
    assert any(finding in problem for problem in report.problems), report.problems


def test_losing_a_kept_record_is_no_loss(book: Path) -> None:
    change(book, f"DELETE FROM record WHERE seq = ({KEPT})")
    assert verify(book, deep=True).ok


def test_the_schema_refuses_a_sum_that_is_wrong(book: Path) -> None:
    db = sqlite3.connect(book)
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE account SET delivered = delivered + 1")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE account SET pending = -1, produced = produced - pending - 1")
    db.close()


def test_damaged_pages_are_a_finding(book: Path) -> None:
    with book.open("r+b") as file:
        file.seek(pages_of(book) // 2 * 4096)
        file.write(b"\x5a" * 8192)
    assert not verify(book, deep=True).ok


def test_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        verify(tmp_path)
    (tmp_path / "outbox.db").write_bytes(b"not a database at all, but long enough" * 100)
    with pytest.raises(StoreError):
        verify(tmp_path)


def test_any_way_to_name_it(opened: Opener, tmp_path: Path) -> None:
    outbox = opened()
    outbox.append(result())
    outbox.flush(2)
    for path in (tmp_path, tmp_path / "outbox", tmp_path / "outbox" / "db" / "outbox.db"):
        assert verify(path).pending == 1


def test_a_running_agent_is_sound_at_any_moment(opened: Opener) -> None:
    outbox = opened(max_bytes=1 << 20, max_record_bytes=3000, queue=100_000)
    receiver = Receiver()
    stop = threading.Event()

    def produce() -> None:
        number = 0
        while not stop.wait(0.001):
            number += 1
            for _ in range(10):
                outbox.append(result(number, size=4000 if number % 9 == 0 else 300))

    def send() -> None:
        while not stop.is_set():
            batch = outbox.next_batch(max_bytes=20_000)
            if batch is None:
                outbox.wait_pending(0.05)
            else:
                receiver.take(batch)
                outbox.delivered(batch)

    workers = [threading.Thread(target=work) for work in (produce, send)]
    for worker in workers:
        worker.start()
    try:
        checks = 0
        while checks < 25 or not outbox.stats().dropped or outbox.last_seq < 5000:
            report = verify(outbox.folder)
            assert report.ok, report
            checks += 1
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert outbox.flush(10)
    drain(outbox, receiver)
    assert receiver.unknown(outbox.epoch, outbox.last_seq) == []
