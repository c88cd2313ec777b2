"""The outbox: everything that a device decided, until somebody else has it.

`Outbox` is the face of the store. Any thread appends; one writing thread commits in groups;
the link's thread takes batches and hands them back. Numbers, gaps and the account are the
ledger's (`ledger.py`), which lane comes next is `lanes.py`, the loop is `writer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeagent import types
from edgeagent.store.batch import Batch, Lane
from edgeagent.store.settings import OutboxSettings


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """The account as of the last commit: ``produced = delivered + pending + sum(dropped)``."""

    epoch: str
    produced: int
    delivered: int
    pending: int
    dropped: dict[str, int]
    """By reason."""
    last_seq: int
    queued: int
    """Drafts waiting to be committed."""
    stalled: int
    """Drafts lost to a full queue that no gap tells of yet."""
    bytes: int
    """Database, write-ahead log and index on disk now."""
    blob_bytes: int
    kept_sent: int
    """Delivered records that are kept for a collector that asks again."""
    dead_letters: int
    oldest_pending_at: str
    """RFC 3339, empty = nothing pending."""
    oldest_pending_age_s: float
    """By CLOCK_BOOTTIME where it is of this boot, else since the process began."""
    written_bytes: int
    """Put on the medium by the writing thread since it started."""
    written_today_bytes: int
    fault: str
    """What keeps the store from writing now; empty = nothing."""


class Ticket:
    """Receipt of one `Outbox.append`."""

    __slots__ = ("lost", "seq")

    seq: int | None
    """The record's number once it is committed, i.e. safe from a power cut."""
    lost: str
    """Why the record itself is gone (a gap tells of it); empty = it is not."""

    def wait(self, timeout_s: float) -> int | None:
        """Block until committed. Returns the seq, or None when time is up or it is lost."""
        raise NotImplementedError


class Outbox:
    """See the module. Every method may be called from any thread unless it says otherwise."""

    @classmethod
    def open(
        cls, folder: Path, *, device: str, settings: OutboxSettings, boot: str, machine: str,
    ) -> Outbox:
        """Open or create the outbox in ``folder`` and start its writing thread.

        A damaged database is set aside and what can be read is carried into a new epoch; so is
        one that belongs to another machine (``machine`` = a hash of machine-id).

        Raises:
            Busy: another process has it open.
            StoreTooNew: a newer agent wrote it.
            StoreError: the folder can't be written.
        """
        raise NotImplementedError

    # --- producing (any thread) ---
    def append(self, draft: types.Draft) -> Ticket:
        """Queue a record; microseconds, never blocks, never raises. A full queue loses the
        draft and a gap ``writer stalled`` tells of it."""
        raise NotImplementedError

    def flush(self, timeout_s: float) -> bool:
        """Commit what is queued now. False when time is up."""
        raise NotImplementedError

    def close(self, timeout_s: float = 5.0) -> None: ...
    def stats(self) -> OutboxStats: ...

    epoch: str
    last_seq: int

    def close_open_events(self) -> int:
        """End the events that a former process left open (reason ``restarted``). How many."""
        raise NotImplementedError

    def clock_synced(self) -> None:
        """The wall clock is trusted from now on: records of this boot that were written before
        are back-filled."""

    def new_epoch(self, reason: str) -> str:
        """Begin a new epoch (the broker has seen seqs of this one that we never gave). Pending
        records move into it. Blocks some ms. Returns the new epoch."""
        raise NotImplementedError

    def lost_epoch(self, epoch: str) -> None:
        """A retained status names an epoch that this database knows nothing of (re-flashed
        device): a gap tells that its end is unknown. Idempotent."""

    # --- publishing (one thread: the link's) ---
    def connected(self) -> None:
        """A connection begins: what is committed from now on is live, the rest backlog."""

    def next_batch(self, *, max_bytes: int, max_records: int = 1000) -> Batch | None:
        """The batch to send next: re-sent and live first, each 4th from the backlog."""
        raise NotImplementedError

    def pending(self, lane: Lane, *, max_bytes: int, max_records: int = 1000) -> Batch | None:
        """The next batch of one lane; its records count as in flight until handed back.
        A single record larger than ``max_bytes`` comes alone."""
        raise NotImplementedError

    def wait_pending(self, timeout_s: float) -> bool:
        """Block until something new was committed since the last call (or resend is due)."""
        raise NotImplementedError

    def on_commit(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` in the writing thread after each commit (for a wake-up pipe)."""

    def delivered(self, batch: Batch) -> None:
        """PUBACK with success. In ``collector`` mode: sent, still pending."""

    def refused(self, batch: Batch, reason: str) -> None:
        """The broker will never take these: dead letters, told by a gap."""

    def release(self, batch: Batch) -> None:
        """Not acknowledged (connection lost): to be sent again."""

    def confirmed(
        self, epoch: str, upto: int, missing: Iterable[tuple[int, int]], by: str
    ) -> None:
        """A collector's confirm (contract §2), in either mode."""

    # --- small things kept for others ---
    def remember(self, key: str, value: bytes | None) -> None:
        """Keep ``value`` under ``key`` (None = forget). Blocks until on the medium."""

    def recall(self, key: str) -> bytes | None: ...
    def recall_all(self, prefix: str) -> dict[str, bytes]: ...

    # outbox.journal: edgeagent.store.journal.Journal
    # outbox.blobs:   edgeagent.store.blobs.BlobShelf
    #   next() -> BlobToSend(sha256, bytes, type, next_index) | None  (its record is delivered)
    #   read(sha256, index, chunk_bytes) -> bytes; progress(sha256, next_index); sent(sha256)
