"""Deletes what is kept no longer, a little at a time. The account of it stays."""

from __future__ import annotations

import time

from edgeagent.fleet.database import Database

_EVERY_S = 60.0
_PORTION = 5000
_REFUSED_KEPT = 1000
_ORPHAN_S = 30 * 86400.0
"""Chunks of evidence that never became whole go after this at the latest."""


class Retention:
    """By the time of receipt, on the database's clock: a device's own may be wrong."""

    def __init__(self, db: Database, keep_s: float) -> None:
        self._db = db
        self._keep_s = keep_s
        self._due = 0.0

    def turn(self) -> None:
        """Delete one portion if it is time. Raises what `Database` does."""
        now = time.monotonic()
        if now < self._due:
            return
        full = self.delete()
        self._due = now + (0.5 if full else _EVERY_S)

    def delete(self) -> bool:
        """One portion of everything. True = there may be more."""
        db = self._db
        with db.transaction():
            now = db.now()
            full = self._records(now - self._keep_s) if self._keep_s else False
            full |= self._evidence(now - (self._keep_s or _ORPHAN_S), bool(self._keep_s))
            db.run(
                "DELETE FROM refused WHERE id IN"
                " (SELECT id FROM refused ORDER BY id DESC LIMIT ? OFFSET ?)",
                (_PORTION, _REFUSED_KEPT),
            )
        return full

    def _records(self, before: float) -> bool:
        count = self._db.run(
            "DELETE FROM record WHERE (stream, seq) IN"
            " (SELECT stream, seq FROM record WHERE received < ? LIMIT ?)",
            (self._db.stamp(before), _PORTION),
        )
        return count >= _PORTION

    def _evidence(self, before: float, everything: bool) -> bool:
        """Evidence, or only chunks of what was never told of or completed."""
        db = self._db
        rows = db.rows(
            "SELECT sha256 FROM blob WHERE received < ?"
            f"{'' if everything else ' AND bytes IS NULL'} LIMIT ?",
            (int(before), _PORTION),
        )
        if not rows:
            return False
        for table in ("piece", "evidence", "blob"):
            condition, value = db.among("sha256", [sha256 for (sha256,) in rows])
            db.run(f"DELETE FROM {table} WHERE {condition}", (value,))
        return len(rows) >= _PORTION
