"""The outbox: everything that a device decided, until somebody else has it.

`Outbox` is the face of the store. Any thread appends; one writing thread commits in groups;
the link's thread takes batches and hands them back. Numbers, gaps and the account are the
ledger's (`ledger.py`), which record comes next is said by `lanes.py`, the thread is
`writer.py`, and where an epoch begins is `epochs.py`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent import clock as system_clock
from edgeagent.errors import EdgeAgentError, StoreCorrupt, StoreError
from edgeagent.store import epochs, held
from edgeagent.store.allotment import Allotment
from edgeagent.store.batch import Batch, Lane
from edgeagent.store.blobs import BlobShelf
from edgeagent.store.commit import Committer
from edgeagent.store.database import Connect, connect
from edgeagent.store.encode import Clock, decoded
from edgeagent.store.entry import barred, locked
from edgeagent.store.journal import Journal
from edgeagent.store.lanes import Lanes
from edgeagent.store.ledger import Ledger
from edgeagent.store.ranges import Ranges
from edgeagent.store.reading import Reading
from edgeagent.store.recent import Cursor, following, newest
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.stats import OutboxStats
from edgeagent.store.writer import Ticket, Writer
from edgeagent.types import Draft

if TYPE_CHECKING:
    from edgeagent.store.erase import Erased, Wish

log = logging.getLogger(__name__)
_DOUBT_MS = 600_000.0
__all__ = ["Outbox", "OutboxStats", "Ticket"]


class Outbox:
    """See the module. Every method may be called from any thread unless it says otherwise."""

    def __init__(self, committer: Committer, lock: int, make: Connect) -> None:
        """Use `Outbox.open`."""
        self.testing = False
        """What is begun from now on is a test: automations and counts must not move."""
        self._tests: set[str] = set()
        """Events that are tests, by key."""
        self._lock = lock
        self._committer = committer
        self._clock = committer.clock
        self._born_ms = self._clock.mono_ms()
        self._writer = Writer(committer, self._swapped)
        self._reading = Reading(committer.path, self._writer.suspect, make)
        settings = committer.settings
        self._lanes = Lanes(
            self._reading, self._clock.mono_ms,
            collecting=settings.confirm == "collector", patience_s=settings.resend_after_s,
        )  # fmt: skip
        committer.in_flight = self._lanes.in_flight
        self._news = threading.Event()
        self._seen = (0, 0, "", 0.0)
        self._doubted_ms = self._born_ms
        self._swapped()
        self._writer.listeners.append(self._committed)
        self.settings = settings
        self.folder = committer.folder
        self.journal = Journal(self._writer, self._reading)
        self.blobs = BlobShelf(
            committer.folder / "blobs", self._reading, self._writer.post, self._lanes.is_sent,
            lambda sha256: self._writer.post(lambda _: committer.shelf.gone(sha256), 0.05),
        )  # fmt: skip

    @classmethod
    def open(
        cls, folder: Path, *, device: str, settings: OutboxSettings, boot: str, machine: str,
        clock: Clock = system_clock, make: Connect = connect,
    ) -> Outbox:  # fmt: skip
        """Open or create the outbox in ``folder`` and start its writing thread.

        A damaged database is set aside and what can be read is carried into a new epoch; so is
        one that belongs to another machine (``machine`` = a hash of machine-id) or id.

        Raises:
            Busy: another process has it open.
            StoreTooNew: a newer agent wrote it.
            NotPermitted: the folder, or a file of the database, may not be written.
            StoreError: it can't be written for another reason.
            UsageError: ``settings.max_bytes`` is below 1 MiB, or ``folder`` is a file.
        """
        lock = locked(folder)
        try:
            identity = epochs.Identity(device, machine, boot)
            committer = Committer(folder, identity, settings, clock, make=make)
        except (StoreError, OSError) as error:
            os.close(lock)
            raise barred(folder, error) from error
        except BaseException:
            os.close(lock)
            raise
        outbox = cls(committer, lock, make)
        outbox._writer.start()
        return outbox

    # --- producing -----------------------------------------------------------------------

    def append(self, draft: Draft) -> Ticket:
        """Queue a record; microseconds, never blocks, never raises. A full queue loses the
        draft and a gap ``writer stalled`` tells of it. (After `close`: ``closed``, untold.)"""
        if self.testing or self._tests:
            self._mark(draft)
        return self._writer.append(draft)

    def _mark(self, draft: Draft) -> None:
        """An event is a test from its beginning to its end, or not at all."""
        phase = draft.data.get("phase") if draft.event else "new"
        if phase == "new":
            draft.test = draft.test or self.testing
            if draft.event and draft.test:
                self._tests.add(draft.event)
            return
        draft.test = draft.event in self._tests
        if phase == "end":
            self._tests.discard(draft.event)

    def flush(self, timeout_s: float) -> bool:
        """Commit what is queued now. False when time is up."""
        return self._writer.flush(timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Commit what is queued, stop the thread, let go of the files."""
        if self._lock < 0:
            return
        self._writer.close(timeout_s)
        if self._writer.alive:
            # It hangs in the operating system; what it has open is not for anybody else yet.
            log.error("the outbox can't be closed: its thread does not answer")
            return
        self._reading.renew()
        self._committer.space.hold()
        held.release(self.folder)
        os.close(self._lock)
        self._lock = -1

    @property
    def allotment(self) -> Allotment | None:
        """Whom to ask before writing into the data folder; None = there is no cap."""
        return self._committer.allotment

    @property
    def epoch(self) -> str:
        return self._writer.account.epoch

    @property
    def last_seq(self) -> int:
        """The last committed seq; 0 = none yet."""
        return self._writer.account.produced

    @property
    def alive(self) -> bool:
        """False = the writing thread has ended (see ``stats().fault``)."""
        return self._writer.alive

    def close_open_events(self) -> int:
        """End the events that a former process left open (reason ``restarted``). How many."""
        return self._writer.call(lambda committer: committer.end_left())

    def clock_synced(self) -> None:
        """The wall clock is trusted from now on: records of this boot that were written before
        are back-filled while they are pending."""
        wall_ns, mono_ms = self._clock.wall_ns(), self._clock.mono_ms()
        self._writer.call(lambda committer: committer.clock_synced(wall_ns, mono_ms))

    def new_epoch(self, reason: str) -> str:
        """Begin a new epoch (the broker has seen seqs of this one that we never gave). Pending
        records move into it by and by. Returns the new epoch. Raises StoreError."""
        return self._writer.call(lambda committer: committer.new_epoch(reason))

    def lost_epoch(self, epoch: str) -> None:
        """A retained status names an epoch that this database knows nothing of (a re-flashed
        device): a gap tells that its end is unknown. Idempotent. Raises StoreError."""

        def tell(ledger: Ledger) -> None:
            known = ledger.db.value("SELECT 1 FROM past WHERE epoch = ?", (epoch,))
            if epoch != ledger.epoch and known is None:
                ledger.tell_epoch(epoch, 1, "not known to this device")

        self._writer.transact(tell)

    # --- publishing (one thread: the link's) ---------------------------------------------

    def connected(self) -> None:
        """A connection begins: what is committed from now on is live, the rest backlog."""
        self._lanes.connected()

    def next_batch(self, *, max_bytes: int, max_records: int = 1000) -> Batch | None:
        """The batch to send next: re-sent before live; each 4th from the backlog, and all when
        nothing else is there. None = nothing to send (or not readable now)."""
        return self._taken(lambda: self._lanes.next(max_bytes, max_records))

    def pending(self, lane: Lane, *, max_bytes: int, max_records: int = 1000) -> Batch | None:
        """The next batch of one lane; its records count as in flight until handed back.
        A single record larger than ``max_bytes`` comes alone."""
        return self._taken(lambda: self._lanes.take(lane, max_bytes, max_records))

    def urgent(self, *, max_bytes: int, max_records: int = 1000) -> Batch | None:
        """The oldest events, deployments and gaps alone, while results must wait."""
        return self._taken(lambda: self._lanes.urgent(max_bytes, max_records))

    def _taken(self, take: Callable[[], Batch | None]) -> Batch | None:
        try:
            batch = take()
        except StoreCorrupt as error:
            # The writer puts it right; there is more later.
            self._writer.suspect(error, self._lanes.epoch)
            return None
        except StoreError:
            return None
        if self._lanes.spoiled:
            epoch, delivery = self._lanes.epoch, self._committer.delivery
            spoiled, self._lanes.spoiled = self._lanes.spoiled, []
            self._writer.post(lambda _: delivery.spoil(epoch, spoiled), within_s=0.05)
        if batch is None:
            self._doubt()
        return batch

    def _doubt(self) -> None:
        """Nothing to send, yet records are pending: with the broker, on their way, or gone from
        the medium. Look now and then."""
        now_ms = self._clock.mono_ms()
        if self._writer.account.pending and now_ms - self._doubted_ms >= _DOUBT_MS:
            self._doubted_ms = now_ms
            delivery = self._committer.delivery
            self._writer.post(lambda _: delivery.heal())

    def wait_pending(self, timeout_s: float) -> bool:
        """Block until something was committed since the last call. False when time is up."""
        found = self._news.wait(timeout_s)
        self._news.clear()
        return found

    def on_commit(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` in the writing thread after each commit (for a wake-up pipe). It must
        neither block nor raise."""
        self._writer.listeners.append(wake)

    def delivered(self, batch: Batch) -> None:
        """PUBACK with success. In ``collector`` mode: with the broker, still pending."""
        if not self._lanes.acked(batch) or batch.lane == "resend":
            return
        epoch, seqs, delivery = batch.epoch, batch.seqs, self._committer.delivery
        if self.settings.confirm == "collector":
            self._writer.post(lambda _: delivery.ack(epoch, seqs))
        else:
            spans = batch.spans
            self._writer.post(lambda _: delivery.settle(epoch, seqs, spans))

    def refused(self, batch: Batch, reason: str) -> None:
        """The broker will never take these: dead letters, told by a gap ``refused: …``.
        ``reason`` is one of few words (``packet too large``): gaps are merged by it."""
        if self._lanes.refused(batch):
            epoch, seqs, delivery = batch.epoch, batch.seqs, self._committer.delivery
            self._writer.post(lambda _: delivery.refuse(epoch, seqs, reason), within_s=0.05)

    def release(self, batch: Batch) -> None:
        """Not acknowledged (connection lost): to be sent again."""
        self._lanes.release(batch)

    def confirmed(self, epoch: str, upto: int, missing: Iterable[tuple[int, int]], by: str) -> bool:
        """A collector's confirm (contract §2), in either mode.

        Returns False, and does nothing, where it names seqs of this epoch that were never
        given: the sign for `new_epoch`.
        """
        if epoch != self.epoch:
            return True
        if upto > self.last_seq:
            return False
        got = Ranges([(1, upto)] if upto > 0 else [])
        misses = Ranges((first, min(last, upto)) for first, last in missing if first <= upto)
        got.subtract(misses)
        again = self._lanes.missed(misses, upto, by)
        delivery, lanes = self._committer.delivery, self._lanes
        self._writer.post(
            lambda _: lanes.confirmed(delivery.confirm(epoch, by, got, again)), within_s=0.2
        )
        return True

    # --- small things kept for others ----------------------------------------------------

    def remember(self, key: str, value: bytes | None) -> None:
        """Keep ``value`` under ``key`` (None = forget it). Blocks until it is on the medium.
        Raises StoreError."""

        def keep(ledger: Ledger) -> None:
            if value is None:
                ledger.db.run("DELETE FROM memory WHERE key = ?", (key,))
            else:
                ledger.db.run("INSERT OR REPLACE INTO memory VALUES (?, ?)", (key, value))

        self._writer.transact(keep)

    def recall(self, key: str) -> bytes | None:
        """Raises StoreError."""
        found = self._reading.value("SELECT value FROM memory WHERE key = ?", (key,))
        return None if found is None else bytes(found)

    def recall_all(self, prefix: str) -> dict[str, bytes]:
        """Everything under keys that begin with ``prefix``. Raises StoreError."""
        rows = self._reading.rows(
            "SELECT key, value FROM memory WHERE substr(key, 1, ?) = ?", (len(prefix), prefix)
        )
        return {key: bytes(value) for key, value in rows}

    def purge_dead_letters(self) -> int:
        """Forget what the broker refused (the gaps stay). How many. Raises StoreError."""

        def purge(ledger: Ledger) -> int:
            count = int(ledger.db.value("SELECT count(*) FROM dead"))
            ledger.db.run("DELETE FROM dead")
            return count

        return self._writer.transact(purge)

    def erase(self, wish: Wish) -> Erased:
        """Erase records, evidence and dead letters (`erase.erase`). Raises StoreError."""
        from edgeagent.store.erase import erase

        return self._writer.call(lambda committer: erase(committer, wish), 600.0)

    # --- looking on ------------------------------------------------------------------------

    def newest(self, kind: str, most: int) -> tuple[list[dict[str, Any]], Cursor]:
        """As `recent.newest`."""
        return newest(self._reading, kind, most)

    def following(
        self, kind: str, cursor: Cursor, most: int
    ) -> tuple[list[dict[str, Any]], Cursor]:
        """As `recent.following`."""
        return following(self._reading, kind, cursor, most)

    # --- figures -------------------------------------------------------------------------

    def stats(self) -> OutboxStats:
        """Cheap enough for once a second; never raises: what can't be read now is as it was
        before, and ``fault`` says why."""
        account, writer = self._writer.account, self._writer
        fault = writer.fault
        try:
            self._seen = self._look()
        except EdgeAgentError as error:
            fault = fault or str(error)
        blob_bytes, dead_letters, at, since_ms = self._seen
        return OutboxStats(
            epoch=account.epoch, produced=account.produced, delivered=account.delivered,
            pending=account.pending, dropped=dict(account.dropped), queued=writer.queued,
            stalled=writer.stalled, bytes=writer.used_bytes, blob_bytes=blob_bytes,
            dead_letters=dead_letters, oldest_pending_at=at,
            oldest_pending_age_s=max(0.0, (self._clock.mono_ms() - since_ms) / 1000) if at else 0.0,
            written_bytes=writer.wear.written_bytes, written_today_bytes=writer.wear.today_bytes,
            coarse_s=writer.wear.coarse_s, overdrawn_bytes=self._committer.overdrawn, fault=fault,
        )  # fmt: skip

    def _look(self) -> tuple[int, int, str, float]:
        """Bytes of blobs, dead letters, at and boot time of the oldest pending record."""
        blob_bytes = int(self._reading.value("SELECT coalesce(sum(bytes), 0) FROM blob"))
        letters = int(self._reading.value("SELECT count(*) FROM dead"))
        body = self._lanes.oldest_pending()
        if body is None:
            return blob_bytes, letters, "", 0.0
        record = decoded(body)
        since_ms = self._born_ms
        if record.get("boot") == self._committer.identity.boot:
            since_ms = float(record.get("mono_ms", since_ms))
        return blob_bytes, letters, str(record.get("at", "")), since_ms

    # --- called by the writing thread ----------------------------------------------------

    def _committed(self) -> None:
        self._lanes.committed(self._writer.account.produced)
        self._news.set()

    def _swapped(self) -> None:
        """Another database (and epoch) took the place of the former."""
        ledger = self._committer.ledger
        self._writer.account = ledger.account()
        self._reading.renew()
        self._lanes.reset(ledger.epoch, ledger.produced, ledger.settled, ledger.acked)
