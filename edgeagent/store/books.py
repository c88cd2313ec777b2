"""The account in memory and in its tables: figures, reasons, sets of seqs.

Nothing here begins or ends a transaction by itself: the writer calls `Books.begin`, changes,
and `Books.commit`; after a failure it calls `Books.load`, because memory may be ahead.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from edgeagent.errors import StoreCorrupt
from edgeagent.store.database import Database, Row
from edgeagent.store.encode import Clock, rfc3339
from edgeagent.store.ranges import Ranges

FOLD_AT = 256
"""Delivered gaps or ranges that are remembered one by one before they are folded."""


class Account(Struct, frozen=True):
    """The figures as of a commit."""

    epoch: str
    commits: int
    produced: int
    delivered: int
    pending: int
    dropped: dict[str, int]


def stored_ranges(db: Database, name: str) -> list[tuple[int, int]]:
    """A set of seqs as it is in the table `range`. Raises StoreError and its kinds."""
    rows = db.rows("SELECT first, last FROM range WHERE name = ?", (name,))
    for first, last in rows:
        if not (isinstance(first, int) and isinstance(last, int) and 0 < first <= last):
            raise StoreCorrupt(f"{db.path}: the range {name!r} {first!r}..{last!r} can't be")
    return [(first, last) for first, last in rows]


class Books:
    """The account as it is in memory, between `load` and `commit`. Belongs to one thread."""

    def __init__(
        self, db: Database, *, boot: str, clock: Clock, before: Callable[[], None]
    ) -> None:
        """``before`` is called before each transaction (it keeps the log within bounds)."""
        self.db = db
        self._before = before
        self.boot = boot
        self.clock = clock
        self.trusted = clock.synced()
        self.load()

    def load(self) -> None:
        """Take everything from the database: at the start and after a failed transaction.

        Raises:
            StoreCorrupt: the account is not there or can't be.
        """
        row = self.db.one(
            "SELECT epoch, commits, produced, delivered, pending, folded, folded_dropped, level"
            " FROM account"
        )
        if row is None:
            raise StoreCorrupt(f"{self.db.path} holds no account")
        try:
            self._take(row)
            sound = (
                len(self.epoch) == 26
                and self.produced == self.delivered + self.pending + self.dropped
                and 0 <= self.folded <= self.produced >= self.settled.last
            )
        except (TypeError, ValueError) as error:
            raise StoreCorrupt(f"{self.db.path}: the account can't be read: {error}") from error
        if not sound:
            raise StoreCorrupt(f"{self.db.path}: the account does not add up")

    def _take(self, row: Row) -> None:
        self.epoch: str = row[0]
        figures = [int(figure) for figure in row[1:]]
        self.commits, self.produced, self.delivered, self.pending = figures[:4]
        self.folded, self.folded_dropped, self.level = figures[4:]
        self.reasons: dict[str, int] = dict(self.db.rows("SELECT reason, count FROM dropped"))
        self._changed_reasons: set[str] = set()
        self._sets: dict[str, Ranges] = {}
        for (name,) in self.db.rows("SELECT DISTINCT name FROM range"):
            self._sets[name] = Ranges(stored_ranges(self.db, name), tracked=True)
        self.gaps = int(self.db.value("SELECT count(*) FROM gap"))
        self.levels: dict[int, int] = dict(self.db.rows("SELECT block, level FROM block"))

    # --- sets of seqs --------------------------------------------------------------------

    def ranges(self, name: str) -> Ranges:
        found = self._sets.get(name)
        if found is None:
            found = self._sets[name] = Ranges(tracked=True)
        return found

    @property
    def settled(self) -> Ranges:
        return self.ranges("settled")

    @property
    def acked(self) -> Ranges:
        return self.ranges("acked")

    @property
    def unsynced(self) -> Ranges:
        """Records of this boot that carry a time which is not trusted."""
        return self.ranges(f"unsynced {self.boot}")

    @property
    def dropped(self) -> int:
        return sum(self.reasons.values())

    def account(self) -> Account:
        return Account(
            self.epoch, self.commits, self.produced, self.delivered, self.pending,
            dict(self.reasons),
        )  # fmt: skip

    # --- transactions --------------------------------------------------------------------

    def begin(self) -> None:
        self._before()
        self.db.run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Write the account and end the transaction; then all of it is on the medium."""
        self.commits += 1
        for reason in self._changed_reasons:
            count = self.reasons[reason]
            if count:
                self.db.run("INSERT OR REPLACE INTO dropped VALUES (?, ?)", (reason, count))
            else:
                self.db.run("DELETE FROM dropped WHERE reason = ?", (reason,))
        for name, ranges in self._sets.items():
            for first, last in ranges.take_changes().items():
                if last is None:
                    self.db.run("DELETE FROM range WHERE name = ? AND first = ?", (name, first))
                else:
                    self.db.run(
                        "INSERT OR REPLACE INTO range VALUES (?, ?, ?)", (name, first, last)
                    )
        self.db.run(
            "UPDATE account SET commits = ?, produced = ?, delivered = ?, pending = ?,"
            " dropped = ?, folded = ?, folded_dropped = ?, level = ?",
            (
                self.commits, self.produced, self.delivered, self.pending, self.dropped,
                self.folded, self.folded_dropped, self.level,
            ),
        )  # fmt: skip
        self.db.run("COMMIT")
        self._changed_reasons.clear()

    def secure(self) -> None:
        """Put on the medium whatever this or a former process has committed: a transaction
        that was written but not synced can be read, yet a power cut would take it back."""
        self.begin()
        self.commit()

    def stamp(self) -> tuple[str, str, int]:
        """at, clock, mono_ms of now."""
        return (
            rfc3339(self.clock.wall_ns()),
            "synced" if self.trusted else "unsynced",
            int(self.clock.mono_ms()),
        )

    def count(self, reason: str, count: int) -> None:
        """Count ``count`` records as dropped for ``reason``."""
        if not count:
            return
        self.reasons[reason] = self.reasons.get(reason, 0) + count
        self._changed_reasons.add(reason)

    def oldest_pending(self) -> int:
        """The smallest pending seq; ``produced + 1`` where nothing is pending."""
        for first, last in self.settled.absent(1, self.produced):
            seq = self.db.value(
                "SELECT seq FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT 1",
                (first, last),
            )
            if seq is not None:
                return int(seq)
        return self.produced + 1

    def set_level(self, block: int, level: int) -> None:
        """A block has been thinned to ``level``."""
        self.levels[block] = level
        self.db.run("INSERT OR REPLACE INTO block VALUES (?, ?)", (block, level))
