"""The account of one epoch: numbers, what is settled, what is lost and told.

Every seq from 1 to ``produced`` is in exactly one state:

    pending    a row in `record`, outside ``settled``
    kept       a row in `record`, inside ``settled``: delivered, kept in case it is asked again
    delivered  inside ``settled``, not covered by a gap
    dropped    covered by a gap

so ``settled`` needs few ranges (it may run over what gaps cover) and an acknowledgement touches
no record's page. Dropping and writing the gap that tells of it are one transaction, and a gap
that was not delivered yet is superseded by one that covers what it covered, the new losses of
the same block and reason, and the old gap's own seq.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeagent.errors import StoreCorrupt
from edgeagent.store.books import FOLD_AT, Books
from edgeagent.store.encode import GAP, GapRecord, checksum, encoded
from edgeagent.store.ranges import Ranges, bitmap_text, bits_of, numbers_of, pack, runs, unpack

BLOCK = 4096
"""Seqs that one gap can tell of at most (contract §2)."""
_ALL = (1 << BLOCK) - 1
NO_LONGER_KEPT = "no longer kept"
SPOILED = "unreadable on the medium"


class Ledger(Books):
    """What may be done to the account. Belongs to one thread."""

    # --- giving numbers ------------------------------------------------------------------

    def add(self, rows: Sequence[tuple[int, int, bytes]], refused: dict[str, list[int]]) -> None:
        """Take ``rows`` (seq, kind, body) in as pending, and the numbers in ``refused`` (reason
        → seqs) as dropped at once. Together they follow ``produced`` without a hole."""
        self._insert(rows)
        self.produced += len(rows)
        self.pending += len(rows)
        for reason, seqs in refused.items():
            self.produced += len(seqs)
            self.count(reason, len(seqs))
        for reason, seqs in refused.items():
            self._tell(seqs, reason)

    def skip(self, count: int, reason: str) -> None:
        """Give numbers to ``count`` records that never came here, as dropped."""
        first = self.produced + 1
        self.produced += count
        self.count(reason, count)
        self._tell(range(first, first + count), reason)

    def tell_epoch(self, epoch: str, first: int, reason: str) -> None:
        """Write the gap that names another epoch, of which the end is unknown."""
        stamp = self.stamp()
        self.produced += 1
        self.pending += 1
        if not self.trusted:
            self.unsynced.add(self.produced, self.produced)
        body = encoded(
            GapRecord(
                self.produced, "gap", first, None, None, reason, epoch=epoch, at=stamp[0],
                clock=stamp[1], boot=self.boot, mono_ms=stamp[2],
            )
        )  # fmt: skip
        self._insert([(self.produced, GAP, body)])
        self.db.run("INSERT OR REPLACE INTO past VALUES (?, ?, ?)", (epoch, reason, stamp[0]))

    def _insert(self, rows: Iterable[tuple[int, int, bytes]]) -> None:
        self.db.run_many(
            "INSERT INTO record VALUES (?, ?, ?, ?)",
            [(seq, kind, checksum(seq, body), body) for seq, kind, body in rows],
        )

    # --- delivery ------------------------------------------------------------------------

    def settle(self, seqs: Sequence[int]) -> int:
        """These (ascending) are delivered. How many of them were pending until now."""
        pending, others = self._pending_among(seqs)
        self.delivered += len(pending)
        self.pending -= len(pending)
        self._spread(self.settled, pending, others)
        return len(pending)

    def ack(self, seqs: Sequence[int]) -> None:
        """The broker has these (ascending); the collectors have not confirmed them."""
        pending, others = self._pending_among(seqs)
        acked = self.acked
        self._spread(acked, pending, [seq for seq in others if seq not in acked])

    def confirm(self, collectors: Sequence[str], by: str, got: Ranges) -> Ranges:
        """``by`` has ``got``. Settles what all ``collectors`` have, and returns it."""
        self.ranges(f"confirmed {by}").update(got)
        common = self.common(collectors)
        common.subtract(self.settled)
        self._settle_ranges(common)
        return common

    def common(self, collectors: Sequence[str]) -> Ranges:
        """What all ``collectors`` have, or were told of."""
        common = self.ranges(f"confirmed {collectors[0]}").copy()
        for name in collectors[1:]:
            other = self.ranges(f"confirmed {name}")
            common.subtract(other.absent(1, self.produced))
        return common

    def trust_broker(self) -> None:
        """What the broker has acknowledged counts as delivered (``sync.confirm`` was
        ``collector`` before)."""
        acked = self.acked.copy()
        acked.subtract(self.settled)
        self._settle_ranges(acked)
        self.acked.subtract(list(self.acked))

    def _settle_ranges(self, ranges: Ranges) -> None:
        """All pending records of ``ranges``, which hold nothing settled, are delivered."""
        for span in ranges:
            sql = "SELECT count(*) FROM record WHERE seq BETWEEN ? AND ?"
            found = int(self.db.value(sql, span))
            self.delivered += found
            self.pending -= found
            self.settled.add(*span)

    def delete(self, first: int, last: int) -> None:
        """Let go of rows that are settled."""
        self.db.run("DELETE FROM record WHERE seq BETWEEN ? AND ?", (first, last))

    def pending_among(self, seqs: Sequence[int]) -> list[int]:
        """Of ``seqs`` (ascending), those that are pending."""
        return self._pending_among(seqs)[0]

    def _pending_among(self, seqs: Sequence[int]) -> tuple[list[int], list[int]]:
        """Of ``seqs``, those that are pending; and the other pending ones between them."""
        wanted = set(seqs)
        pending: list[int] = []
        others: list[int] = []
        settled = self.settled
        for first, last in self._stretches(seqs):
            for low, high in settled.absent(first, last):
                rows = self.db.rows("SELECT seq FROM record WHERE seq BETWEEN ? AND ?", (low, high))
                for (seq,) in rows:
                    (pending if seq in wanted else others).append(seq)
        return pending, others

    @staticmethod
    def _stretches(seqs: Sequence[int]) -> Iterable[tuple[int, int]]:
        """Ascending seqs as stretches that are not too empty to be read whole."""
        first = last = seqs[0]
        for seq in seqs[1:]:
            if seq - last > BLOCK:
                yield first, last
                first = seq
            last = seq
        yield first, last

    def _spread(self, target: Ranges, seqs: list[int], others: list[int]) -> None:
        """Add ``seqs`` to ``target``, and the numbers between them where nothing else is
        pending (dropped ones), so that a thinned backlog stays a single range."""
        if not seqs:
            return
        edge = target.before(seqs[0])
        if edge < seqs[0] - 1:
            rest = self.db.value(
                "SELECT 1 FROM record WHERE seq > ? AND seq < ? LIMIT 1", (edge, seqs[0])
            )
            if rest is None:
                target.add(edge + 1, seqs[0])
        if not others:
            for span in self._stretches(seqs):
                target.add(*span)
            return
        barrier = Ranges((seq, seq) for seq in others)
        first = last = seqs[0]
        for seq in seqs[1:]:
            clear = seq == last + 1 or (
                seq - last <= BLOCK and next(barrier.within(last, seq), None) is None
            )
            if not clear:
                target.add(first, last)
                first = seq
            last = seq
        target.add(first, last)

    # --- losing and telling --------------------------------------------------------------

    def drop(self, seqs: Sequence[int], reason: str) -> None:
        """Delete pending records (ascending) and tell of it."""
        for first, last in runs(seqs):
            self.delete(first, last)
        self.write_off(seqs, reason)

    def write_off(self, seqs: Sequence[int], reason: str) -> None:
        """Tell of pending records whose rows are gone already."""
        self.pending -= len(seqs)
        self.count(reason, len(seqs))
        self._tell(seqs, reason)

    def spoil(self, seqs: Sequence[int]) -> None:
        """Drop records (ascending) whose bodies are damaged; a gap is told anew."""
        gone: list[int] = []
        for seq in self.pending_among(seqs):
            row = self.db.one(
                "SELECT block, first, last, bits, reason FROM gap WHERE seq = ?", (seq,)
            )
            if row is None:
                gone.append(seq)
                continue
            block, first, last, bits, reason = row
            covered = numbers_of(gap_bits(first, last, bits, block * BLOCK), block * BLOCK)
            self._take_out(seq, reason)
            self._tell([*covered, seq], reason)
        if gone:
            self.drop(gone, SPOILED)

    def heal(self, start: int, limit: int) -> int:
        """Look through up to ``limit`` blocks from ``start`` on for records that are pending by
        the account but gone from their page, and tell of them. Returns where to go on."""
        last_block = self.produced // BLOCK
        stop = min(start + limit, last_block + 1)
        holes: list[int] = []
        for block in range(start, stop):
            base = block * BLOCK
            span = (max(base, 1), min(base + BLOCK - 1, self.produced))
            open_ = list(self.settled.absent(*span))
            if not open_:
                continue
            rows = self.db.rows("SELECT seq FROM record WHERE seq BETWEEN ? AND ?", span)
            known = bits_of((seq for (seq,) in rows), base)
            for _, bits in self._covers(block):
                known |= bits
            for first, last in open_:
                part = bits_of(range(first, last + 1), base)
                holes += numbers_of(part & ~known, base)
        if holes:
            self.write_off(holes, SPOILED)
        return 0 if stop > last_block else stop

    def retell(self, asked: Ranges) -> None:
        """A collector misses ``asked``, all settled: what is kept no more becomes a gap.

        Rows that are there, or gaps that cover them and are there, will be sent again instead.
        """
        work: dict[int, int] = {}
        for first, last in asked:
            for block in range(first // BLOCK, last // BLOCK + 1):
                base = block * BLOCK
                part = range(max(first, base), min(last, base + BLOCK - 1) + 1)
                work[block] = work.get(block, 0) | bits_of(part, base)
        told: list[int] = []
        for block, wanted in sorted(work.items()):
            base = block * BLOCK
            rows = self.db.rows(
                "SELECT seq FROM record WHERE seq BETWEEN ? AND ?", (base, base + BLOCK - 1)
            )
            gone = wanted & ~bits_of((seq for (seq,) in rows), base)
            covered = 0
            for seq, bits in self._covers(block):
                covered |= bits
                if self.db.value("SELECT 1 FROM record WHERE seq = ?", (seq,)):
                    gone &= ~bits
            moved = sum(1 for seq in numbers_of(gone & ~covered, base) if seq > self.folded)
            self.delivered -= moved
            self.count(NO_LONGER_KEPT, moved)
            told += numbers_of(gone, base)
        self._tell(told, NO_LONGER_KEPT)

    def _covers(self, block: int) -> list[tuple[int, int]]:
        """(seq, bits) of the gaps that tell of this block."""
        rows = self.db.rows("SELECT seq, first, last, bits FROM gap WHERE block = ?", (block,))
        return [(seq, gap_bits(low, high, bits, block * BLOCK)) for seq, low, high, bits in rows]

    def _tell(self, seqs: Iterable[int], reason: str) -> None:
        """Write gaps of ``reason`` over ``seqs``, which are counted as dropped already.

        Superseding an old gap makes its own seq one more loss; that seq is younger than what
        it told of, so going up block by block comes to an end.
        """
        work: dict[int, int] = {}
        for seq in seqs:
            block = seq // BLOCK
            work[block] = work.get(block, 0) | 1 << (seq - block * BLOCK)
        while work:
            block = min(work)
            bits = work.pop(block)
            for old, old_bits in self._superseded(block, reason):
                bits |= old_bits
                if old // BLOCK == block:
                    bits |= 1 << (old - block * BLOCK)
                else:
                    later = old // BLOCK
                    work[later] = work.get(later, 0) | 1 << (old - later * BLOCK)
            self._write_gap(block, bits, reason)

    def _superseded(self, block: int, reason: str) -> list[tuple[int, int]]:
        """Take out the gaps of this block and reason that are not delivered yet."""
        rows = self.db.rows(
            "SELECT gap.seq, first, last, bits FROM gap JOIN record ON record.seq = gap.seq"
            " WHERE block = ? AND reason = ?",
            (block, reason),
        )
        taken: list[tuple[int, int]] = []
        for seq, first, last, bits in rows:
            if seq in self.settled:
                continue
            self._take_out(seq, reason)
            taken.append((seq, gap_bits(first, last, bits, block * BLOCK)))
        return taken

    def _take_out(self, gap: int, reason: str) -> None:
        """Drop a gap that waits; its own seq and what it covers must be told anew."""
        self.db.run("DELETE FROM record WHERE seq = ?", (gap,))
        self.db.run("DELETE FROM gap WHERE seq = ?", (gap,))
        self.gaps -= 1
        self.pending -= 1
        self.count(reason, 1)

    def _write_gap(self, block: int, bits: int, reason: str) -> None:
        self.produced += 1
        self.pending += 1
        self.gaps += 1
        seq = self.produced
        if not self.trusted:
            self.unsynced.add(seq, seq)
        low = (bits & -bits).bit_length() - 1
        first = block * BLOCK + low
        last = block * BLOCK + bits.bit_length() - 1
        shown = bits >> low
        whole = shown & (shown + 1) == 0
        at, trust, mono_ms = self.stamp()
        body = encoded(
            GapRecord(
                seq, "gap", first, last, bits.bit_count(), reason,
                dropped="" if whole else bitmap_text(shown),
                at=at, clock=trust, boot=self.boot, mono_ms=mono_ms,
            )
        )  # fmt: skip
        self._insert([(seq, GAP, body)])
        self.db.run(
            "INSERT INTO gap VALUES (?, ?, ?, ?, ?, ?)",
            (seq, block, first, last, reason, None if whole else pack(shown)),
        )

    # --- forgetting ----------------------------------------------------------------------

    @property
    def crowded(self) -> bool:
        """Whether folding is worth a try."""
        return self.gaps > FOLD_AT or len(self.settled) > FOLD_AT

    def fold(self) -> bool:
        """Forget the particulars of old blocks in which everything is settled and told.

        True = something was forgotten.
        """
        oldest = self.oldest_pending()
        stop = oldest // BLOCK
        start = (self.folded + 1) // BLOCK
        lost = 0
        for block in range(start, stop):
            covered = 0
            for seq, bits in self._covers(block):
                if seq not in self.settled:
                    stop = block
                    break
                covered |= bits
            if stop == block:
                break
            lost += sum(1 for seq in numbers_of(covered, block * BLOCK) if seq > self.folded)
        if stop <= start:
            return False
        self.folded = stop * BLOCK - 1
        self.folded_dropped += lost
        self.db.run("DELETE FROM gap WHERE block < ? AND seq < ?", (stop, oldest))
        self.db.run("DELETE FROM block WHERE block < ?", (stop,))
        self.levels = {block: level for block, level in self.levels.items() if block >= stop}
        self.gaps = int(self.db.value("SELECT count(*) FROM gap"))
        self.settled.add(1, self.folded)
        return True


def gap_bits(first: int, last: int, packed: bytes | None, base: int) -> int:
    """What a row of `gap` covers, as bits of its block. Raises StoreCorrupt for what can't be."""
    if not (isinstance(first, int) and isinstance(last, int)) or not (
        base <= first <= last < base + BLOCK and isinstance(packed, (bytes, type(None)))
    ):
        raise StoreCorrupt(f"a gap over {first!r}..{last!r} can't be")
    shown = (1 << (last - first + 1)) - 1 if packed is None else unpack(packed)
    return (shown << (first - base)) & _ALL
