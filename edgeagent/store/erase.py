"""Erasing on demand (privacy): the bytes go, a gap stays.

SQLite overwrites what it deletes (``secure_delete``), and the log is cut afterwards, since it
still holds former pages. What a flash controller keeps of overwritten blocks is out of reach.
"""

from __future__ import annotations

from functools import partial

from edgeagent.errors import InputError
from edgeagent.store.commit import Committer
from edgeagent.store.database import last_seq
from edgeagent.store.encode import GAP, decoded, rfc3339
from edgeagent.store.ledger import Ledger

ERASED = "erased"
_ROWS = 500


def erase(committer: Committer, before_ns: int) -> int:
    """Erase what is older than ``before_ns``; gaps stay. Runs in the writing thread.

    Returns the number of records. Raises StoreError.
    """
    before = rfc3339(before_ns)
    db = committer.ledger.db
    db.run("PRAGMA secure_delete = ON")
    try:
        erased = _records(committer, before)
        committer.job(lambda ledger: ledger.db.run("DELETE FROM dead WHERE at < ?", (before,)))
    finally:
        db.run("PRAGMA secure_delete = OFF")
    db.run("PRAGMA wal_checkpoint(TRUNCATE)")
    committer.space.reserve(db)
    return erased


def _records(committer: Committer, before: str) -> int:
    ledger = committer.ledger
    after = erased = 0
    while True:
        rows = ledger.db.rows(
            "SELECT seq, kind, body FROM record WHERE seq > ? ORDER BY seq LIMIT ?", (after, _ROWS)
        )
        if not rows:
            return erased
        after = last_seq(rows, after, ledger.db.path)
        old = [(seq, body) for seq, kind, body in rows if kind != GAP and _at(body) < before]
        if not old:
            continue
        pending = [seq for seq, _ in old if seq not in ledger.settled]
        kept = [seq for seq, _ in old if seq in ledger.settled]
        committer.job(partial(_delete, committer, pending, kept))
        erased += len(old)


def _delete(committer: Committer, pending: list[int], kept: list[int], ledger: Ledger) -> None:
    for seq in (*pending, *kept):
        committer.shelf.erase(seq)
    for seq in kept:
        ledger.delete(seq, seq)
    if pending:
        ledger.drop(pending, ERASED)


def _at(body: bytes) -> str:
    try:
        return str(decoded(body).get("at", ""))
    except InputError:
        # Not readable, so of unknown age: older than anything.
        return ""
