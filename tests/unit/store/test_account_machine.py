"""The account holds whatever happens: appends, deliveries, refusals, confirms, full disks of
one MiB, crashes between any two transactions, re-openings, epochs.

The machine drives the committer without its thread, so that a failing case can be repeated.
After every step `verify` must find the database sound; at the end everything is delivered, and
the receiver must know of every seq that was ever given.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import store_play
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from edgeagent.store import epochs
from edgeagent.store.batch import Batch
from edgeagent.store.commit import Committer, Group
from edgeagent.store.erase import Wish, erase
from edgeagent.store.lanes import Lanes
from edgeagent.store.ranges import Ranges
from edgeagent.store.reading import Reading
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.verify import verify
from edgeagent.types import Evidence


class AccountMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="account-"))
        self.clock = store_play.TurnedClock()
        self.receiver = store_play.Receiver()
        self.flying: list[Batch] = []
        self.highest: dict[str, int] = {}
        self.open_events: set[str] = set()
        self.appended = 0

    @initialize(
        when_full=st.sampled_from(["thin", "drop-oldest", "drop-newest"]),
        confirm=st.sampled_from(["broker", "collector"]),
        keep=st.sampled_from([0.0, 60.0]),
    )
    def begin(self, when_full: Any, confirm: Any, keep: float) -> None:
        self.settings = OutboxSettings(
            max_bytes=1 << 20, when_full=when_full, confirm=confirm, keep_sent_s=keep,
            resend_after_s=30.0, blobs_bytes=20_000, collectors=("main", "second"),
        )  # fmt: skip
        self._open()

    def _open(self, machine: str = "m1") -> None:
        self.committer = Committer(
            self.folder, epochs.Identity("d1", machine, "b1"), self.settings, self.clock
        )
        self.reading = Reading(self.committer.path, self._suspect)
        self.lanes = Lanes(
            self.reading, self.clock.mono_ms,
            collecting=self.settings.confirm == "collector", patience_s=30.0,
        )  # fmt: skip
        self.committer.in_flight = self.lanes.in_flight
        self._reset()

    def _suspect(self, error: Exception, epoch: str) -> None:
        raise AssertionError(error)

    def _reset(self) -> None:
        ledger = self.committer.ledger
        self.reading.renew()
        self.lanes.reset(ledger.epoch, ledger.produced, ledger.settled, ledger.acked)
        self.flying.clear()
        self._after()

    def _after(self) -> None:
        ledger = self.committer.ledger
        self.lanes.committed(ledger.produced)
        self.highest[ledger.epoch] = max(ledger.produced, self.highest.get(ledger.epoch, 0))
        assert self.highest[ledger.epoch] == ledger.produced, "a seq was given back"

    def _commit(self, *drafts: Any, ops: tuple[Any, ...] = (), stalled: int = 0) -> None:
        todo = list(drafts)
        while todo or ops or stalled:
            group = Group(todo, ops, stalled)
            self.committer.commit(group)
            assert group.results or not todo
            todo = todo[len(group.results) :]
            ops, stalled = (), 0
        self._after()

    @rule(count=st.integers(1, 60), size=st.sampled_from([0, 300, 3000, 20_000]))
    def append(self, count: int, size: int) -> None:
        drafts = []
        for number in range(count):
            self.clock.go(0.2)
            drafts.append(store_play.result(number, size=size, score=number / 60, track=number % 3))
        self.appended += count
        self._commit(*drafts)

    @rule(count=st.integers(200, 900))
    def append_many(self, count: int) -> None:
        self.append(count, 300)

    @rule(phase=st.sampled_from(["new", "update", "end"]), key=st.sampled_from("abc"))
    def append_event(self, phase: str, key: str) -> None:
        self.clock.go(0.2)
        draft = store_play.event(phase, key)
        if phase == "new":
            draft.evidence = (Evidence("image/jpeg", key.encode() * 7000),)
        self._commit(draft)

    @rule()
    def append_too_large(self) -> None:
        self._commit(store_play.result(1), store_play.result(2, size=100_000), store_play.result(3))

    @rule(count=st.integers(1, 9000))
    def stall(self, count: int) -> None:
        self._commit(stalled=count)

    @rule(lane=st.sampled_from(["live", "backlog", "resend"]), size=st.integers(500, 60_000))
    def send(self, lane: Any, size: int) -> None:
        batch = self.lanes.take(lane, size, 500)
        if batch is not None:
            self.flying.append(batch)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), heard=st.booleans())
    def acknowledge(self, data: Any, heard: bool) -> None:
        batch = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        # An acknowledged batch may still be lost behind the broker.
        if heard or self.settings.confirm == "broker":
            self.receiver.take(batch)
        self._acked(batch)

    def _acked(self, batch: Batch) -> None:
        if self.lanes.acked(batch) and batch.lane != "resend":
            verb = (
                self.committer.delivery.ack
                if self.settings.confirm == "collector"
                else self.committer.delivery.settle
            )
            self._commit(ops=(lambda _: verb(batch.epoch, batch.seqs),))

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def refuse(self, data: Any) -> None:
        batch = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        one = batch
        while len(one.seqs) > 1:
            one, other = one.split()
            self.lanes.release(other)
        if self.lanes.refused(one):
            self._commit(ops=(lambda _: self.committer.delivery.refuse(one.epoch, one.seqs, "no"),))

    @rule()
    def disconnect(self) -> None:
        for batch in self.flying:
            self.lanes.release(batch)
        self.flying.clear()
        self.lanes.connected()

    @rule(by=st.sampled_from(["main", "second"]))
    def confirm(self, by: str) -> None:
        epoch = self.committer.ledger.epoch
        known = self.receiver.records.get(epoch, {}).keys() | self.receiver.told.get(epoch, set())
        upto = min(max(known, default=0), self.committer.ledger.produced)
        got = Ranges((seq, seq) for seq in known if seq <= upto)
        missing = Ranges(got.absent(1, upto))
        again = self.lanes.missed(missing, upto, by)
        self._commit(
            ops=(
                lambda _: self.lanes.confirmed(
                    self.committer.delivery.confirm(epoch, by, got, again)
                ),
            )
        )

    @rule(share=st.integers(1, 4), undelivered=st.booleans(), scrub=st.booleans())
    def erase(self, share: int, undelivered: bool, scrub: bool) -> None:
        """Also what is on its way to the broker: its acknowledgement comes too late."""
        upto = self.committer.ledger.produced * share // 4
        old = lambda seq, _: 0 < seq <= upto  # noqa: E731
        wish = Wish(old, undelivered=undelivered, upto=upto, scrub=scrub)
        done = erase(self.committer, wish)
        assert done.undelivered == 0 or undelivered
        self._after()

    @rule(seconds=st.sampled_from([1.0, 40.0, 3700.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.go(seconds)
        for _ in range(40):
            if not self.committer.maintain():
                break
        self._after()

    @rule()
    def crash(self) -> None:
        """What is not committed is gone; the log stays as it is."""
        twin = Path(tempfile.mkdtemp(prefix="account-"))
        shutil.copytree(self.folder, twin, dirs_exist_ok=True)
        self.committer.close()
        self.reading.renew()
        shutil.rmtree(self.folder)
        self.folder = twin
        self._open()

    @rule()
    def reopen(self) -> None:
        self.committer.close()
        self.reading.renew()
        self._open()

    @rule()
    def broker_knows_more(self) -> None:
        self.committer.new_epoch("the broker knows more")
        self._reset()

    @invariant()
    def sound(self) -> None:
        if not hasattr(self, "committer"):
            return
        report = verify(self.folder)
        assert report.ok, report
        assert report.produced == report.delivered + report.pending + sum(report.dropped.values())
        assert self.committer.space.used_bytes() <= self.settings.max_bytes
        assert self.committer.shelf.bytes <= self.settings.blobs_bytes

    def teardown(self) -> None:
        try:
            if hasattr(self, "committer"):
                self._drain()
                self.committer.close()
                self.reading.renew()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _drain(self) -> None:
        self.disconnect()
        while self.committer.maintain():
            self._after()
        for _ in range(2000):
            batch = self.lanes.next(60_000, 1000)
            if batch is None and self.settings.confirm == "collector":
                self.clock.go(4000)
                self.confirm("main")
                self.confirm("second")
                batch = self.lanes.next(60_000, 1000)
            if batch is None:
                break
            self.receiver.take(batch)
            self._acked(batch)
        ledger = self.committer.ledger
        assert ledger.pending == 0, ledger.account()
        assert self.receiver.unknown(ledger.epoch, ledger.produced) == []
        for epoch, highest in self.highest.items():
            if epoch != ledger.epoch:
                # Carried records are told by what they were; the end of it is told as unknown.
                assert epoch in self.receiver.open_ended
                was = {
                    record["was"]["seq"]
                    for records in self.receiver.records.values()
                    for record in records.values()
                    if record.get("was", {}).get("epoch") == epoch
                }
                unknown = set(self.receiver.unknown(epoch, highest)) - was
                assert all(seq >= self.receiver.open_ended[epoch] for seq in unknown)


_FULL = os.environ.get("EDGEAGENT_TESTS") == "full"
AccountMachine.TestCase.settings = settings(
    max_examples=500 if _FULL else 8,
    stateful_step_count=50 if _FULL else 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Shrinking whole databases takes longer than reading the failing steps.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
TestAccount = AccountMachine.TestCase
TestAccount.pytestmark = [pytest.mark.timeout(3600 if _FULL else 120)]
