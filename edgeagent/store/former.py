"""What can still be read of a database that was set aside, sound or damaged."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgeagent.errors import InputError, StoreError
from edgeagent.store.database import FILE, Database, close_quietly, last_seq
from edgeagent.store.encode import GAP, decoded, encoded_again, intact
from edgeagent.store.ledger import Ledger
from edgeagent.store.ranges import Ranges

_COPIED: dict[str, tuple[str, tuple[type, ...]]] = {
    "command": (
        "number, id, type, digest, issuer, at, since, status, final, cleared",
        (int, str, str, str, str, str, str, bytes, int, int),
    ),
    "memory": ("key, value", (str, bytes)),
    "dead": ("epoch, seq, reason, at, body", (str, int, str, str, bytes)),
    "past": ("epoch, reason, at", (str, str, str)),
}
_GAPS = f"SELECT seq, crc, body FROM record WHERE kind = {GAP} ORDER BY seq"
_PAST = 100
_GIVE_UP = 1_000_000
"""Seqs in a row that can't be read: the rest can't be either."""
_MARK = "carry "
"""Prefix of the keys in `memory` under which carrying notes new ids of old events."""


class Former:
    """What can still be read of a database that was set aside. Never raises for damage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epoch = ""
        self.born_at = ""
        self.first_open = 1
        self.produced: int | None = None
        self.settled = Ranges()
        self.past: set[str] = set()
        self.carry: dict[str, int] = {}
        self.damaged = False

    @classmethod
    def read(cls, folder: Path) -> Former:
        """Collect what the small tables say."""
        old = cls(folder)
        db = old.open()
        if db is None:
            return old
        try:
            for row in old._try(db, "SELECT epoch, born_at, produced FROM account", str, str, int):
                old.epoch, old.born_at, old.produced = row
            ranges = "SELECT first, last FROM range WHERE name = 'settled'"
            old.settled = Ranges(old._try(db, ranges, int, int))
            old.past = {epoch for (epoch,) in old._try(db, "SELECT epoch FROM past", str)}
            old.carry = dict(old._try(db, "SELECT folder, upto FROM carry", str, int))
            if old.produced is None:
                highest_first = "SELECT seq FROM record ORDER BY seq DESC LIMIT 1"
                for (highest,) in old._try(db, highest_first, int):
                    old.produced = highest
            old.first_open = next((low for low, _ in old.settled.absent(1, 1 << 62)), 1)
        finally:
            close_quietly(db)
        return old

    def open(self) -> Database | None:
        """A connection to it; None = not even that."""
        try:
            db = Database(self.folder / FILE)
            db.prepare_to_read()
            db.value("SELECT count(*) FROM sqlite_master")
        except StoreError:
            self.damaged = True
            return None
        return db

    def copy_into(self, db: Database) -> None:
        """Copy journal, memory, dead letters, evidence and open events as far as readable."""
        source = self.open()
        if source is None:
            return
        try:
            for table, (columns, types) in _COPIED.items():
                marks = ", ".join("?" * (columns.count(",") + 1))
                rows = self._try(source, f"SELECT {columns} FROM {table}", *types)
                db.run_many(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", rows)
            self._copy_evidence(source, db)
            events = self._try(
                source, "SELECT id, pipeline, key, session, data FROM event", *[str] * 4, bytes
            )
            db.run_many(
                "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?)",
                [(id_ if "/" in id_ else f"{self.epoch}/{id_}", *rest) for id_, *rest in events],
            )
            db.run(
                "DELETE FROM past WHERE epoch NOT IN"
                " (SELECT epoch FROM past ORDER BY at DESC, epoch DESC LIMIT ?)",
                (_PAST,),
            )
            db.run("DELETE FROM memory WHERE key GLOB ?", (f"{_MARK}*",))
        finally:
            close_quietly(source)

    def gaps_into(self, ledger: Ledger) -> None:
        """Copy the gaps that wait to be delivered, at once: they are never dropped. Of the
        former epoch's own it becomes clear now which epoch they mean."""
        source = self.open()
        if source is None:
            return
        try:
            for rows in _portions(self._try(source, _GAPS, int, int, bytes), 100):
                ledger.begin()
                told = [self._foreign_gap(*row) for row in rows if row[0] not in self.settled]
                ledger.add(
                    [
                        (
                            ledger.produced + number,
                            GAP,
                            encoded_again({**gap, "seq": ledger.produced + number}),
                        )
                        for number, gap in enumerate((gap for gap in told if gap), start=1)
                    ],
                    {},
                )
                ledger.commit()
        finally:
            close_quietly(source)

    def _foreign_gap(self, seq: int, crc: int, body: bytes) -> dict[str, Any]:
        try:
            if not intact(seq, crc, body):
                raise InputError("changed by the medium")
            return {"seq": 0, "kind": "gap", "epoch": self.epoch, **decoded(body)}
        except InputError:
            self.damaged = True
            return {}

    def _copy_evidence(self, source: Database, db: Database) -> None:
        """Evidence of delivered records may go at once (seq 0); the rest waits for its record
        to be carried."""
        rows = self._try(
            source, "SELECT sha256, seq, bytes, type, state, next FROM blob",
            str, int, int, str, int, int,
        )  # fmt: skip
        db.run_many(
            "INSERT OR IGNORE INTO blob VALUES (?, ?, ?, ?, ?, ?)",
            [(sha, 0 if seq in self.settled else 1 << 62, *rest) for sha, seq, *rest in rows],
        )

    def _try(self, db: Database, sql: str, *types: type) -> list[tuple[Any, ...]]:
        """Rows of ``types`` until the damage begins."""
        found: list[tuple[Any, ...]] = []
        try:
            found.extend(db.each(sql))
        except StoreError:
            self.damaged = True
        sound = [row for row in found if all(map(isinstance, row, types))]
        self.damaged = self.damaged or len(sound) < len(found)
        return sound

    def records(self, db: Database, after: int, limit: int) -> list[tuple[int, int, bytes]]:
        """Up to ``limit`` readable pending rows beyond ``after``, gaps aside; empty = no more.

        Where a page is damaged the scan fails, and rows are asked for one by one: those on
        sound pages still come.
        """
        top, barren = self.produced or 0, 0
        while after < top and barren < _GIVE_UP:
            try:
                rows = db.rows(
                    "SELECT seq, kind, crc, body FROM record WHERE seq > ? ORDER BY seq LIMIT ?",
                    (after, limit),
                )
                after = last_seq(rows, after, db.path) if rows else top
            except StoreError:
                self.damaged = True
                rows = list(self._singly(db, after + 1, min(after + limit, top)))
                after += limit
                barren = 0 if rows else barren + limit
            found = [
                (seq, kind, body)
                for seq, kind, crc, body in rows
                if isinstance(kind, int)
                and kind != GAP
                and seq not in self.settled
                and intact(seq, crc, body)
            ]
            if found:
                return found
        return []

    def _singly(self, db: Database, first: int, last: int) -> Iterable[tuple[Any, ...]]:
        for seq in range(first, last + 1):
            try:
                yield from db.rows("SELECT seq, kind, crc, body FROM record WHERE seq = ?", (seq,))
            except StoreError:
                continue


def _portions(rows: list[tuple[Any, ...]], size: int) -> Iterable[list[tuple[Any, ...]]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
