"""Which seqs of one epoch of one device are here, which are told lost, which are missing.

Kept as bitmaps over blocks of 4,096 seqs, so that an outbox that was thinned to every second
record costs no more than a whole one. A block in which nothing is missing any more is *closed*
and needs no memory; it is read again when something about it arrives late.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgeagent.store.ranges import Ranges, bits_of, numbers_of, pack, unpack

BLOCK = 4096
ALL = (1 << BLOCK) - 1
RANGES_MAX = 256
"""Ranges that a confirm may name (contract §2)."""

Range = tuple[int, int]


@dataclass(slots=True)
class Block:
    """Bits of 4,096 seqs; bit k = base + k. ``told`` may overlap ``have``: delivered wins."""

    have: int = 0
    told: int = 0
    changed: bool = False

    @property
    def closed(self) -> bool:
        return (self.have | self.told) == ALL


@dataclass(frozen=True, slots=True)
class Settled:
    """What a confirm says: everything up to ``upto`` is settled but for ``missing``."""

    upto: int
    missing: tuple[Range, ...]


class Account:
    """One stream (a device's epoch). Blocks that a change needs must be loaded before."""

    def __init__(self) -> None:
        self.version = -1
        """Of the row that this was read from; −1 = not read yet."""
        self.ended = False
        """A later epoch has told of it."""
        self.current = False
        """The device is writing it now."""
        self.top = 0
        """The highest seq known to exist."""
        self.floor = 0
        """Blocks below this number are closed."""
        self.closed = Ranges()
        """Numbers + 1 of closed blocks from the floor on."""
        self.blocks: dict[int, Block] = {}

    def absent(self, blocks: Iterable[int]) -> list[int]:
        """Of these blocks, those that must be loaded before they can be changed."""
        return [number for number in blocks if number not in self.blocks]

    def load(self, number: int, have: bytes | None, told: bytes | None) -> None:
        """Take a stored block in; ``have`` None = all of it."""
        block = Block(ALL if have is None else unpack(have), unpack(told or b""))
        self.blocks[number] = block
        if block.closed:
            self._close(number)

    def block(self, number: int) -> Block:
        found = self.blocks.get(number)
        if found is None:
            # Seq 0 does not exist: its bit is set, so that the first block can be closed.
            found = self.blocks[number] = Block(1 if number == 0 else 0)
        return found

    def take(self, seqs: Sequence[int]) -> frozenset[int]:
        """The records ``seqs`` (ascending, each once) are here. Those that were here before."""
        known: list[int] = []
        at = 0
        while at < len(seqs):
            number = seqs[at] >> 12
            end = bisect_left(seqs, (number + 1) * BLOCK, at)
            known += self._take(number, seqs[at:end])
            at = end
        return frozenset(known)

    def _take(self, number: int, seqs: Sequence[int]) -> list[int]:
        base, block = number * BLOCK, self.block(number)
        first, last = seqs[0], seqs[-1]
        if last - first + 1 == len(seqs):
            bits = ((1 << len(seqs)) - 1) << (first - base)
        else:
            bits = bits_of(seqs, base)
        known = bits & block.have
        if known != bits:
            block.have |= bits
            block.changed = True
            self.top = max(self.top, last)
            if block.closed:
                self._close(number)
        return list(numbers_of(known, base)) if known else []

    def tell(self, number: int, bits: int) -> bool:
        """A gap covers these bits of a block. True = that is news."""
        block = self.block(number)
        if not bits & ~block.told:
            return False
        block.told |= bits
        block.changed = True
        self.top = max(self.top, number * BLOCK + bits.bit_length() - 1)
        if block.closed:
            self._close(number)
        return True

    def changed(self) -> list[tuple[int, Block]]:
        """Blocks to be written; they count as written from now on."""
        found = [(number, block) for number, block in self.blocks.items() if block.changed]
        for _, block in found:
            block.changed = False
        return found

    def prune(self) -> None:
        """Forget the bits of closed blocks."""
        self.blocks = {n: block for n, block in self.blocks.items() if not block.closed}

    def settled(self) -> Settled:
        """For a confirm: at most 256 ranges, else a lower ``upto``."""
        missing: list[Range] = []
        for first, last in self.missing():
            if len(missing) == RANGES_MAX:
                return Settled(first - 1, tuple(missing))
            missing.append((first, last))
        return Settled(self.top, tuple(missing))

    def missing(self) -> Iterator[Range]:
        """Ranges up to ``top`` that are neither here nor told, ascending, touching ones joined.

        Needs every open block."""
        held: Range | None = None
        for first, last in self._holes():
            if held is not None and first == held[1] + 1:
                held = (held[0], last)
                continue
            if held is not None:
                yield held
            held = (first, last)
        if held is not None:
            yield held

    def _holes(self) -> Iterator[Range]:
        top = self.top
        for low, high in self.closed.absent(self.floor + 1, (top >> 12) + 1):
            yield from self._open(low - 1, high - 1, top)

    def _open(self, low: int, high: int, top: int) -> Iterator[Range]:
        """Holes of the blocks low..high, none of them closed."""
        at = low
        for number in sorted(n for n in self.blocks if low <= n <= high):
            if number > at:
                yield max(1, at * BLOCK), number * BLOCK - 1
            base, block = number * BLOCK, self.blocks[number]
            bits = ~(block.have | block.told) & ALL
            if base + BLOCK - 1 > top:
                bits &= (1 << (top - base + 1)) - 1
            yield from bit_runs(bits, base)
            at = number + 1
        first, last = max(1, at * BLOCK), min(top, (high + 1) * BLOCK - 1)
        if at <= high and first <= last:  # Of a device that has told nothing yet, there is none.
            yield first, last

    def _close(self, number: int) -> None:
        self.closed.add(number + 1, number + 1)
        span = self.closed.span(self.floor + 1)
        if span is not None:
            self.floor = span[1]


def stored(block: Block) -> tuple[bytes | None, bytes | None]:
    """What `Account.load` reads: (have, told)."""
    return (None if block.have == ALL else pack(block.have), pack(block.told) or None)


def pieces(first: int, last: int, shown: int | None) -> Iterator[tuple[int, int]]:
    """A gap as (block, bits): all of first..last, or of them the bits ``shown`` (bit k =
    first + k)."""
    bits = (1 << (last - first + 1)) - 1 if shown is None else shown
    bits &= (1 << (last - first + 1)) - 1
    number, shift = first >> 12, first & 4095
    bits <<= shift
    while bits:
        part = bits & ALL
        if part:
            yield number, part
        bits >>= BLOCK
        number += 1


def bit_runs(bits: int, base: int) -> Iterator[Range]:
    """Runs of set bits as ranges of ``base + k``, ascending."""
    at = base
    while bits:
        skip = (bits & -bits).bit_length() - 1
        bits >>= skip
        length = (~bits & (bits + 1)).bit_length() - 1
        yield at + skip, at + skip + length - 1
        bits >>= length
        at += skip + length
