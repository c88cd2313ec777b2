"""What to send next: live, backlog and re-sent records, each in ascending order.

The sending side knows by ranges which seqs need no sending any more (delivered, with the
broker, in flight, or gone); everything else up to the last commit is a candidate, so no index
on the records is needed and an acknowledgement costs the card nothing but a range.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, compress
from operator import add
from typing import Any

from edgeagent.store.batch import Batch, Lane
from edgeagent.store.database import last_seq
from edgeagent.store.encode import URGENT_NUMBERS, all_intact, intact
from edgeagent.store.ranges import Ranges, runs
from edgeagent.store.reading import Reading

_BACKLOG_TURN = 4
_RECORD_BYTES = 300.0
_MOST_TRIES = 7
_PROBE = 4


class Ages:
    """Since when records are with the broker, so that none is sent again too soon.

    Each re-sending doubles the time that must pass: ``patience_ms`` × 2^tries.
    """

    def __init__(self, patience_ms: float) -> None:
        self._patience_ms = patience_ms
        self._young: list[tuple[float, int, Ranges]] = []
        self._tries: dict[int, Ranges] = {}

    def acked(self, seqs: Iterable[tuple[int, int]], now_ms: float) -> None:
        by_tries: dict[int, Ranges] = {}
        for first, last in seqs:
            rest = Ranges([(first, last)])
            for tries, known in self._tries.items():
                again = list(known.within(first, last))
                by_tries.setdefault(tries, Ranges()).update(again)
                rest.subtract(again)
            by_tries.setdefault(0, Ranges()).update(rest)
        for tries, ranges in by_tries.items():
            due = now_ms + self._patience_ms * 2**tries
            last_young = self._young[-1] if self._young else None
            if last_young and last_young[1] == tries and due - last_young[0] < 1000:
                last_young[2].update(ranges)
            elif ranges:
                self._young.append((due, tries, ranges))

    def due(self, wanted: Ranges, now_ms: float) -> Ranges:
        """Of ``wanted``, what may be sent again; counts it as tried once more."""
        self._young = [entry for entry in self._young if entry[0] > now_ms]
        ready = wanted.copy()
        for _, _, ranges in self._young:
            ready.subtract(ranges)
        levels = sorted(self._tries.items(), reverse=True)
        rest = ready.copy()
        for tries, known in levels:
            again = Ranges(part for first, last in rest for part in known.within(first, last))
            known.subtract(again)
            rest.subtract(again)
            self._tries.setdefault(min(tries + 1, _MOST_TRIES), Ranges()).update(again)
        self._tries.setdefault(1, Ranges()).update(rest)
        return ready

    def forget(self, ranges: Ranges) -> None:
        for known in self._tries.values():
            known.subtract(ranges)


def _walked(
    stretches: Iterable[tuple[int, int]], seqs: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Each stretch up to the last of ``seqs`` in it: what else lies in it has no record."""
    walked: list[tuple[int, int]] = []
    for low, high in stretches:
        start, stop = bisect_left(seqs, low), bisect_right(seqs, high)
        if start < stop:
            walked.append((low, seqs[stop - 1]))
        if stop == len(seqs):
            break
    return tuple(walked)


class _Found:
    """What of the rows goes into a batch."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.bodies: list[bytes] = []
        self.urgent: list[bytes] = []


class Lanes:
    """For the link's thread; the writer looks at `in_flight` and tells of changes."""

    def __init__(
        self, reading: Reading, mono_ms: Callable[[], float], *, collecting: bool, patience_s: float
    ) -> None:
        self._reading = reading
        self._mono_ms = mono_ms
        self._collecting = collecting
        self._patience_ms = patience_s * 1000
        self._lock = threading.Lock()
        self.spoiled: list[int] = []
        """Seqs of the present epoch whose bodies can't be read; the outbox takes them."""
        self._last = 0
        self._mean_bytes = _RECORD_BYTES
        self.reset("", 0, Ranges(), Ranges())

    def reset(self, epoch: str, last: int, settled: Ranges, acked: Ranges) -> None:
        """Begin anew with what the ledger says. ``last``: the last committed seq."""
        with self._lock:
            self.epoch = epoch
            self._last = last
            self._done = settled.copy()
            self._with_broker = acked.copy()
            self._taken = settled.copy()
            self._taken.update(acked)
            self._flight = Ranges()
            self._resend = Ranges()
            self.spoiled = []
            self._shunned = Ranges()
            self._live_from = last + 1
            self._urgent_from = 1
            self._turn = 0
            self._ages = Ages(self._patience_ms)
            self._ages.acked(self._with_broker, self._mono_ms())
            self._probe_ms = self._mono_ms() + self._patience_ms * _PROBE
            self._probes = 0
            self._heard: dict[str, int] = {}

    def committed(self, last: int) -> None:
        self._last = last

    def in_flight(self) -> Ranges:
        with self._lock:
            return self._flight.copy()

    def is_sent(self, seq: int) -> bool:
        """Whether the broker has the record, or it is gone."""
        with self._lock:
            return seq == 0 or seq in self._done or seq in self._with_broker

    def connected(self) -> None:
        with self._lock:
            self._live_from = self._last + 1
            self._urgent_from = 1
            self._taken.subtract(self._shunned)
            self._shunned = Ranges()

    def oldest_pending(self) -> bytes | None:
        """The body of the oldest record that is not delivered. Raises StoreError."""
        with self._lock:
            epoch, stretches = self.epoch, list(self._done.absent(1, self._last))
        for first, last in stretches:
            rows = self._reading.rows_of(
                epoch,
                "SELECT body FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT 1",
                (first, last),
            )
            if rows:
                return bytes(rows[0][0])
        return None

    # --- taking --------------------------------------------------------------------------

    def next(self, max_bytes: int, max_records: int) -> Batch | None:
        self._probe()
        self._turn += 1
        order: tuple[Lane, ...] = ("resend", "live", "backlog")
        if self._turn % _BACKLOG_TURN == 0:
            order = ("backlog", "resend", "live")
        for lane in order:
            batch = self.take(lane, max_bytes, max_records)
            if batch is not None:
                return batch
        return None

    def take(self, lane: Lane, max_bytes: int, max_records: int) -> Batch | None:
        with self._lock:
            epoch, last = self.epoch, self._last
            if lane == "resend":
                stretches = list(self._resend)
            elif lane == "live":
                stretches = list(self._taken.absent(self._live_from, last))
            else:
                stretches = list(self._taken.absent(1, min(self._live_from - 1, last)))
            found = self._collect(epoch, stretches, max_bytes, max_records, lane)
            if not found.seqs:
                return None
            seqs = tuple(found.seqs)
            walked, urgent = _walked(stretches, seqs), tuple(found.urgent)
            batch = Batch(epoch, lane, seqs, tuple(found.bodies), walked, urgent)
            spans = batch.spans
            self._flight.update(spans)
            if lane == "resend":
                self._resend.subtract(spans)
            else:
                self._taken.update(spans)
        return batch

    def urgent(self, max_bytes: int, max_records: int) -> Batch | None:
        """Events, deployments, gaps alone, ascending: what else is there keeps its place."""
        with self._lock:
            epoch, last = self.epoch, self._last
            seqs: list[int] = []
            bodies: list[bytes] = []
            size = 0
            for first, end in list(self._taken.absent(self._urgent_from, last)):
                rows = self._reading.rows_of(
                    epoch,
                    "SELECT seq, crc, body FROM record WHERE seq BETWEEN ? AND ?"
                    " AND kind BETWEEN ? AND ? ORDER BY seq LIMIT ?",
                    (first, end, *URGENT_NUMBERS, max_records - len(seqs) + 1),
                )
                if self._reading.epoch != epoch:
                    return None
                for seq, crc, body in rows:
                    if not intact(seq, crc, body):
                        self.spoiled.append(seq)
                        self._taken.add(seq, seq)
                        continue
                    if seqs and (size + len(body) + 1 > max_bytes or len(seqs) >= max_records):
                        return self._urgent(seqs, bodies, seq)
                    seqs.append(seq)
                    bodies.append(body)
                    size += len(body) + 1
            return self._urgent(seqs, bodies, last + 1)

    def _urgent(self, seqs: list[int], bodies: list[bytes], scanned: int) -> Batch | None:
        # Results in between may be many, and are not looked at again for each event.
        self._urgent_from = scanned
        if not seqs:
            return None
        spans = list(runs(seqs))
        self._flight.update(spans)
        self._taken.update(spans)
        return Batch(self.epoch, "urgent", tuple(seqs), tuple(bodies))

    def _collect(
        self, epoch: str, stretches: Iterable[tuple[int, int]], max_bytes: int, max_records: int,
        lane: Lane,
    ) -> _Found:  # fmt: skip
        found = _Found()
        size = 0
        for first, last in stretches:
            at = first
            while at <= last:
                fit = int((max_bytes - size) / self._mean_bytes) + 2
                limit = max(1, min(max_records - len(found.seqs), fit))
                rows = self._reading.rows_of(
                    epoch,
                    "SELECT seq, crc, kind, body FROM record WHERE seq BETWEEN ? AND ?"
                    " ORDER BY seq LIMIT ?",
                    (at, last, limit),
                )
                if self._reading.epoch != epoch:
                    return found
                last_seq(rows, at - 1, self._reading.path)
                sound, kinds, texts = self._sound(rows, lane)
                ends = list(accumulate(map(len, texts)))
                # A comma follows each.
                ends = list(map(add, ends, range(1, len(ends) + 1)))
                room = max_records - len(found.seqs)
                fitting = min(bisect_right(ends, max_bytes - size), room)
                if not found.seqs and sound:
                    fitting = max(1, fitting)
                found.seqs += sound[:fitting]
                found.bodies += texts[:fitting]
                if kinds and max(kinds) >= URGENT_NUMBERS[0]:
                    hurried = [kind >= URGENT_NUMBERS[0] for kind in kinds[:fitting]]
                    found.urgent += compress(texts, hurried)
                if fitting < len(sound):
                    size += ends[fitting - 1] if fitting else 0
                    self._mean_bytes += (size / len(found.seqs) - self._mean_bytes) / 4
                    return found
                size += ends[-1] if ends else 0
                # What was skipped on the way is in the batch's stretch.
                at = rows[-1][0] + 1 if rows else at
                if len(rows) < limit:
                    self._skip(lane, at, last)
                    at = last + 1
        return found

    def _sound(
        self, rows: Sequence[tuple[Any, ...]], lane: Lane
    ) -> tuple[Sequence[int], Sequence[int], Sequence[bytes]]:
        """Seqs, kinds and bodies of what the medium gave back as it was written. By columns: of
        all that is done for a backlog, this is the part that is done for each record."""
        if not rows:
            return (), (), ()
        seqs, crcs, kinds, bodies = zip(*rows, strict=True)
        if all_intact(seqs, crcs, bodies):
            return seqs, kinds, bodies
        kept = [row for row in rows if intact(row[0], row[1], row[3])]
        for seq in sorted(set(seqs) - {row[0] for row in kept}):
            self.spoiled.append(seq)
            self._skip(lane, seq, seq)
        return [row[0] for row in kept], [row[2] for row in kept], [row[3] for row in kept]

    def _skip(self, lane: Lane, first: int, last: int) -> None:
        """No rows there: dropped, and never to come."""
        if first <= last:
            if lane == "resend":
                self._resend.remove(first, last)
            else:
                self._taken.add(first, last)

    # --- handing back --------------------------------------------------------------------

    def acked(self, batch: Batch) -> bool:
        """PUBACK. False = a batch of a former epoch."""
        with self._lock:
            if batch.epoch != self.epoch:
                return False
            spans = batch.spans
            self._flight.subtract(spans)
            (self._with_broker if self._collecting else self._done).update(spans)
            self._ages.acked(spans, self._mono_ms())
            return True

    def refused(self, batch: Batch) -> bool:
        with self._lock:
            if batch.epoch != self.epoch:
                return False
            spans = batch.spans
            self._flight.subtract(spans)
            # The writer drops them; what it may not drop (gaps) is tried over another connection.
            self._shunned.update(spans)
            return True

    def release(self, batch: Batch) -> None:
        with self._lock:
            if batch.epoch != self.epoch:
                return
            spans = batch.spans
            self._flight.subtract(spans)
            if batch.lane == "resend":
                self._resend.update(spans)
            else:
                self._taken.subtract(spans)
                self._urgent_from = min(self._urgent_from, batch.first)

    def missed(self, missing: Ranges, upto: int, by: str) -> Ranges:
        """A collector knows of seqs up to ``upto`` and misses some: what is long enough with
        the broker will be sent again. Returns that."""
        with self._lock:
            self._heard[by] = max(upto, self._heard.get(by, 0))
            # Dropped ones too: it may have been the gap that was lost.
            sent = self._taken.copy()
            sent.subtract(self._flight)
            sent.subtract(self._shunned)
            wanted = Ranges(part for first, last in missing for part in sent.within(first, last))
            wanted.subtract(self._resend)
            again = self._ages.due(wanted, self._mono_ms())
            self._resend.update(again)
            return again

    def confirmed(self, settled: Ranges) -> None:
        """The collectors have these, or were told of them."""
        with self._lock:
            if any(True for span in settled for _ in self._done.absent(*span)):
                self._probes = 0
            self._done.update(settled)
            self._taken.update(settled)
            self._with_broker.subtract(settled)
            self._resend.subtract(settled)
            self._ages.forget(settled)

    def _probe(self) -> None:
        """The last records that the broker acknowledged may be lost without any collector
        knowing of them: send the last one again, slower and slower, so that its confirm shows
        what is missing before it."""
        now_ms = self._mono_ms()
        with self._lock:
            if not self._collecting or now_ms < self._probe_ms or not self._with_broker:
                return
            wait_ms = self._patience_ms * _PROBE * 2 ** min(self._probes, _MOST_TRIES)
            self._probe_ms = now_ms + wait_ms
            self._probes += 1
            last = self._with_broker.last
            if last > min(self._heard.values(), default=0) and last not in self._flight:
                self._resend.add(last, last)
