"""How an outbox behaves: plain numbers, taken from the configuration by the agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

MIB = 1024 * 1024

WhenFull = Literal["thin", "drop-oldest", "drop-newest"]
Confirm = Literal["broker", "collector"]


class OutboxSettings(Struct, frozen=True):
    """The settings of one outbox. Sizes in bytes, durations in seconds."""

    max_bytes: int = 64 * MIB
    """Database, write-ahead log and its index together; at least 1 MiB. A quarantined database
    lies beside it and is at most as big once more."""
    when_full: WhenFull = "thin"
    events_s: float = 0.05
    """Events, deployments, gaps are on the medium this long after `append` at the latest."""
    results_s: float = 1.0
    """The same for everything else."""
    keep_sent_s: float = 3600.0
    """How long delivered records are kept for a collector that asks again."""
    blobs_bytes: int = 64 * MIB
    queue: int = 4096
    """Drafts that may wait for the writing thread; a quarter is kept free for events."""
    queue_bytes: int = 8 * MIB
    """The same in bytes of evidence."""
    max_record_bytes: int = 60 * 1024
    """A longer record is refused as ``too large`` (a batch of one must fit a message)."""
    confirm: Confirm = "broker"
    collectors: tuple[str, ...] = ("main",)
    resend_after_s: float = 30.0
    priorities: Mapping[str, int] = field(default_factory=dict)
    """Pipeline → 0..9 (5 where absent); each step keeps twice as much when thinning."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Pipeline → part of the outbox (0..1) beyond which it is thinned more than others."""
    written_per_day: int | None = None
    """Bytes that this process may put on the medium a day; beyond it results get coarser."""
    storage_bytes: int = 0
    """Cap on everything in the outbox's folder, others' files too; 0 = none. Where it leaves too
    little, ``max_bytes`` and ``blobs_bytes`` are scaled down (`allotment.shares`)."""
    overwrite: bool = False
    """Overwrite all that is deleted, at the cost of one more write of each page."""
