"""A disk that others fill and free: the store goes on within what it has, and tells the truth."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_play import Receiver, drain, event, pages_of, result

from edgeagent.errors import StoreCorrupt, StoreError
from edgeagent.store import database
from edgeagent.store.allotment import tree_bytes
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.verify import verify
from edgeagent.types import Evidence

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 24 MiB."""
    point = tmp_path / "disk"
    point.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(point)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    yield point
    subprocess.run(["umount", "-l", str(point)], check=True)


def fill(disk: Path) -> Path:
    """Another program takes every block that is left."""
    hog = disk / "hog"
    with hog.open("ab", buffering=0) as file:
        try:
            for size in (65536, 4096, 1):
                while True:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        break
        finally:
            file.flush()
    assert os.statvfs(disk).f_bavail == 0
    return hog


def opened(disk: Path, **keys: object) -> Outbox:
    settings = OutboxSettings(
        **{"max_bytes": 8 * MIB, "events_s": 0.01, "results_s": 0.02, "queue": 2000, **keys}  # type: ignore[arg-type]
    )
    return Outbox.open(disk / "outbox", device="d1", settings=settings, boot="b1", machine="m1")


@pytest.mark.parametrize("policy", ["thin", "drop-oldest", "drop-newest"])
def test_full_then_freed(disk: Path, policy: str) -> None:
    outbox = opened(disk, when_full=policy)
    try:
        for number in range(3000):
            outbox.append(result(number, size=300))
            if number % 500 == 0:
                outbox.flush(10)
        assert outbox.flush(10)
        hog = fill(disk)
        before = outbox.stats()
        longest = 0.0
        for number in range(6000):
            began = time.perf_counter()
            outbox.append(result(number, size=300))
            if number % 100 == 0:
                outbox.append(event("new", f"k{number}"))
            longest = max(longest, time.perf_counter() - began)
            if number % 500 == 0:
                # It does not stall: there are blocks that it has reserved.
                assert outbox.flush(20), outbox.stats().fault
                fill(disk)
        assert outbox.flush(20)
        assert longest < 0.5
        during = outbox.stats()
        assert during.produced > before.produced + 6000
        assert sum(during.dropped.values()) > 0
        assert during.stalled == 0 and "writer stalled" not in during.dropped
        assert outbox.append(event("new", "now")).wait(5)
        claim = outbox.journal.claim("c1", "ping", "d")
        assert claim.outcome == "new"
        assert verify(disk / "outbox", deep=True).ok
        assert os.statvfs(disk).f_bavail == 0
        hog.unlink()
        # Upkeep finds the room; then it grows again.
        deadline = time.monotonic() + 20
        while outbox._committer.space.frozen:
            assert time.monotonic() < deadline
            outbox.remember("look", b"again")
        dropped = sum(outbox.stats().dropped.values())
        for number in range(2000):
            outbox.append(result(number, size=300))
            if number % 500 == 0:
                outbox.flush(10)
        assert outbox.flush(10)
        assert sum(outbox.stats().dropped.values()) <= dropped + 1
        receiver = Receiver()
        drain(outbox, receiver, max_bytes=60_000)
        assert receiver.unknown(outbox.epoch, outbox.last_seq) == []
        assert outbox.stats().pending == 0
    finally:
        outbox.close()
    assert verify(disk / "outbox", deep=True).ok


def test_started_on_a_full_disk(disk: Path) -> None:
    outbox = opened(disk)
    outbox.append(event("new", "k"))
    outbox.flush(5)
    outbox.close()
    hog = fill(disk)
    outbox = opened(disk, queue=100)
    try:
        tickets = [outbox.append(result(number, size=300)) for number in range(500)]
        outbox.flush(3)
        hog.unlink()
        assert outbox.flush(30), outbox.stats().fault
        stats = outbox.stats()
        lost = sum(bool(ticket.lost) for ticket in tickets)
        assert sum(stats.dropped.values()) >= lost
        assert stats.produced == stats.delivered + stats.pending + sum(stats.dropped.values())
    finally:
        outbox.close()
    assert verify(disk / "outbox", deep=True).ok


def test_the_sum_of_all_files_stays_below_its_cap(
    disk: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """Sampled all the time: evidence, two damaged databases, a clone and a new schema in it."""
    cap = 16 * MIB
    peaks: list[int] = []
    quarantined: list[bool] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            peaks.append(tree_bytes(disk / "outbox"))
            quarantined.append((disk / "outbox" / "quarantine").is_dir())

    def load(outbox: Outbox) -> None:
        for number in range(15_000 if full else 4000):
            outbox.append(result(number, size=400))
            if number % 50 == 0:
                draft = event("new", f"k{number}")
                draft.evidence = (Evidence("image/jpeg", os.urandom(9000)),)
                outbox.append(draft)
            if number % 500 == 0:
                assert outbox.flush(20)
        assert outbox.flush(20)

    keys = {"max_bytes": 5 * MIB, "blobs_bytes": 3 * MIB, "storage_bytes": cap}
    path = disk / "outbox" / "db" / "outbox.db"
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        outbox = opened(disk, **keys)
        load(outbox)
        for _ in range(2):
            outbox.close()
            with path.open("r+b") as file:
                file.seek(pages_of(path) // 2 * 4096)
                file.write(b"\x5a" * 20_000)
            outbox = opened(disk, **keys)
            load(outbox)
            deadline = time.monotonic() + 60
            while verify(disk / "outbox").carrying:
                assert time.monotonic() < deadline
                outbox.append(result(0))
                outbox.flush(20)
            load(outbox)
            outbox._writer.suspect(StoreCorrupt("a page can't be read"), outbox.epoch)
            load(outbox)
        outbox.new_epoch("cloned")
        load(outbox)
        outbox.close()
        steps = database.schema_steps()
        newer = {**steps, 2: ["ALTER TABLE record ADD COLUMN more INTEGER",
                              "CREATE INDEX record_kind ON record (kind)"]}  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(database, "schema_steps", lambda: newer)
            migrated = database.Database(path)
            migrated.prepare_to_write()
            migrated.migrate()
            migrated.close()
    finally:
        stop.set()
        watcher.join()
    assert any(quarantined)
    assert 10 * MIB < max(peaks) <= cap, max(peaks) / MIB


def test_a_dead_device_s_file_on_a_medium_that_can_not_be_written(disk: Path) -> None:
    outbox = opened(disk)
    outbox.append(event("new", "k"))
    outbox.flush(5)
    shutil.copytree(disk / "outbox" / "db", disk / "pulled")
    shutil.copytree(disk / "pulled", disk / "bare")
    (disk / "bare" / "outbox.db-shm").unlink()
    outbox.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        report = verify(disk / "outbox", deep=True)
        assert report.ok and report.pending == 1
        assert verify(disk / "pulled" / "outbox.db", deep=True).pending == 1
        # With a log, but without the log's index or a place for it: said, not guessed.
        with pytest.raises(StoreError, match="unable to open") as caught:
            verify(disk / "bare" / "outbox.db")
        assert "Copy it" in caught.value.remedy
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
