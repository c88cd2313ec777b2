"""Shared memory through which a child hands over pictures without copying them.

The child makes the ring once it knows the size of a picture (`Slots`), seals its size, and
sends the file descriptor; it has no name, so nothing is left when both processes are gone.
The reader (`Ring`) makes arrays that lie in the ring itself. Who owns a slot is told by
messages only (`capture.child`), never by flags in the memory: a socket orders memory accesses
on every architecture. A slot goes back by itself when the last array that shows it is gone.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Slots:
    """The writing side: ``count`` places for pictures of up to ``size`` bytes."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        # Whole pages, so that a place that is never used never gets memory.
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self.fd = os.memfd_create("edgeagent-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.count * self.size)
        # Against SIGBUS: the reader can rely on the size for as long as it looks.
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        memory = mmap.mmap(self.fd, self.count * self.size)
        memory.madvise(mmap.MADV_DONTDUMP)
        self._bytes = np.frombuffer(memory, np.uint8)

    def view(self, slot: int, shape: tuple[int, ...]) -> Picture:
        """A writable array of ``shape`` at a place."""
        start = slot * self.size
        return self._bytes[start : start + math.prod(shape)].reshape(shape)


class Ring:
    """The reading side.

    Args:
        fd: what the child sent; the ring keeps no hold of it.
        count, size: as the child says.
        give_back: called with a slot's number when nobody looks at it any more, from any
            thread; must not raise.

    Raises:
        ValueError: the memory is not sealed or too small, so that reading it could crash.
    """

    def __init__(self, fd: int, count: int, size: int, give_back: Callable[[int], None]) -> None:
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise ValueError("the ring is not sealed")
        if count < 1 or size < 1 or os.fstat(fd).st_size < count * size:
            raise ValueError("the ring is smaller than it says")
        self.count = count
        self.size = size
        self._memory = mmap.mmap(fd, count * size)
        # Where core dumps are allowed, the ring with its many pictures is in none.
        self._memory.madvise(mmap.MADV_DONTDUMP)
        self._address = int(np.frombuffer(self._memory, np.uint8).ctypes.data)
        self._give_back = give_back
        self._lent = 0

    @property
    def lent(self) -> int:
        """Slots that somebody looks at."""
        return self._lent

    def picture(self, slot: int, shape: tuple[int, ...]) -> Picture:
        """The picture in a slot, in place; a copy where nearly all slots are lent already.

        Raises:
            ValueError: the slot or the shape lies outside the ring.
        """
        if not 0 <= slot < self.count or min(shape) < 1 or math.prod(shape) > self.size:
            raise ValueError(f"no picture of shape {shape} in slot {slot}")
        loan = _Loan(self, slot, self._address + slot * self.size, shape)
        picture = np.asarray(loan)
        # One slot must always be on its way back, or the child could write no newer picture.
        return picture.copy() if self._lent >= self.count - 1 else picture

    def returned(self, slot: int) -> None:
        """Called by a loan at its end."""
        self._lent -= 1
        self._give_back(slot)


class _Loan:
    """The owner of an array in the ring: numpy keeps it alive for as long as any view lives
    (views of views point to it as well, which a weak reference to one array would miss)."""

    def __init__(self, ring: Ring, slot: int, address: int, shape: tuple[int, ...]) -> None:
        self.__array_interface__: dict[str, Any] = {
            "shape": shape,
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }
        self._ring = ring
        self._slot = slot
        ring._lent += 1

    def __del__(self) -> None:
        self._ring.returned(self._slot)
