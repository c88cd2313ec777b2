"""Carrying the pending records of a former epoch into the present one, a few at a time.

Each gets a new number, and ``was`` names the old one, so that a receiver who has it already
can tell. The place reached is committed with the records: a crash neither loses nor doubles.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeagent.errors import InputError
from edgeagent.store import epochs
from edgeagent.store.database import Database, close_quietly
from edgeagent.store.encode import EVENT, decoded, encoded_again
from edgeagent.store.former import Former
from edgeagent.store.ledger import Ledger

_ROWS = 100


class Carrier:
    """Carries what is registered in the table `carry`. Belongs to the writing thread."""

    def __init__(self, folder: Path, ledger: Ledger, group_bytes: int) -> None:
        self._folder = folder
        self._ledger = ledger
        self._group_bytes = group_bytes
        self._former: Former | None = None
        self._source: Database | None = None

    def waiting(self) -> bool:
        return self._ledger.db.value("SELECT 1 FROM carry LIMIT 1") is not None

    def step(self) -> bool:
        """Carry one group, in its own transaction. True = there may be more. Raises StoreError."""
        row = self._ledger.db.one("SELECT folder, upto FROM carry ORDER BY folder LIMIT 1")
        if row is None:
            return False
        name, upto = row
        if self._former is None or self._former.folder.name != name:
            self.close()
            self._former = Former.read(self._folder / "aside" / name)
            self._source = self._former.open()
        rows: list[tuple[int, int, bytes]] = []
        if self._source is not None:
            rows = self._former.records(self._source, upto, _ROWS)
        if rows:
            self._take(name, rows)
        else:
            self._finish(name)
        return True

    def close(self) -> None:
        if self._source is not None:
            close_quietly(self._source)
        self._former = self._source = None

    def _take(self, name: str, rows: list[tuple[int, int, bytes]]) -> None:
        ledger = self._ledger
        taken: list[tuple[int, int, bytes]] = []
        weight = 0
        ledger.begin()
        for old_seq, kind, body in rows:
            upto = old_seq
            try:
                record = decoded(body)
            except InputError:
                # Damage inside a page that still reads: it belongs to the unknown end.
                continue
            seq = ledger.produced + len(taken) + 1
            taken.append((seq, kind, encoded_again(self._renumbered(record, old_seq, seq, kind))))
            weight += len(body)
            if weight >= self._group_bytes:
                break
        ledger.add(taken, {})
        ledger.db.run("UPDATE carry SET upto = ? WHERE folder = ?", (upto, name))
        ledger.commit()

    def _renumbered(
        self, record: dict[str, Any], old_seq: int, seq: int, kind: int
    ) -> dict[str, Any]:
        epoch = self._former.epoch if self._former else ""
        ledger = self._ledger
        record["seq"] = seq
        record["was"] = {"epoch": epoch, "seq": old_seq}
        if kind == EVENT and isinstance(record.get("data"), dict) and "id" in record["data"]:
            record["data"]["id"] = self._event_id(f"{epoch}/{record['data']['id']}", seq)
        for blob in record.get("blobs", ()):
            ledger.db.run("UPDATE blob SET seq = ? WHERE sha256 = ?", (seq, blob["sha256"]))
        if record.get("clock") == "unsynced" and record.get("boot") == ledger.boot:
            ledger.unsynced.add(seq, seq)
        return record

    def _event_id(self, old_id: str, seq: int) -> str:
        """The event's id in this epoch: the number of its first record here."""
        db, key = self._ledger.db, f"carry {old_id}"
        known = db.value("SELECT value FROM memory WHERE key = ?", (key,))
        if known is not None:
            return bytes(known).decode()
        db.run("INSERT INTO memory VALUES (?, ?)", (key, f"e-{seq}".encode()))
        db.run("UPDATE event SET id = ? WHERE id = ?", (f"e-{seq}", old_id))
        return f"e-{seq}"

    def _finish(self, name: str) -> None:
        damaged = self._former is not None and self._former.damaged
        self.close()
        # First the folder: if that is repeated after a crash, nothing is carried twice.
        epochs.finish(self._folder, name, damaged=damaged)
        ledger = self._ledger
        ledger.begin()
        ledger.db.run("DELETE FROM carry WHERE folder = ?", (name,))
        ledger.db.run("DELETE FROM memory WHERE key GLOB 'carry *'")
        # Evidence of records that could not be carried.
        ledger.db.run("UPDATE blob SET seq = 0 WHERE seq = ?", (1 << 62,))
        ledger.commit()
