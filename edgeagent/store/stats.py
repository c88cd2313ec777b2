"""The outbox in figures, for whoever shows them."""

from __future__ import annotations

from msgspec import Struct


class OutboxStats(Struct, frozen=True):
    """The account as of the last commit: ``produced = delivered + pending + sum(dropped)``."""

    epoch: str
    produced: int
    """Also the last seq."""
    delivered: int
    pending: int
    dropped: dict[str, int]
    """By reason."""
    queued: int
    """Drafts waiting to be committed."""
    stalled: int
    """Drafts lost to a full queue that no gap tells of yet."""
    bytes: int
    """Database, write-ahead log and index on disk now."""
    blob_bytes: int
    dead_letters: int
    oldest_pending_at: str
    """RFC 3339; empty = nothing is pending."""
    oldest_pending_age_s: float
    """By CLOCK_BOOTTIME; of an earlier boot: since this process began."""
    written_bytes: int
    """Put on the medium by this process."""
    written_today_bytes: int
    """The same within the last 24 hours, also by its predecessors."""
    coarse_s: int
    """One result is kept in so many seconds and pipeline, since the day's budget of bytes
    written is overspent; 0 = all are."""
    overdrawn_bytes: int
    """By so much the data folder is above ``storage.max``, because of others' files."""
    fault: str
    """What keeps the store from writing now; empty = nothing."""
