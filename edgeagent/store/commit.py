"""Everything that the writing thread does to the database, without the thread.

`Committer` owns the writing connection and what stands on it. Each call is one or more whole
transactions; when one raises, `recover` brings the connection back and says whether the last
transaction is on the medium after all.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from edgeagent.errors import StoreCorrupt, StoreError, StoreFull
from edgeagent.store import epochs
from edgeagent.store.allotment import Allotment, shares
from edgeagent.store.blobs import Shelf, weight
from edgeagent.store.carry import Carrier
from edgeagent.store.database import ZEROS, Connect, Database, connect
from edgeagent.store.delivery import Delivery
from edgeagent.store.encode import Clock
from edgeagent.store.group import STALLED, Group
from edgeagent.store.intake import Events, Intake, backfill
from edgeagent.store.ledger import Ledger
from edgeagent.store.ranges import Ranges
from edgeagent.store.room import Room
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.space import Space
from edgeagent.types import Draft

log = logging.getLogger(__name__)
T = TypeVar("T")
__all__ = ["Committer", "Group"]
_BACKFILL_ROWS = 500
_OTHERS_MS = 30_000.0


class Committer:
    """Raises of all methods: StoreError and its kinds; call `recover` then."""

    def __init__(
        self, folder: Path, identity: epochs.Identity, settings: OutboxSettings, clock: Clock,
        *, in_flight: Callable[[], Ranges] = Ranges, make: Connect = connect,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.path = epochs.database_path(folder)
        self.allotment: Allotment | None = None
        if settings.storage_bytes:
            given = shares(settings.storage_bytes, settings.max_bytes, settings.blobs_bytes)
            self.allotment = Allotment(folder, settings.storage_bytes, given)
            settings = replace(settings, max_bytes=given.outbox, blobs_bytes=given.blobs)
        self.settings = settings
        self.overdrawn = 0
        """Bytes by which others' files pass what even no evidence at all would leave them."""
        self._others_due = 0.0
        self._quota = settings.blobs_bytes
        self.clock = clock
        self.identity = identity
        self.in_flight = in_flight
        self._make = make
        self._session = os.urandom(8).hex()
        self._attempt: tuple[str, int] | None = None
        self.answer: object = None
        """Of the last job, also if its COMMIT failed."""
        self._backfill_ns: int | None = None
        self._backfill_before_ms = 0.0
        self._trusted = clock.synced()
        self._db: Database | None = None
        self._frozen = False
        self.delivery = Delivery(self)
        self.stood_aside = 0
        """How many times a database was set aside since the start."""
        self._start()

    # --- opening -------------------------------------------------------------------------

    def _start(self) -> None:
        reason = "database lost" if epochs.read_mark(self.folder) else "new"
        if self.path.exists():
            try:
                self._open()
                return
            except StoreCorrupt as error:
                self._set_aside(str(error))
                reason = "database damaged"
            except _OtherOwner as error:
                self._set_aside(str(error))
                reason = str(error)
        elif epochs.asides(self.folder):
            reason = "database damaged"
        self._begin(reason)

    def _open(self) -> None:
        """Open the present database. Raises StoreCorrupt, _OtherOwner, StoreTooNew, StoreError."""
        space = Space(self.path, self.settings.max_bytes)
        db = epochs.open_writable(self.path, space, self._make)
        try:
            epochs.check(db, self.path)
            self._own(db)
            self._stand(db, space)
        except (StoreError, _OtherOwner) as error:
            self._drop_connection(db)
            self._db = None
            if "readonly" in str(error) and os.access(self.path, os.W_OK):
                # A changed version byte in the header makes SQLite refuse to write.
                raise StoreCorrupt(f"{self.path}: it calls itself read-only") from error
            raise

    def _own(self, db: Database) -> None:
        row = db.one("SELECT device, machine FROM account")
        if row is None:
            raise StoreCorrupt(f"{self.path} holds no account")
        if row[1] != self.identity.machine:
            raise _OtherOwner("database of another machine")
        if row[0] != self.identity.device:
            raise _OtherOwner("device has another id")

    def _stand(self, db: Database, space: Space) -> None:
        """Build all that stands on a connection."""
        self._db, self.space = db, space
        self.end_erasing()
        self.ledger = Ledger(
            db, boot=self.identity.boot, clock=self.clock, before=partial(space.bound_log, db)
        )
        self.ledger.trusted = self._trusted
        self.events = Events(self.ledger, self._session)
        self.shelf = Shelf(self.folder / "blobs", self.ledger, self._quota)
        self.intake = Intake(
            self.ledger, self.events, self.shelf.keep,
            max_record_bytes=self.settings.max_record_bytes, group_bytes=space.group_bytes,
        )  # fmt: skip
        self.intake.backfill_ns = self._backfill_ns or 0
        self.intake.backfill_before_ms = self._backfill_before_ms
        self.room = Room(self.ledger, space, self.settings, lambda: self.in_flight())
        self.carrier = Carrier(self.folder, self.ledger, space.group_bytes)
        self.shelf.sweep()
        self._judge()
        if self.settings.confirm == "broker" and self.ledger.acked:
            self.ledger.begin()
            self.ledger.trust_broker()
            self.ledger.commit()
        self.ledger.secure()

    def _begin(self, reason: str) -> None:
        # First: with the new one beside them all, it would be more than was allotted.
        epochs.prune(self.folder, self.settings.max_bytes)
        epochs.begin(
            self.folder, self.identity, self.clock, self.settings.max_bytes, reason, self._make
        )
        self._open()

    def _set_aside(self, why: str) -> None:
        log.warning("the outbox begins a new epoch: %s", why)
        self.stood_aside += 1
        epochs.set_aside(self.folder)

    @property
    def standing(self) -> bool:
        """False = the connection is gone, and not back yet."""
        return self._db is not None

    def new_epoch(self, reason: str) -> str:
        """Set the present database aside, begin anew; its pending records will be carried."""
        self._replace(reason)
        return self.ledger.epoch

    def _replace(self, reason: str, why: str = "") -> None:
        self.close()
        self._set_aside(why or reason)
        self._begin(reason)
        self.job(lambda _: self.events.forget())

    # --- committing ----------------------------------------------------------------------

    def commit(self, group: Group) -> None:
        """Put a group on the medium; ``group.results`` are its numbers."""
        self._attempt = None
        self._make_room()
        self._make_room_on_shelf(weight(group.drafts), group)
        self.ledger.begin()
        self._apply(group)
        if group.stalled:
            self.ledger.skip(group.stalled, STALLED)
        group.results = self.intake.take(group.drafts)
        self.take_lost()
        self._attempt = (self.ledger.epoch, self.ledger.commits + 1)
        self.ledger.commit()
        self.shelf.committed()

    def take_lost(self) -> None:
        """Write down, within the transaction, what evidence is lost."""
        while self.shelf.lost:
            lost, self.shelf.lost = self.shelf.lost, []
            self.intake.take(lost)

    def _apply(self, group: Group) -> None:
        ops = () if group.applied else group.ops
        for op in ops:
            op(self.ledger)

    def _make_room_on_shelf(self, size: int, group: Group | None = None) -> None:
        """In a transaction before that which needs it. What ``group`` says of evidence (sent,
        gone) comes first: it may be room enough."""
        if not self.shelf.short(size):
            return
        self.ledger.begin()
        if group is not None:
            self._apply(group)
        self.shelf.make_room(size)
        self.take_lost()
        self.ledger.commit()
        self.shelf.committed()
        if group is not None:
            group.applied = True

    def job(self, work: Callable[[Ledger], T]) -> T:
        """One transaction of its own, with an answer."""
        self._attempt = None
        self.ledger.begin()
        answer = self.answer = work(self.ledger)
        self._attempt = (self.ledger.epoch, self.ledger.commits + 1)
        self.ledger.commit()
        self.shelf.committed()
        return answer

    def end_erasing(self) -> None:
        """Free what an erasure has filled, also one that was cut short, and say to SQLite whether
        pages that become free are overwritten from now on. Raises StoreError."""
        assert self._db is not None
        # These pages hold nothing: there is no need to write them again.
        self._db.run("PRAGMA secure_delete = OFF")
        self._db.run(f"DROP TABLE IF EXISTS {ZEROS}")
        self._db.run(f"PRAGMA secure_delete = {'ON' if self.settings.overwrite else 'FAST'}")

    def cancel(self) -> bool:
        """End a job that failed for a reason of its own, not of the store's. Always True."""
        if self._db is not None and self._db.roll_back():
            self._reload()
        return True

    def end_left(self) -> int:
        """End what a former process left open. How many events."""

        def end(_: Ledger) -> int:
            drafts = self.events.end_left()
            todo: Sequence[Draft] = drafts
            while todo:
                todo = todo[len(self.intake.take(todo)) :]
            return len(drafts)

        return self.job(end)

    def _make_room(self) -> None:
        # First: writing the log back shows whether the disk still gives blocks.
        self.space.bound_log(self.ledger.db)
        self._tell_frozen()
        need = self.space.group_bytes * 5 // 4
        full = self.room.short(need) and not self.room.make(need)
        if full != self.intake.refuse_results:
            self.intake.refuse_results = full
            log.warning("the outbox %s", "is full" if full else "has room again")

    def maintain(self) -> bool:
        """One small step of what can wait. True = there is more to do now."""
        self._attempt = None
        self.space.thaw(self.ledger.db)
        self._tell_frozen()
        self._look_at_others()
        if self._backfill_ns is not None and self.ledger.unsynced:
            return self._backfill(self._backfill_ns)
        if self.carrier.waiting():
            self._make_room()
            return not self.intake.refuse_results and self.carrier.step()
        return self.room.expire() or self._fold()

    def _look_at_others(self) -> None:
        """Others wrote more than their share without asking (somebody copied models): evidence
        gives way, then a quarantine that is only kept for a look."""
        now_ms = self.clock.mono_ms()
        if self.allotment is None or now_ms < self._others_due:
            return
        self._others_due = now_ms + _OTHERS_MS
        excess = max(0, self.allotment.others() - self.allotment.shares.others)
        self._quota = self.shelf.quota = max(0, self.settings.blobs_bytes - excess)
        self.overdrawn = max(0, excess - self.settings.blobs_bytes)
        self._make_room_on_shelf(0)
        if self.overdrawn:
            import shutil

            shutil.rmtree(self.folder / "quarantine", ignore_errors=True)

    def _fold(self) -> bool:
        if not self.ledger.crowded:
            return False
        self.ledger.begin()
        folded = self.ledger.fold()
        if folded:
            self.ledger.commit()
        else:
            # An empty commit would write a page for nothing, again and again.
            self.ledger.db.run("ROLLBACK")
        return folded

    def _backfill(self, offset_ns: int) -> bool:
        self.ledger.begin()
        more = backfill(self.ledger, offset_ns, limit=_BACKFILL_ROWS)
        self.ledger.commit()
        return more

    def clock_synced(self, wall_ns: int, mono_ms: float) -> None:
        """Trust the clock from now on, and let `maintain` correct what came before."""
        if self._trusted:
            return
        self._trusted = self.ledger.trusted = True
        self._backfill_ns = self.intake.backfill_ns = wall_ns - int(mono_ms * 1e6)
        self._backfill_before_ms = self.intake.backfill_before_ms = mono_ms

    # --- failing -------------------------------------------------------------------------

    def recover(self, error: StoreError) -> bool:
        """Bring the store back after ``error``. True = the failed transaction is on the medium
        (its COMMIT failed after the fact): do not repeat it.

        Raises: StoreError, if it can't be brought back yet: call again later.
        """
        if isinstance(error, StoreCorrupt):
            self._replace("database damaged", str(error))
            return False
        try:
            if self._db is None:
                self._start()
            else:
                if not self._db.roll_back():
                    raise StoreError(f"{self.path}: can't roll back")
                self._reload()
            if isinstance(error, StoreFull):
                self._full()
        except StoreCorrupt as worse:
            return self.recover(worse)
        except StoreError:
            self._abandon()
            raise
        return self._attempt is not None

    def _judge(self) -> None:
        """Whether the last attempt landed, before anything else is committed."""
        if self._attempt is not None:
            epoch, commits = self._attempt
            if epoch != self.ledger.epoch or self.ledger.commits < commits:
                self._attempt = None

    def _reload(self) -> None:
        assert self._db is not None
        # Making room may have been cut short (`Room.make`).
        self._db.run("PRAGMA synchronous = FULL")
        self.end_erasing()
        self.ledger.load()
        self.events.load()
        self.shelf.load()
        self._judge()
        self.ledger.secure()

    def _full(self) -> None:
        self.space.write_back(self.ledger.db)
        self._tell_frozen()
        self.room.make(self.space.group_bytes * 5 // 4)

    def _tell_frozen(self) -> None:
        if self.space.frozen != self._frozen:
            self._frozen = self.space.frozen
            log.warning(
                "the disk %s",
                "is full: the outbox goes on within what it has"
                if self._frozen
                else "has room again",
            )

    def close(self) -> None:
        """Close the connection; the log is written back by SQLite. Never raises."""
        self._abandon()

    def _abandon(self) -> None:
        if self._db is not None:
            self.carrier.close()
            self._drop_connection(self._db)
            self._db = None

    @staticmethod
    def _drop_connection(db: Database) -> None:
        try:
            db.close()
        except StoreError as error:
            log.debug("closing a failed connection: %s", error)


class _OtherOwner(Exception):
    """The database is sound, but not this device's."""
