"""Sets of numbers as ranges, and the bitmaps by which a gap tells what it covers."""

from __future__ import annotations

import base64
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """A set of positive integers as sorted, disjoint, non-touching closed ranges.

    A ``tracked`` one remembers which stored rows ``add`` and ``remove`` changed, so that a
    table of ``(first, last)`` can follow with few writes (`take_changes`).
    """

    __slots__ = ("_changes", "_firsts", "_lasts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = (), *, tracked: bool = False) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._changes: dict[int, int | None] | None = None
        for first, last in ranges:
            self.add(first, last)
        if tracked:
            self._changes = {}

    def add(self, first: int, last: int) -> None:
        """Add the numbers first..last; ranges that touch grow together."""
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
            if high - low == 1 and self._firsts[low] == first and self._lasts[low] == last:
                return
            self._note((gone, None) for gone in self._firsts[low:high])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]
        self._note([(first, last)])

    def remove(self, first: int, last: int) -> None:
        """Take the numbers first..last out."""
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        if low >= high:
            return
        kept: list[tuple[int, int]] = []
        if self._firsts[low] < first:
            kept.append((self._firsts[low], first - 1))
        if self._lasts[high - 1] > last:
            kept.append((last + 1, self._lasts[high - 1]))
        self._note((gone, None) for gone in self._firsts[low:high])
        self._firsts[low:high] = [pair[0] for pair in kept]
        self._lasts[low:high] = [pair[1] for pair in kept]
        self._note(kept)

    def update(self, other: Iterable[tuple[int, int]]) -> None:
        for first, last in other:
            self.add(first, last)

    def subtract(self, other: Iterable[tuple[int, int]]) -> None:
        for first, last in other:
            self.remove(first, last)

    def take_changes(self) -> dict[int, int | None]:
        """Changed rows since the last call: first → last, or None = the row is gone."""
        changes, self._changes = self._changes or {}, {}
        return changes

    def _note(self, rows: Iterable[tuple[int, int | None]]) -> None:
        if self._changes is not None:
            self._changes.update(rows)

    def within(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The ranges cut to first..last."""
        for index in range(bisect_left(self._lasts, first), bisect_right(self._firsts, last)):
            yield max(first, self._firsts[index]), min(last, self._lasts[index])

    def absent(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The ranges of first..last that are *not* in the set."""
        at = first
        for low, high in self.within(first, last):
            if low > at:
                yield at, low - 1
            at = high + 1
        if at <= last:
            yield at, last

    def span(self, number: int) -> tuple[int, int] | None:
        """The range that holds ``number``."""
        index = bisect_left(self._lasts, number)
        if index < len(self._firsts) and self._firsts[index] <= number:
            return self._firsts[index], self._lasts[index]
        return None

    def before(self, number: int) -> int:
        """The end of the last range that ends before ``number``; 0 = none."""
        index = bisect_left(self._lasts, number)
        return self._lasts[index - 1] if index else 0

    def copy(self) -> Ranges:
        twin = Ranges()
        twin._firsts = self._firsts.copy()
        twin._lasts = self._lasts.copy()
        return twin

    def __contains__(self, number: int) -> bool:
        index = bisect_left(self._lasts, number)
        return index < len(self._firsts) and self._firsts[index] <= number

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._firsts, self._lasts, strict=True)))

    def __len__(self) -> int:
        """How many ranges (not numbers)."""
        return len(self._firsts)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    @property
    def count(self) -> int:
        """How many numbers."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def last(self) -> int:
        """The largest number; 0 = empty."""
        return self._lasts[-1] if self._lasts else 0

    def __repr__(self) -> str:
        return f"Ranges({list(self)!r})"


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as ranges: 1, 2, 3, 7 → (1, 3), (7, 7)."""
    first = last = -1
    for number in numbers:
        if first >= 0 and number == last + 1:
            last = number
            continue
        if first >= 0:
            yield first, last
        first = last = number
    if first >= 0:
        yield first, last


def bits_of(numbers: Iterable[int], base: int) -> int:
    """Numbers as bits of one integer: bit k = ``base + k``."""
    bits = 0
    for number in numbers:
        bits |= 1 << (number - base)
    return bits


def numbers_of(bits: int, base: int) -> Iterator[int]:
    """The inverse of `bits_of`, ascending."""
    while bits:
        low = bits & -bits
        yield base + low.bit_length() - 1
        bits ^= low


def pack(bits: int) -> bytes:
    """Bits as bytes, least significant bit first (contract §2)."""
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def unpack(packed: bytes) -> int:
    return int.from_bytes(packed, "little")


def bitmap_text(bits: int) -> str:
    """What stands in a gap's ``dropped``."""
    return base64.b64encode(pack(bits)).decode("ascii")
