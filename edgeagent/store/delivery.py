"""What became of records that left: the changes that acknowledgements, refusals and confirms
make, each inside the transaction of a group.

What names another epoch than the present one came too late and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from edgeagent.store.encode import GAP, Clock
from edgeagent.store.ledger import BLOCK, Ledger
from edgeagent.store.ranges import Ranges, runs
from edgeagent.store.room import Room
from edgeagent.store.settings import OutboxSettings

log = logging.getLogger(__name__)
DEAD_LETTERS = 100
"""Refused records kept for a look, the newest."""
_RETELL_BLOCKS = 16
_HEAL_BLOCKS = 64


class _Stand(Protocol):
    """What delivery stands on; another one after each reopening (the committer)."""

    ledger: Ledger
    room: Room
    settings: OutboxSettings
    clock: Clock


class Delivery:
    """Belongs to the writing thread. Raises of all methods: StoreError."""

    def __init__(self, stand: _Stand) -> None:
        self._stand = stand
        self._heal_from = 0

    def settle(
        self, epoch: str, seqs: Sequence[int], spans: Iterable[tuple[int, int]] | None = None
    ) -> None:
        """Delivered for good; kept for a while. ``spans``: `Batch.spans`."""
        if epoch == self._stand.ledger.epoch:
            self._stand.ledger.settle(seqs)
            held = runs(seqs) if spans is None else spans
            self._stand.room.kept.add(held, self._stand.clock.mono_ms())

    def ack(self, epoch: str, seqs: Sequence[int]) -> None:
        """With the broker; pending until confirmed."""
        if epoch == self._stand.ledger.epoch:
            self._stand.ledger.ack(seqs)

    def confirm(self, epoch: str, by: str, got: Ranges, again: Ranges) -> Ranges:
        """A collector has ``got`` and misses ``again``. Returns what all collectors have, or
        were told of: none of it is sent any more."""
        if epoch != self._stand.ledger.epoch:
            return Ranges()
        done = self._stand.ledger.confirm(self._stand.settings.collectors, by, got)
        # Who has it will not ask again.
        self._stand.room.kept.release(done)
        asked = Ranges(
            part for first, last in again for part in self._stand.ledger.settled.within(first, last)
        )
        # A gap a block goes through the log: what is beyond a few is missed again soon.
        oldest = next(iter(asked), (0, 0))[0] // BLOCK
        self._stand.ledger.retell(Ranges(asked.within(1, (oldest + _RETELL_BLOCKS) * BLOCK)))
        return self._stand.ledger.common(self._stand.settings.collectors)

    def refuse(self, epoch: str, seqs: Sequence[int], reason: str) -> None:
        """Dead letters: kept aside for a look, told by a gap."""
        if epoch != self._stand.ledger.epoch:
            return
        db, at = self._stand.ledger.db, self._stand.ledger.stamp()[0]
        # A gap is never dropped: it will be tried again.
        refused = [
            seq
            for seq in self._stand.ledger.pending_among(seqs)
            if db.value("SELECT kind FROM record WHERE seq = ?", (seq,)) != GAP
        ]
        for seq in refused:
            db.run(
                "INSERT OR REPLACE INTO dead SELECT ?, seq, ?, ?, body FROM record WHERE seq = ?",
                (epoch, reason, at, seq),
            )
        # Newest by number: the time may be one of 1970.
        db.run(
            "DELETE FROM dead WHERE (epoch, seq) NOT IN (SELECT epoch, seq FROM dead ORDER BY"
            " epoch = ? DESC, CASE epoch WHEN ? THEN '' ELSE at END DESC, seq DESC LIMIT ?)",
            (epoch, epoch, DEAD_LETTERS),
        )
        if refused:
            self._stand.ledger.drop(refused, f"refused: {reason}")

    def spoil(self, epoch: str, seqs: Sequence[int]) -> None:
        """The medium has changed these bodies: a gap tells of them."""
        if epoch == self._stand.ledger.epoch:
            log.warning("%d records can't be read any more", len(seqs))
            self._stand.ledger.spoil(sorted(seqs))

    def heal(self) -> None:
        """Look for records that the medium has lost, some blocks a time."""
        before = self._stand.ledger.dropped
        self._heal_from = self._stand.ledger.heal(self._heal_from, _HEAL_BLOCKS)
        if self._stand.ledger.dropped > before:
            log.warning("%d records are gone from the medium", self._stand.ledger.dropped - before)
