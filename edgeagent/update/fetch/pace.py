"""How much may be under way, in what portions, and how long to wait for it. No I/O.

The rate of the link is taken from the distance of chunks that followed one another within one
answer: what one gets by asking timidly says nothing about the link. Two seconds of that rate may
be under way, so that a command which comes behind them does not wait longer than that.
"""

from __future__ import annotations

from edgeagent.update.fetch.pieces import UNIT

AHEAD_S = 2.0
CHUNK_S = 0.5
"""A chunk should not occupy the link for longer."""
SMALLEST, LARGEST = UNIT, 64 * 1024
FIRST = 4 * 1024
"""Size of a chunk while nothing is known of the link."""
MOST_CHUNKS = 16
"""Of the largest size that may be under way: each occupies that much at both ends and in the
broker."""
_FEWEST = 2
_UNKNOWN_CHUNKS = 4
_SAMPLE_S, _SAMPLE_CHUNKS = 0.2, 3
_WEIGHT = 0.5
_FIRST_PATIENCE_S = 5.0
_SHORTEST_PATIENCE_S = 1.0
_LONGEST_PATIENCE_S = 60.0


class Pace:
    """What is known of the way to the repository; kept from one transfer to the next."""

    def __init__(self, *, chunks: int = MOST_CHUNKS, limit: float = 0.0) -> None:
        """``limit`` in bytes a second, 0 = none; ``chunks`` of `LARGEST` are under way at most."""
        self.rate = 0.0
        """Bytes a second; 0 = not known."""
        self.round_trip = 0.0
        """Seconds; 0 = not known."""
        self._chunks = chunks
        self._limit = limit
        self._last = self._last_asked = 0.0
        self._train_s = 0.0
        self._train_bytes = 0
        self._train_chunks = 0
        self._allowance = 0.0
        self._allowed_at = 0.0

    @property
    def window(self) -> int:
        """Bytes that may be under way."""
        most = self._chunks * LARGEST
        if not self.rate:
            return min(most, _UNKNOWN_CHUNKS * FIRST)
        return int(min(most, max(self._effective() * AHEAD_S, _FEWEST * SMALLEST)))

    @property
    def portion(self) -> int:
        """Bytes that should be free of the window before more is asked for: each request costs
        a message and its answer, and each byte that is not under way may leave the link idle."""
        window = self.window
        return window // 2 if window >= self._chunks * LARGEST else window // 4

    @property
    def chunk(self) -> int:
        """Bytes of a chunk: a power of two."""
        if not self.rate:
            return FIRST
        wanted = int(min(LARGEST, max(SMALLEST, self._effective() * CHUNK_S)))
        return 1 << (wanted.bit_length() - 1)

    def patience(self, outstanding: int, failures: int = 0) -> float:
        """Seconds after which what was asked for and did not come is asked for again.

        Args:
            outstanding: bytes that are to come before it, and itself.
            failures: how often it, or anything, has not come in a row.
        """
        if not self.round_trip:
            basis = _FIRST_PATIENCE_S
        else:
            basis = 3 * self.round_trip + (outstanding / self.rate if self.rate else 0.0)
        waited = max(_SHORTEST_PATIENCE_S, basis) * 2 ** min(failures, 8)
        return float(min(_LONGEST_PATIENCE_S, waited))

    def answered(self, seconds: float) -> None:
        """A request's first answer came so long after it."""
        known = self.round_trip
        self.round_trip = known + 0.25 * (seconds - known) if known else max(seconds, 1e-4)

    def arrived(self, now: float, size: int, asked: float) -> None:
        """A chunk of ``size`` bytes came at ``now`` that was asked for at ``asked``.

        Only the distance of two chunks of one request counts: they were sent one right after
        the other, so what lies between them is the link's doing.
        """
        gap, follows = now - self._last, asked == self._last_asked
        self._last, self._last_asked = now, asked
        if not follows:
            return
        self._train_s += gap
        self._train_bytes += size
        self._train_chunks += 1
        enough = self._train_s >= _SAMPLE_S or self._train_bytes >= 4 * LARGEST
        if self._train_chunks >= _SAMPLE_CHUNKS and (enough or not self.rate):
            sample = self._train_bytes / max(self._train_s, 1e-6)
            self.rate = self.rate + _WEIGHT * (sample - self.rate) if self.rate else sample
            self._train_s, self._train_bytes, self._train_chunks = 0.0, 0, 0

    def lost(self) -> None:
        """The connection is a new one: it may be another link."""
        self._last_asked = 0.0
        self._train_s, self._train_bytes, self._train_chunks = 0.0, 0, 0

    def allowance(self, now: float) -> int:
        """Bytes that the limit allows to ask for now."""
        if not self._limit:
            return 1 << 62
        passed = min(AHEAD_S, now - self._allowed_at) if self._allowed_at else CHUNK_S
        self._allowed_at = now
        most = max(self._limit * CHUNK_S, float(LARGEST if self._limit > LARGEST else SMALLEST))
        self._allowance = min(most, self._allowance + passed * self._limit)
        return int(self._allowance)

    def took(self, size: int) -> None:
        """Bytes were asked for."""
        self._allowance -= size

    def _effective(self) -> float:
        return min(self.rate, self._limit) if self._limit else self.rate
