"""Making room: what goes first when the outbox is full, within bounded transactions.

Delivered records that are only kept in case a collector asks go first; then, by ``when_full``,
results are thinned, or the oldest records dropped. Gaps are never dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from edgeagent.store.database import PAGE
from edgeagent.store.encode import DEPLOYMENT, GAP
from edgeagent.store.ledger import BLOCK, Ledger
from edgeagent.store.ranges import Ranges
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.space import Space
from edgeagent.store.thin import TOP_LEVEL, Thinnable, thinnable, victims, worthwhile

THINNED = "outbox full: thinned"
OLDEST = "outbox full: oldest dropped"
_ROWS = 1000
_ROW = 16
"""What a row takes on its page besides the body, about."""
_HEADROOM = 16 * PAGE
_BUCKET_MS = 60_000.0
_SAMPLE = 8
_FEW = 8
"""Victims that are not worth a first gap in their block (a gap takes 200 to 1,400 bytes)."""


class Kept:
    """Since when delivered records are kept, to the minute. Known for this process only: what
    was delivered before counts from its start, so nothing expires by a clock that jumps."""

    def __init__(self, now_ms: float, upto: int) -> None:
        self._buckets: deque[tuple[float, Ranges]] = deque()
        if upto:
            self._buckets.append((now_ms, Ranges([(1, upto)])))

    def add(self, ranges: Iterable[tuple[int, int]], now_ms: float) -> None:
        if not self._buckets or now_ms - self._buckets[-1][0] > _BUCKET_MS:
            self._buckets.append((now_ms, Ranges()))
        self._buckets[-1][1].update(ranges)

    def release(self, ranges: Iterable[tuple[int, int]]) -> None:
        """These need not be kept at all."""
        if not self._buckets or self._buckets[0][0] >= 0:
            self._buckets.appendleft((-1.0, Ranges()))
        self._buckets[0][1].update(ranges)

    def oldest(self, older_than_ms: float) -> Ranges | None:
        """The oldest bucket if it began before ``older_than_ms``."""
        if self._buckets and self._buckets[0][0] <= older_than_ms:
            return self._buckets[0][1]
        return None

    def drop_oldest(self) -> None:
        self._buckets.popleft()


class Room:
    """Frees pages of one database. Runs in the writing thread, outside its transactions."""

    def __init__(
        self, ledger: Ledger, space: Space, settings: OutboxSettings,
        in_flight: Callable[[], Ranges],
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._space = space
        self._settings = settings
        self._in_flight = in_flight
        self.kept = Kept(ledger.clock.mono_ms(), ledger.produced)
        self._oldest_from = 1

    def short(self, need: int) -> bool:
        """Whether ``need`` more bytes would not fit."""
        return self._space.free_bytes(self._ledger.db) < need + _HEADROOM

    def make(self, need: int) -> bool:
        """Free ``need`` bytes and a twentieth of the whole beyond. True = ``need`` is met.

        Raises: StoreError; what was freed until then stays freed.
        """
        target = max(need + _HEADROOM, self._space.max_pages * PAGE // 20)
        db = self._ledger.db
        # One sync for all of it: nobody is told of these transactions before.
        db.run("PRAGMA synchronous = NORMAL")
        while self._free() < target and self._purge_kept(float("inf")):
            pass
        if self._settings.when_full == "thin":
            while self._free() < target and self._thin():
                pass
        # Who keeps the oldest still wants events, and the gaps that tell of the rest.
        least = _HEADROOM if self._settings.when_full == "drop-newest" else target
        while self._free() < least and self._drop_oldest():
            pass
        db.run("PRAGMA synchronous = FULL")
        self._ledger.secure()
        return not self.short(need)

    def expire(self) -> bool:
        """Let go of what was kept long enough. True = there is more to do."""
        age_ms = self._settings.keep_sent_s * 1000
        return self._purge_kept(self._ledger.clock.mono_ms() - age_ms)

    def _free(self) -> int:
        return self._space.free_bytes(self._ledger.db)

    def _purge_kept(self, older_than_ms: float) -> bool:
        """Delete some delivered records of the oldest bucket. False = there is none."""
        bucket = self.kept.oldest(older_than_ms)
        if bucket is None:
            return False
        ledger = self._ledger
        for first, last in bucket:
            for low, high in ledger.settled.within(first, last):
                gone = self._portion(low, high)
                if gone:
                    ledger.begin()
                    ledger.delete(low, gone[-1])
                    ledger.commit()
                    bucket.remove(first, gone[-1])
                    return True
            bucket.remove(first, last)
        self.kept.drop_oldest()
        return True

    # --- thinning ------------------------------------------------------------------------

    def _thin(self) -> bool:
        """Thin the densest block, the oldest first. False = nothing is left to thin."""
        ledger = self._ledger
        oldest, newest = ledger.oldest_pending() // BLOCK, ledger.produced // BLOCK
        while ledger.level < TOP_LEVEL:
            for block in range(oldest, newest + 1):
                if block != newest and ledger.levels.get(block, 0) >= ledger.level:
                    continue
                if self._thin_block(block, newest):
                    return True
            if not self._raise_level(oldest, newest):
                return False
        return False

    def _raise_level(self, oldest: int, newest: int) -> bool:
        """Go on to the next level that frees a fair share of a sample of blocks."""
        step = max(1, (newest - oldest) // _SAMPLE)
        items = [item for block in range(newest, oldest - 1, -step) for item in self._items(block)]
        if items:
            self._ledger.level = worthwhile(items, self._ledger.level + 1)
        return bool(items)

    def _items(self, block: int) -> list[Thinnable]:
        """Pending records of a block that may go; not what is on its way to the broker."""
        ledger, busy = self._ledger, self._in_flight()
        rows = ledger.db.each(
            "SELECT seq, kind, body FROM record WHERE seq BETWEEN ? AND ?"
            " AND kind NOT IN (?, ?) ORDER BY seq",
            (block * BLOCK, block * BLOCK + BLOCK - 1, GAP, DEPLOYMENT),
        )
        return thinnable(
            (row for row in rows if row[0] not in ledger.settled and row[0] not in busy),
            self._settings.priorities,
            self._settings.shares,
        )

    def _thin_block(self, block: int, newest: int) -> bool:
        """True = something was dropped."""
        ledger = self._ledger
        gone = victims(self._items(block), ledger.level)
        if len(gone) < _FEW and block not in ledger.levels:
            gone = []
        for piece in self._pieces(block, gone):
            ledger.begin()
            self._rewrite(piece)
            ledger.write_off(piece, THINNED)
            ledger.commit()
        if block != newest:
            ledger.begin()
            ledger.set_level(block, ledger.level)
            ledger.commit()
        return bool(gone)

    def _pieces(self, block: int, gone: list[int]) -> Iterable[list[int]]:
        """Victims in portions of which the surrounding rows fit a transaction."""
        sizes = self._ledger.db.rows(
            "SELECT seq, length(body) FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq",
            (block * BLOCK, block * BLOCK + BLOCK - 1),
        )
        wanted = set(gone)
        piece: list[int] = []
        weight = 0
        for seq, size in sizes:
            weight += size + _ROW
            if seq in wanted:
                piece.append(seq)
            if weight >= self._space.piece_bytes and piece:
                yield piece
                piece, weight = [], 0
        if piece:
            yield piece

    def _rewrite(self, gone: list[int]) -> None:
        """Delete ``gone`` and pack what stays between them: half-empty pages are not free, and
        nothing is ever put between old seqs again. Large records have pages of their own."""
        db, span = self._ledger.db, (gone[0], gone[-1])
        large = db.value("SELECT avg(length(body)) FROM record WHERE seq BETWEEN ? AND ?", span)
        if large > PAGE // 2:
            db.run_many("DELETE FROM record WHERE seq = ?", [(seq,) for seq in gone])
            return
        without = set(gone)
        rows = db.rows("SELECT seq, kind, crc, body FROM record WHERE seq BETWEEN ? AND ?", span)
        self._ledger.delete(*span)
        db.run_many(
            "INSERT INTO record VALUES (?, ?, ?, ?)", [row for row in rows if row[0] not in without]
        )

    def _drop_oldest(self) -> bool:
        """Drop some of the oldest pending records. False = only gaps are left."""
        ledger, busy = self._ledger, self._in_flight()
        for start, end in ledger.settled.absent(self._oldest_from, ledger.produced):
            for first, last in busy.absent(start, end):
                gone = self._portion(first, last, but=GAP)
                if gone:
                    ledger.begin()
                    ledger.drop(gone, OLDEST)
                    ledger.commit()
                    self._oldest_from = gone[0]
                    return True
        self._oldest_from = 1
        return False

    def _portion(self, first: int, last: int, *, but: int = -1) -> list[int]:
        """The first seqs of first..last (kind ``but`` aside), as many as one transaction may
        delete: every page that it touches goes through the log."""
        portion: list[int] = []
        weight = 0
        for seq, size in self._ledger.db.rows(
            "SELECT seq, length(body) FROM record WHERE seq BETWEEN ? AND ? AND kind != ?"
            " ORDER BY seq LIMIT ?",
            (first, last, but, _ROWS),
        ):
            portion.append(seq)
            weight += size + _ROW
            if weight >= self._space.piece_bytes:
                break
        return portion
