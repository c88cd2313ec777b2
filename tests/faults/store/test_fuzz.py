"""Bytes of the database changed at random: it opens, takes records, and its books are true."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from store_play import Receiver, drain, event, pages_of, result

from edgeagent.errors import StoreError, StoreTooNew
from edgeagent.store import export
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.verify import verify
from edgeagent.types import Evidence

BEFORE = 200
"""More than is delivered before the damage."""
Damage = Callable[[bytearray, random.Random], None]


def opened(folder: Path) -> Outbox:
    settings = OutboxSettings(max_bytes=2 << 20, events_s=0.005, results_s=0.01)
    return Outbox.open(folder, device="d1", settings=settings, boot="b1", machine="m1")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outbox with something in every table."""
    folder = tmp_path_factory.mktemp("fuzz") / "outbox"
    outbox = opened(folder)
    for number in range(300):
        outbox.append(result(number, size=70_000 if number % 40 == 5 else 100))
        if number % 30 == 0:
            draft = event("new", f"k{number}", n=number)
            draft.evidence = (Evidence("image/jpeg", b"%d" % number * 100),)
            outbox.append(draft)
    outbox.flush(10)
    for _ in range(3):
        batch = outbox.next_batch(max_bytes=4000)
        assert batch
        outbox.delivered(batch)
    batch = outbox.next_batch(max_bytes=100)
    assert batch
    outbox.refused(batch, "no")
    outbox.lost_epoch("01" + "A" * 24)
    outbox.journal.claim("c1", "ping", "d")
    outbox.remember("key", b"value")
    outbox.flush(10)
    outbox.close()
    return folder


def few_bytes(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 20)):
        data[chance.randrange(len(data))] = chance.randrange(256)


def bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 5)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def stretch(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    length = min(chance.choice([16, 512, 4096, 30_000]), len(data) - start)
    data[start : start + length] = chance.randbytes(length)


def page_swapped(data: bytearray, chance: random.Random) -> None:
    pages = len(data) // 4096
    one, two = chance.randrange(pages) * 4096, chance.randrange(pages) * 4096
    data[one : one + 4096], data[two : two + 4096] = data[two : two + 4096], data[one : one + 4096]


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def head(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(min(100, len(data)))] = chance.randrange(256)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("damage", [few_bytes, bits, stretch, page_swapped, cut, head])
def test_a_changed_database(sound: Path, tmp_path: Path, full: bool, damage: Damage) -> None:
    size = pages_of(sound / "db" / "outbox.db") * 4096
    original = (sound / "db" / "outbox.db").read_bytes()[:size]
    for seed in range(300 if full else 8):
        chance = random.Random(f"{damage.__name__} {seed}")
        folder = tmp_path / "outbox"
        shutil.copytree(sound, folder)
        data = bytearray(original)
        damage(data, chance)
        (folder / "db" / "outbox.db").write_bytes(data)
        where = f"{damage.__name__} {seed}"
        look(folder)
        try:
            outbox = opened(folder)
        except StoreTooNew:
            # The changed bytes are the schema's version: what a newer agent wrote is left alone.
            shutil.rmtree(folder)
            continue
        try:
            receiver = Receiver()
            ticket = outbox.append(event("new", "after"))
            assert ticket.wait(20), (where, outbox.stats())
            drain(outbox, receiver)
            tickets = [outbox.append(result(number)) for number in range(50)]
            assert outbox.flush(20), (where, outbox.stats())
            assert all(made.seq for made in tickets), where
            deliver(outbox, receiver, where)
            assert outbox.alive, where
        finally:
            outbox.close()
        outbox = opened(folder)
        assert outbox.append(event("new", "again")).wait(20), where
        outbox.close()
        shutil.rmtree(folder)


def deliver(outbox: Outbox, receiver: Receiver, where: str) -> None:
    """Until nothing is pending: then all seqs of the epoch are known to the receiver."""
    deadline = time.monotonic() + 20
    while outbox.stats().pending or verify(outbox.folder).carrying:
        assert time.monotonic() < deadline, (where, outbox.stats())
        outbox.connected()
        outbox._doubted_ms = 0.0
        if not drain(outbox, receiver):
            outbox.wait_pending(0.05)
    # What was delivered before the damage is not in this receiver's books.
    unknown = len(receiver.unknown(outbox.epoch, outbox.last_seq))
    assert unknown <= BEFORE, where


def look(folder: Path) -> None:
    """What people run on the file of a dead device: an answer or a StoreError, nothing else."""
    for work in (
        lambda: verify(folder, deep=True),
        lambda: export.peek(folder, 1000),
        lambda: list(export.csv_lines(folder)),
        lambda: export.dead_letters(folder),
    ):
        try:
            work()
        except StoreError:
            continue


@pytest.mark.parametrize("damage", [few_bytes, stretch, cut])
def test_a_changed_log(sound: Path, tmp_path: Path, full: bool, damage: Damage) -> None:
    """A log that a crash left, with changed bytes: what is behind them is not taken."""
    made = tmp_path / "made"
    outbox = opened(made)
    for number in range(200):
        outbox.append(result(number, size=300))
    outbox.flush(10)
    for seed in range(100 if full else 6):
        chance = random.Random(f"{damage.__name__} {seed}")
        folder = tmp_path / "outbox"
        (folder / "db").mkdir(parents=True)
        for name in ("outbox.db", "outbox.db-wal"):
            data = bytearray((made / "db" / name).read_bytes())
            if name.endswith("wal"):
                part = data[:200_000]
                damage(part, chance)
                data = part
            (folder / "db" / name).write_bytes(data)
        other = opened(folder)
        assert other.append(event("new", "after")).wait(20), seed
        report = verify(folder, deep=True)
        assert report.ok, (seed, report)
        other.close()
        shutil.rmtree(folder)
    outbox.close()
