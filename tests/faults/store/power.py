"""A disk that loses power: an apsw VFS under the outbox's own schema and SQL.

Writes are held back until the file is synced. When the power fails, an arbitrary part of what
was not synced reaches the file: any subset (a disk writes in any order between two barriers),
and each write of it perhaps only in part, by sectors of 512 bytes.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512


class Disk:
    """All files of one machine, and the moment at which its power fails."""

    def __init__(self, seed: int, fails_at: int) -> None:
        self.random = random.Random(seed)
        self.fails_at = fails_at
        self.operations = 0
        self.dead = False
        self.closing = False
        self.files: set[_File] = set()

    def step(self) -> bool:
        """One operation that changes something; the power may fail right before it. False =
        it is gone and nobody listens any more (SQLite closing its files)."""
        self.operations += 1
        if self.operations == self.fails_at:
            self.cut()
        if self.dead and not self.closing:
            raise apsw.IOError("the power is gone")
        return not self.dead

    def cut(self) -> None:
        self.dead = True
        for file in self.files:
            file.lose_power(self.random)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, base: str, name: Any, flags: Any) -> None:
        super().__init__(base, name, flags)
        self.disk = disk
        self.held: list[tuple[int, bytes] | int] = []
        """(offset, data) of a write, or the size of a truncation, since the last sync."""
        disk.files.add(self)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self.disk.step():
            self.held.append((offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        if self.disk.step():
            self.held.append(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self.disk.step():
            self._apply(self.held)
            super().xSync(flags)

    def xFileSize(self) -> int:  # noqa: N802
        size = super().xFileSize()
        for entry in self.held:
            size = entry if isinstance(entry, int) else max(size, entry[0] + len(entry[1]))
        return size

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        view = bytearray(amount)
        stored = super().xFileSize()
        if offset < stored:
            old = super().xRead(min(amount, stored - offset), offset)
            view[: len(old)] = old
        end = stored
        for entry in self.held:
            if isinstance(entry, int):
                end = entry
                keep = max(0, end - offset)
                view[keep:] = bytes(max(0, amount - keep))
                continue
            at, data = entry
            end = max(end, at + len(data))
            low, high = max(at, offset), min(at + len(data), offset + amount)
            if low < high:
                view[low - offset : high - offset] = data[low - at : high - at]
        return bytes(view[: max(0, end - offset)])

    def xClose(self) -> None:  # noqa: N802
        if not self.disk.dead:
            self._apply(self.held)
        self.disk.files.discard(self)
        super().xClose()

    def _apply(self, entries: Iterable[tuple[int, bytes] | int]) -> None:
        for entry in entries:
            if isinstance(entry, int):
                super().xTruncate(entry)
            else:
                super().xWrite(entry[1], entry[0])
        self.held = []

    def lose_power(self, chance: random.Random) -> None:
        share = chance.choice([0.0, 0.5, 0.9, 1.0])
        survived: list[tuple[int, bytes] | int] = []
        for entry in self.held:
            if chance.random() >= share:
                continue
            if not isinstance(entry, int) and chance.random() < 0.3:
                survived += _torn(entry, chance)
            else:
                survived.append(entry)
        self._apply(survived)


def _torn(entry: tuple[int, bytes], chance: random.Random) -> Iterator[tuple[int, bytes]]:
    offset, data = entry
    for at in range(0, len(data), SECTOR):
        if chance.random() < 0.5:
            yield offset + at, data[at : at + SECTOR]


class _Vfs(apsw.VFS):
    def __init__(self, name: str, disk: Disk) -> None:
        self.disk = disk
        self.name = name
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: Any) -> _File:  # noqa: N802
        return _File(self.disk, "", name, flags)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        if self.disk.step():
            super().xDelete(name, sync)


class Machine:
    """Gives connections whose disk is `Disk`, with the errors of the sqlite3 module."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._vfs = _Vfs(f"power-{id(self)}", disk)

    def connect(self, path: Path, read_only: bool) -> Powered:
        assert not read_only
        return Powered(path, self._vfs)

    def gone(self) -> None:
        self._vfs.unregister()


class Powered:
    """An apsw connection that looks like one of the sqlite3 module to the store."""

    def __init__(self, path: Path, vfs: _Vfs) -> None:
        self._disk = vfs.disk
        with _as_sqlite3():
            self._connection = apsw.Connection(str(path), vfs=vfs.name)
            # No shared memory goes through a VFS of ours: the log's index is in the heap.
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> list[tuple[Any, ...]]:
        with _as_sqlite3():
            return list(self._connection.execute(sql, parameters))

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:
        with _as_sqlite3():
            self._connection.executemany(sql, rows)

    def close(self) -> None:
        self._disk.closing = self._disk.dead
        with _as_sqlite3():
            self._connection.close()
        self._disk.closing = False


class _as_sqlite3:  # noqa: N801
    """Errors of apsw as those of the sqlite3 module."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, apsw.Error):
            raise sqlite3.OperationalError(str(error)) from error
