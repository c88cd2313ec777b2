"""Which parts of a file are here. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

UNIT = 1024
"""Bytes that are accounted for together: chunks of any size are a multiple of it."""


class Pieces:
    """The units of a file of ``size`` bytes, and which of them are here.

    Chunks may change their size from one request to the next, so the account is in units.
    """

    def __init__(self, size: int, here: Iterable[tuple[int, int]] = ()) -> None:
        """``here`` are ranges of units, both ends included, as `ranges` gives them."""
        self.size = size
        self.units = -(-size // UNIT)
        self._here = bytearray(self.units)
        self.missing = self.units
        for first, last in here:
            if 0 <= first <= last < self.units:
                self._mark(first, last + 1)

    @property
    def complete(self) -> bool:
        return self.missing == 0

    @property
    def done(self) -> int:
        """Bytes that are here."""
        return min(self.size, (self.units - self.missing) * UNIT)

    def add(self, offset: int, length: int) -> int:
        """Note bytes as present; returns how many units are new.

        Raises ValueError where they don't begin and end at units (the file's end aside).
        """
        end = offset + length
        if offset % UNIT or length <= 0 or end > self.size or (end % UNIT and end != self.size):
            raise ValueError(f"{length} bytes at {offset} are no units of {self.size} bytes")
        return self._mark(offset // UNIT, -(-end // UNIT))

    def length(self, index: int, chunk: int) -> int:
        """Bytes of a chunk; 0 = there is no such one."""
        return max(0, min(chunk, self.size - index * chunk))

    def has(self, index: int, chunk: int) -> bool:
        """Whether all of a chunk is here."""
        first = index * chunk // UNIT
        return self._here.find(0, first, min(self.units, first + chunk // UNIT)) < 0

    def lacking(self, chunk: int, first: int = 0) -> Iterator[int]:
        """Indexes from ``first`` on of the chunks of which something is missing, ascending; they
        may be marked while this runs."""
        per = chunk // UNIT
        place = self._here.find(0, first * per)
        while place >= 0:
            index = place // per
            yield index
            place = self._here.find(0, (index + 1) * per)

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Missing ranges in bytes: first, and the one after the last."""
        place = self._here.find(0)
        while place >= 0:
            end = self._here.find(1, place)
            end = self.units if end < 0 else end
            yield place * UNIT, min(self.size, end * UNIT)
            place = self._here.find(0, end)

    def ranges(self) -> list[tuple[int, int]]:
        """Ranges of units that are here, both ends included."""
        found, at = [], 0
        for first, end in self.gaps():
            if first // UNIT > at:
                found.append((at, first // UNIT - 1))
            at = -(-end // UNIT)
        if at < self.units:
            found.append((at, self.units - 1))
        return found

    def _mark(self, first: int, end: int) -> int:
        new = self._here.count(0, first, end)
        self._here[first:end] = b"\x01" * (end - first)
        self.missing -= new
        return new
