"""Power cuts at any write, by durability class: what was committed is there, no seq comes twice.

Documented loss: a draft that is not on the medium when the power fails, i.e. younger than
``durability.events`` or ``durability.results``. A ticket that was resolved is never lost.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from store_play import TurnedClock, event, result

apsw = pytest.importorskip("apsw")

from power import Disk, Machine  # noqa: E402

from edgeagent.errors import StoreError  # noqa: E402
from edgeagent.store import epochs  # noqa: E402
from edgeagent.store.commit import Committer, Group  # noqa: E402
from edgeagent.store.database import connect  # noqa: E402
from edgeagent.store.settings import OutboxSettings  # noqa: E402
from edgeagent.store.space import Space  # noqa: E402
from edgeagent.store.verify import verify  # noqa: E402

WHO = epochs.Identity("d1", "m1", "b1")
CLASSES: dict[str, dict[str, Any]] = {
    "events": {"group": 1, "kind": "event", "size": 0, "max_bytes": 8 << 20},
    "results": {"group": 30, "kind": "result", "size": 300, "max_bytes": 8 << 20},
    "full": {"group": 30, "kind": "result", "size": 2000, "max_bytes": 1 << 20},
}


class Run:
    """One machine until its power fails, and what it had promised until then."""

    def __init__(self, folder: Path, of: dict[str, Any], seed: int, fails_at: int) -> None:
        self.folder, self.of, self.clock = folder, of, TurnedClock()
        self.settings = OutboxSettings(max_bytes=of["max_bytes"], keep_sent_s=5.0)
        self.disk = Disk(seed, fails_at)
        self.machine = Machine(self.disk)
        self.promised: list[int] = []
        """Seqs whose commit has returned."""
        self.published: list[int] = []
        self.claimed: list[str] = []

    def go(self) -> None:
        try:
            committer = Committer(
                self.folder, WHO, self.settings, self.clock, make=self.machine.connect
            )
        except StoreError:
            assert self.disk.dead
            return
        try:
            for number in range(60):
                self._group(committer, number)
                self._deliver(committer)
                if number % 7 == 0:
                    name = f"c{number}"
                    committer.job(
                        lambda ledger, name=name: ledger.db.run(
                            "INSERT OR REPLACE INTO memory VALUES (?, x'00')", (name,)
                        )
                    )
                    self.claimed.append(name)
                committer.maintain()
        except StoreError:
            assert self.disk.dead
        finally:
            if not self.disk.dead:
                self.disk.cut()
            committer.close()

    def _group(self, committer: Committer, number: int) -> None:
        drafts = []
        for index in range(self.of["group"]):
            self.clock.go(0.2)
            if self.of["kind"] == "event":
                drafts.append(event(("new", "update", "end")[number % 3], "k", n=number))
            else:
                drafts.append(result(number * 100 + index, size=self.of["size"]))
        while drafts:
            group = Group(drafts)
            committer.commit(group)
            self.promised += [seq for seq, _ in group.results]
            drafts = drafts[len(group.results) :]

    def _deliver(self, committer: Committer) -> None:
        """Publish some of what may be published, as the lanes would."""
        ledger = committer.ledger
        if self.disk.random.random() < 0.5:
            return
        oldest = ledger.oldest_pending()
        rows = ledger.db.rows("SELECT seq FROM record WHERE seq >= ? LIMIT 20", (oldest,))
        seqs = [seq for (seq,) in rows if seq not in ledger.settled]
        if seqs:
            self.published += seqs
            committer.commit(Group(ops=(lambda _: committer.delivery.settle(ledger.epoch, seqs),)))


def check(run: Run) -> None:
    """Open it again on a sound disk."""
    existed = (run.folder / "db" / "outbox.db").exists()
    epoch = (epochs.read_mark(run.folder) or epochs.Mark("", "", "", "")).epoch
    if existed and run.promised:
        report = verify(run.folder, deep=True)
        assert report.ok, report
        assert report.produced >= max(run.promised)
    committer = Committer(run.folder, WHO, run.settings, run.clock, make=connect)
    try:
        if epoch:
            assert committer.ledger.epoch == epoch
        ledger = committer.ledger
        for seq in run.promised:
            there = ledger.db.value("SELECT 1 FROM record WHERE seq = ?", (seq,))
            assert there or seq in ledger.settled or _told(ledger, seq), seq
        for name in run.claimed:
            assert ledger.db.value("SELECT 1 FROM memory WHERE key = ?", (name,))
        group = Group([result(1)])
        committer.commit(group)
        assert group.results[0][0] > max(run.published, default=0)
        report = verify(run.folder, deep=True)
        assert report.ok, report
    finally:
        committer.close()


def _told(ledger: Any, seq: int) -> bool:
    return any(bits >> (seq % 4096) & 1 for _, bits in ledger._covers(seq // 4096))


@pytest.fixture(autouse=True)
def _no_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    # Blocks are reserved beside SQLite, which the held-back writes would not show.
    monkeypatch.setattr(Space, "reserve", lambda self, db: None)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CLASSES)
def test_cuts_at_random_writes(name: str, tmp_path: Path, full: bool) -> None:
    whole = Run(tmp_path / "whole", CLASSES[name], seed=0, fails_at=0)
    whole.go()
    whole.machine.gone()
    assert len(whole.promised) >= 60
    operations = whole.disk.operations
    cuts = 500 if full else 12
    cut_early = 0
    for number in range(cuts):
        fails_at = 1 + operations * number // cuts + whole.disk.random.randrange(3)
        run = Run(tmp_path / "run", CLASSES[name], seed=number, fails_at=fails_at)
        run.go()
        cut_early += run.disk.operations >= fails_at
        check(run)
        run.machine.gone()
        shutil.rmtree(run.folder)
    assert cut_early >= cuts * 9 // 10


def test_the_disk_does_lose_what_is_not_synced(tmp_path: Path) -> None:
    """The shim itself: without a sync, commits go lost."""
    lost = 0
    for seed in range(20):
        disk = Disk(seed, 0)
        machine = Machine(disk)
        path = tmp_path / f"{seed}.db"
        db = machine.connect(path, False)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
                          "CREATE TABLE t (x)", "PRAGMA synchronous = OFF"):  # fmt: skip
            db.execute(statement)
        for number in range(50):
            db.execute("INSERT INTO t VALUES (?)", (number,))
        disk.cut()
        db.close()
        other = connect(path, False)
        lost += 50 - next(iter(other.execute("SELECT count(*) FROM t")))[0]
        other.close()
        machine.gone()
    assert lost > 300
