"""The journal of commands: at most once per id, through crashes (contract §3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from edgeagent.clock import parse_rfc3339
from edgeagent.errors import NotFound
from edgeagent.store.age import Limit, Stamp
from edgeagent.store.encode import rfc3339
from edgeagent.store.ledger import Ledger
from edgeagent.store.reading import Reading
from edgeagent.store.writer import Writer

FINAL = frozenset({"successful", "failed", "rejected", "expired", "cancelled"})
KEEP = 10_000
"""Ids that are remembered at most."""
KEEP_DAYS = 90
_NEWEST_PRUNED = "journal newest pruned"
_COLUMNS = "id, type, digest, issuer, at, status, final"


class Entry(Struct, frozen=True):
    """One journaled command."""

    id: str
    type: str
    digest: str
    """Hash of the command's content: another content under a known id is a conflict."""
    by: str
    at: str
    """The command's own time, RFC 3339 or empty."""
    status: dict[str, Any]
    """The last status as it is put on the wire."""
    final: bool


class Claim(Struct, frozen=True):
    """Answer to `Journal.claim`. ``new``: it is journaled now, do it. ``known``: same id, same
    content: answer with ``entry.status``. ``conflict``: same id, other content."""

    outcome: Literal["new", "known", "conflict"]
    entry: Entry


class Journal:
    """Blocking calls (some ms): changes are on the medium when they return. Any thread.

    Raises of all: StoreError.
    """

    def __init__(self, writer: Writer, reading: Reading) -> None:
        self._writer = writer
        self._reading = reading

    def claim(
        self, id: str, type: str, digest: str, at: str = "", by: str = "",
        status: Mapping[str, Any] | None = None,
    ) -> Claim:  # fmt: skip
        """Journal ``id`` if it is unknown. ``status`` (default ``{"status": "accepted"}``) is
        what a crash right after this leaves behind."""
        first = dict(status or {"status": "accepted"})

        def write(ledger: Ledger) -> Claim:
            row = ledger.db.one(f"SELECT {_COLUMNS} FROM command WHERE id = ?", (id,))
            if row is not None:
                entry = _entry(row)
                same = (entry.digest, entry.type) == (digest, type)
                return Claim("known" if same else "conflict", entry)
            final = first.get("status") in FINAL
            ledger.db.run(
                "INSERT INTO command (id, type, digest, issuer, at, since, status, final)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (id, type, digest, by, at, _now(ledger), msgspec.json.encode(first), final),
            )
            _prune(ledger)
            return Claim("new", Entry(id, type, digest, by, at, first, final))

        return self._writer.transact(write)

    def update(self, id: str, status: Mapping[str, Any]) -> None:
        """Replace the status; it is final when ``status["status"]`` is successful, failed,
        rejected, expired or cancelled. Raises NotFound."""
        body = msgspec.json.encode(dict(status))
        final = status.get("status") in FINAL

        def write(ledger: Ledger) -> None:
            if ledger.db.value("SELECT 1 FROM command WHERE id = ?", (id,)) is None:
                raise NotFound(f"the journal knows no command {id}")
            ledger.db.run(
                "UPDATE command SET status = ?, final = ? WHERE id = ?", (body, final, id)
            )

        self._writer.transact(write)

    def clear(self, id: str) -> None:
        """The requester has cleared it: it is never published again (the id stays known)."""
        self._writer.transact(
            lambda ledger: ledger.db.run("UPDATE command SET cleared = 1 WHERE id = ?", (id,))
        )

    def get(self, id: str) -> Entry | None:
        rows = self._reading.rows(f"SELECT {_COLUMNS} FROM command WHERE id = ?", (id,))
        return _entry(rows[0]) if rows else None

    def open_commands(self) -> list[Entry]:
        """Not final, oldest first: after a start they resume or fail ``interrupted``."""
        return self._list("final = 0")

    def published(self) -> list[Entry]:
        """Entries that are not cleared, oldest first: to be re-published at each connect."""
        return self._list("cleared = 0")

    def latest(self, count: int) -> list[Entry]:
        """The newest ``count``, newest first, for people."""
        rows = self._reading.rows(
            f"SELECT {_COLUMNS} FROM command ORDER BY number DESC LIMIT ?", (count,)
        )
        return [_entry(row) for row in rows]

    @property
    def newest_pruned_at(self) -> str:
        """A command whose ``at`` is not after this is stale; empty = nothing was pruned."""
        found = self._reading.value("SELECT value FROM memory WHERE key = ?", (_NEWEST_PRUNED,))
        return "" if found is None else bytes(found).decode()

    @property
    def born_at(self) -> str:
        """When this journal began, RFC 3339 (a younger journal than a command = re-flashed)."""
        return str(self._reading.value("SELECT born_at FROM account"))

    def forget_answers(self, limit: Limit, *, dry: bool = False) -> int:
        """Forget what commands that are over have answered, where that is old enough; that they
        were done is remembered. How many."""
        from edgeagent.store.kept import status_without_result  # seldom needed

        def forget(ledger: Ledger) -> int:
            # An answer may be a picture: one at a time, and none that has nothing to forget.
            sql = "SELECT number, since FROM command WHERE final = 1 AND instr(status, ?)"
            gone = 0
            for number, since in ledger.db.rows(sql, (b'"result"',)):
                if not limit.reached(Stamp(_ordered(since), synced=True)):
                    continue
                sql = "SELECT status FROM command WHERE number = ?"
                bare = status_without_result(ledger.db.value(sql, (number,)))
                gone += bare is not None
                if bare is not None and not dry:
                    ledger.db.run("UPDATE command SET status = ? WHERE number = ?", (bare, number))
            return gone

        return self._writer.transact(forget)

    def _list(self, where: str) -> list[Entry]:
        rows = self._reading.rows(f"SELECT {_COLUMNS} FROM command WHERE {where} ORDER BY number")
        return [_entry(row) for row in rows]


def _entry(row: tuple[Any, ...]) -> Entry:
    id_, type_, digest, issuer, at, status, final = row
    return Entry(id_, type_, digest, issuer, at, msgspec.json.decode(status), bool(final))


def _now(ledger: Ledger) -> str:
    """Empty while the clock is not trusted: such an entry never expires by age."""
    return rfc3339(ledger.clock.wall_ns()) if ledger.trusted else ""


def _prune(ledger: Ledger) -> None:
    """Forget the oldest final commands beyond the limits; remember the newest ``at`` of them."""
    db = ledger.db
    spare = int(db.value("SELECT count(*) FROM command")) - KEEP
    doomed = db.rows(
        "SELECT number, at FROM command WHERE final = 1 ORDER BY number LIMIT ?", (max(spare, 0),)
    )
    if ledger.trusted:
        limit = rfc3339(ledger.clock.wall_ns() - KEEP_DAYS * 86_400 * 10**9)
        doomed += db.rows(
            "SELECT number, at FROM command WHERE final = 1 AND since != '' AND since < ?", (limit,)
        )
    if not doomed:
        return
    db.run_many("DELETE FROM command WHERE number = ?", [(number,) for number, _ in doomed])
    known = db.value("SELECT value FROM memory WHERE key = ?", (_NEWEST_PRUNED,))
    times = [at for _, at in doomed] + ([bytes(known).decode()] if known is not None else [])
    newest = max(times, key=_ordered)
    if newest:
        db.run("INSERT OR REPLACE INTO memory VALUES (?, ?)", (_NEWEST_PRUNED, newest.encode()))


def _ordered(at: str) -> int:
    try:
        return parse_rfc3339(at)
    except ValueError:
        # No time, or none that can be read: older than all.
        return 0
