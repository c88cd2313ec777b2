"""Every statement and every file operation of a scripted run fails once: no crash, no loss, no
wedge, one line in the log when it stops and one when it goes on."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from store_play import Receiver, drain, event, result

from edgeagent.errors import StoreError
from edgeagent.store.database import Connection, connect
from edgeagent.store.erase import Wish
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.verify import verify
from edgeagent.types import Evidence

ERRORS = (
    "database or disk is full", "disk I/O error", "database is locked",
    "attempt to write a readonly database",
)  # fmt: skip


OPERATIONS = ("fsync", "posix_fallocate", "open", "replace", "unlink", "rename", "mkdir", "pread")
CODES = (errno.ENOSPC, errno.EIO, errno.EROFS)


class Trap:
    """Fails the N-th operation, before it is done or after."""

    def __init__(self, at: int, error: Exception, *, after: bool) -> None:
        self.at, self.error, self.after = at, error, after
        self.count = 0
        self.sprung = ""
        self._lock = threading.Lock()
        self.armed = False

    def __call__(self, work: Any, what: str) -> Any:
        with self._lock:
            hit = False
            if self.armed:
                self.count += 1
                hit = self.count == self.at
        if not hit:
            return work()
        self.sprung = what
        if self.after:
            work()
        raise self.error

    def around(self, real: Any, name: str) -> Any:
        return lambda *args, **keys: self(lambda: real(*args, **keys), name)

    def connect(self, path: Path, read_only: bool) -> Connection:
        return Trapped(self(lambda: connect(path, read_only), "connect"), self)


class Trapped:
    def __init__(self, real: Connection, trap: Trap) -> None:
        self._real, self._trap = real, trap

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Iterable[tuple[Any, ...]]:
        return self._trap(lambda: self._real.execute(sql, parameters), sql)  # type: ignore[no-any-return]

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Any:
        rows = list(rows)
        return self._trap(lambda: self._real.executemany(sql, rows), sql)

    def close(self) -> None:
        self._real.close()


def scripted(folder: Path, trap: Trap, receiver: Receiver) -> dict[str, Any]:
    """Open, append, deliver, refuse, confirm, journal, fill up, close. What was promised."""
    settings = OutboxSettings(
        max_bytes=1 << 20, events_s=0.002, results_s=0.005, keep_sent_s=0.0, blobs_bytes=12_000,
    )  # fmt: skip
    outbox = Outbox.open(
        folder, device="d1", settings=settings, boot="b1", machine="m1", make=trap.connect
    )
    trap.armed = True
    try:
        return _scene(outbox, receiver)
    finally:
        trap.armed = False
        outbox.close(20.0)


def _scene(outbox: Outbox, receiver: Receiver) -> dict[str, Any]:
    tickets = []
    for number in range(12):
        for index in range(3):
            tickets.append(outbox.append(result(number * 10 + index)))
        draft = event(("new", "update", "end")[number % 3], "k", n=number)
        draft.evidence = (Evidence("image/jpeg", b"%d" % number * 500),)
        tickets.append(outbox.append(draft))
        assert outbox.flush(20), outbox.stats().fault
    batch = outbox.next_batch(max_bytes=1500)
    if batch is not None:
        receiver.take(batch)
        outbox.delivered(batch)
    batch = outbox.pending("live", max_bytes=100)
    if batch is not None:
        outbox.refused(batch, "no")
    if receiver.unknown(outbox.epoch, 6) == []:
        outbox.confirmed(outbox.epoch, 6, [], "main")
    assert outbox.flush(20)
    retried(lambda: outbox.journal.claim("c1", "ping", "d"))
    retried(lambda: outbox.remember("key", b"value"))
    retried(outbox.close_open_events)
    for number in range(120):
        tickets.append(outbox.append(result(number, size=12_000)))
        if number % 20 == 19:
            assert outbox.flush(20), outbox.stats().fault
    assert retried(lambda: outbox.recall("key")) == b"value"
    old = Wish(lambda seq, _: seq > 40 and seq % 3 == 0, undelivered=True, upto=150, scrub=True)
    retried(lambda: outbox.erase(old))
    assert retried(lambda: outbox.erase(old)).records == 0
    return {"tickets": tickets, "epoch": outbox.epoch}


def retried(work: Any) -> Any:
    """What blocks may fail with a StoreError; the caller tries again, as the agent does."""
    for _ in range(5):
        try:
            return work()
        except StoreError:
            continue
    return work()


def check(folder: Path, trap: Trap, receiver: Receiver, promised: dict[str, Any]) -> None:
    where = f"operation {trap.at}: {trap.sprung}"
    report = verify(folder, deep=True)
    assert report.ok, (where, report)
    seqs = [ticket.seq for ticket in promised["tickets"]]
    assert None not in seqs, where
    assert len(set(seqs)) == len(seqs), where
    assert report.epoch == promised["epoch"], where
    outbox = Outbox.open(
        folder, device="d1", settings=OutboxSettings(max_bytes=1 << 20), boot="b1", machine="m1"
    )
    try:
        drain(outbox, receiver, max_bytes=60_000)
        stats = outbox.stats()
        letters = outbox.purge_dead_letters()
        claim = outbox.journal.claim("c1", "ping", "d")
    finally:
        outbox.close()
    assert stats.pending == 0, where
    assert claim.outcome == "known", where
    assert letters == stats.dropped.get("refused: no", 0), where
    assert receiver.unknown(stats.epoch, stats.produced) == [], where


def run(folder: Path, trap: Trap, caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()
    caplog.clear()
    promised = scripted(folder, trap, receiver)
    lines = [record.getMessage() for record in caplog.records]
    lost = sum("can't write" in line for line in lines)
    assert lost <= 1 and sum("writes again" in line for line in lines) == lost, lines
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    check(folder, trap, receiver, promised)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("after", [False, True], ids=["not done", "done but failed"])
def test_every_statement_fails_once(
    after: bool, tmp_path: Path, full: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edgeagent.store")
    free = Trap(0, sqlite3.OperationalError(), after=False)
    run(tmp_path / "free", free, caplog)
    assert free.count > 300
    # All of them in a whole run, else a spread that meets other statements than the last one.
    step = 1 if full else max(1, free.count // 17)
    for number, at in enumerate(range(1 + int(after), free.count + 1, step)):
        error = sqlite3.OperationalError(ERRORS[number % len(ERRORS)])
        trap = Trap(at, error, after=after)
        run(tmp_path / "run", trap, caplog)
        shutil.rmtree(tmp_path / "run")


@pytest.mark.timeout(7200)
def test_every_commit_fails_after_the_fact(
    tmp_path: Path, full: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The commit is on the medium but says that it failed: nothing may be written twice."""

    class Commits(Trap):
        def __call__(self, work: Any, what: str) -> Any:
            return super().__call__(work, what) if what == "COMMIT" else work()

    free = Commits(0, sqlite3.OperationalError(), after=True)
    run(tmp_path / "free", free, caplog)
    for at in range(1, free.count + 1, 1 if full else max(1, free.count // 8)):
        trap = Commits(at, sqlite3.OperationalError("disk I/O error"), after=True)
        receiver = Receiver()
        promised = scripted(tmp_path / "run", trap, receiver)
        check(tmp_path / "run", trap, receiver, promised)
        assert trap.sprung == "COMMIT"
        seen = [
            record["data"]["n"]
            for record in receiver.records[promised["epoch"]].values()
            if record["kind"] == "event" and "n" in record["data"]
        ]
        assert len(seen) == len(set(seen))
        shutil.rmtree(tmp_path / "run")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_file_operation_fails_once(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    if not full and OPERATIONS.index(name) % len(CODES) != CODES.index(code):
        pytest.skip("another error in the reduced run")
    real = getattr(os, name)
    at = 1
    while True:
        at += 1 if full or at < 4 else 15
        trap = Trap(at, OSError(code, os.strerror(code)), after=False)
        quiet = Trap(0, sqlite3.OperationalError(), after=False)
        with monkeypatch.context() as patch:
            patch.setattr(os, name, trap.around(real, name))
            trap.armed = True
            receiver = Receiver()
            try:
                promised = scripted(tmp_path / "run", quiet, receiver)
            except StoreError:
                # While opening for the first time there is nobody to go on: the agent says so
                # and tries again.
                assert trap.sprung
                promised = scripted(tmp_path / "run", quiet, receiver)
            trap.armed = False
        check(tmp_path / "run", quiet, receiver, promised)
        shutil.rmtree(tmp_path / "run")
        if not trap.sprung:
            break
    assert at > 1


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", ["disconnected", "acknowledgement lost", "refused"])
@pytest.mark.parametrize("confirm", ["broker", "collector"])
def test_every_publish_fails_once(how: str, confirm: str, tmp_path: Path, full: bool) -> None:
    """A message does not get there, gets there but says so to nobody, or is refused for good."""
    at = count = 0
    while at <= count:
        at += 1 if full else 4
        count = _published(tmp_path / "run", how, confirm, at)
        shutil.rmtree(tmp_path / "run")
    assert count > 10


def _published(folder: Path, how: str, confirm: str, at: int) -> int:
    """One run in which publish ``at`` fails; how many there were."""
    settings = OutboxSettings(
        max_bytes=1 << 20, events_s=0.002, results_s=0.005, confirm=confirm,  # type: ignore[arg-type]
        resend_after_s=0.01,
    )  # fmt: skip
    outbox = Outbox.open(folder, device="d1", settings=settings, boot="b1", machine="m1")
    receiver, count, refused = Receiver(), 0, 0
    try:
        for number in range(60):
            outbox.append(event(("new", "update", "end")[number % 3], "k", n=number))
            outbox.append(result(number, size=300))
        assert outbox.flush(20)
        deadline = time.monotonic() + 30
        while (stats := outbox.stats()).pending:
            assert time.monotonic() < deadline, (how, at, stats)
            batch = outbox.next_batch(max_bytes=2000)
            if batch is None:
                outbox.connected()
                unknown = receiver.unknown(outbox.epoch, outbox.last_seq)
                missing = [(seq, seq) for seq in unknown]
                outbox.confirmed(outbox.epoch, outbox.last_seq, missing, "main")
                outbox.flush(10)
                continue
            count += 1
            if count != at or how == "acknowledgement lost":
                receiver.take(batch)
            if count != at:
                outbox.delivered(batch)
            elif how == "refused":
                refused = len(batch.seqs)
                outbox.refused(batch, "no")
            else:
                outbox.release(batch)
                outbox.connected()
        assert outbox.flush(10)
        stats = outbox.stats()
        assert stats.dropped.get("refused: no", 0) == stats.dead_letters == refused
        assert receiver.unknown(stats.epoch, stats.produced) == [], (how, at)
    finally:
        outbox.close()
    assert verify(folder, deep=True).ok
    return count


def test_an_error_that_stays_is_waited_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A medium that takes nothing for a while: the queue holds what it can, a gap tells of
    the rest."""
    caplog.set_level(logging.INFO, "edgeagent.store")
    broken = threading.Event()

    class Medium(Trapped):
        def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
            if broken.is_set() and not sql.startswith(("SELECT", "PRAGMA")):
                raise sqlite3.OperationalError("disk I/O error")
            return self._real.execute(sql, parameters)

    settings = OutboxSettings(queue=40, events_s=0.002, results_s=0.005)
    quiet = Trap(0, sqlite3.OperationalError(), after=False)
    outbox = Outbox.open(
        tmp_path, device="d1", settings=settings, boot="b1", machine="m1",
        make=lambda path, read_only: Medium(connect(path, read_only), quiet),
    )  # fmt: skip
    try:
        outbox.append(event("new", "before"))
        assert outbox.flush(5)
        broken.set()
        tickets = [outbox.append(result(number)) for number in range(100)]
        assert not outbox.flush(0.5)
        assert "disk I/O error" in outbox.stats().fault
        with pytest.raises(StoreError):
            outbox._writer.call(lambda committer: None, timeout_s=0.2)
        broken.clear()
        assert outbox.flush(20)
        assert outbox.stats().fault == ""
        lost = sum(bool(ticket.lost) for ticket in tickets)
        assert 0 < lost == outbox.stats().dropped["writer stalled"]
    finally:
        outbox.close()
    lines = [record.getMessage() for record in caplog.records]
    assert sum("can't write" in line for line in lines) == 1
    assert sum("writes again" in line for line in lines) == 1
    assert verify(tmp_path).ok
