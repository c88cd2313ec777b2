"""Tells devices what is in the database for good (contract §2, ``confirm/{collector}``).

Which confirms are due is a question to the database, not to a process's memory: whoever asks
first within two seconds gets to publish it, and what a killed process left untold is told by
another. Only the epoch that a device writes now is confirmed: the topic holds one message.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from edgeagent.fleet.account import Settled
from edgeagent.fleet.archive import Archive
from edgeagent.sync.schema import Confirm

EVERY_S = 2.0
"""At most one per device in this time."""
_AT_ONCE = 200
_LONGEST_S = 3600.0


class Due(NamedTuple):
    """A confirm to be published now."""

    device: str
    stream: int
    version: int
    payload: bytes


class Confirms:
    """The confirms of one collector's name.

    One that names something missing is repeated after ``again_s`` (then twice that, and so on
    up to an hour), since a device ignores it while the broker's acknowledgement is young.
    """

    def __init__(self, archive: Archive, collector: str, *, again_s: float = 30.0) -> None:
        self._archive = archive
        self._collector = collector
        self._again_s = again_s
        self._accepted: dict[int, int] = {}
        self._all_since = float("-inf")

    def connected(self) -> None:
        """A broker forgets what it retained: tell every device again, once."""
        self._all_since = self._archive.db.now() - EVERY_S

    def accepted(self, due: Due) -> None:
        """The broker has it."""
        self._accepted[due.stream] = max(due.version, self._accepted.get(due.stream, -1))

    def due(self) -> list[Due]:
        """Claim what must be published now. Raises what `Database` does."""
        db = self._archive.db
        now = db.now()
        self._note()
        found = db.rows(
            "SELECT s.id FROM device d JOIN stream s ON s.id = d.stream"
            " LEFT JOIN confirm c ON c.stream = s.id AND c.collector = ?"
            " WHERE coalesce(c.at, 0) < ? AND (s.version > coalesce(c.version, -1)"
            " OR coalesce(c.at, 0) < ? OR (c.wait > 0 AND c.at + c.wait < ?))"
            " ORDER BY coalesce(c.at, 0) LIMIT ?",
            (self._collector, now - EVERY_S, self._all_since, now, _AT_ONCE),
        )
        return self._claim([stream for (stream,) in found], now) if found else []

    def _claim(self, streams: list[int], now: float) -> list[Due]:
        archive, db = self._archive, self._archive.db
        claimed: list[Due] = []
        rows: list[tuple[str, int, float, float]] = []
        try:
            with db.transaction():
                accounts = archive.locked(streams)
                condition, value = db.among("s.id", streams)
                for stream, device, epoch, told, wait in db.rows(
                    "SELECT s.id, s.device, s.epoch, coalesce(c.version, -1), coalesce(c.wait, 0)"
                    " FROM stream s LEFT JOIN confirm c ON c.stream = s.id AND c.collector = ?"
                    f" WHERE {condition} AND coalesce(c.at, 0) < ?",
                    (self._collector, value, now - EVERY_S),
                ):
                    version, settled = accounts[stream].version, accounts[stream].settled()
                    claimed.append(Due(device, stream, version, self._payload(settled, epoch)))
                    longer = self._again_s if told < version else min(2 * wait, _LONGEST_S)
                    rows.append((self._collector, stream, now, longer if settled.missing else 0.0))
                db.many(
                    "INSERT INTO confirm (collector, stream, at, wait) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (collector, stream)"
                    " DO UPDATE SET at = excluded.at, wait = excluded.wait",
                    sorted(rows),
                )
        except BaseException:
            archive.forget()
            raise
        return claimed

    def present(self, stream: int, epoch: str) -> bytes:
        """The confirm of one stream as it is now, whatever was told before."""
        with self._archive.db.transaction():
            account = self._archive.locked([stream])[stream]
        return self._payload(account.settled(), epoch)

    def _payload(self, settled: Settled, epoch: str) -> bytes:
        return msgspec.json.encode(
            Confirm(
                epoch=epoch, upto=settled.upto, missing=list(settled.missing), by=self._collector
            )
        )

    def _note(self) -> None:
        """Remember what the broker has accepted."""
        accepted = dict(self._accepted)
        if not accepted:
            return
        with self._archive.db.transaction():
            self._archive.db.many(
                "UPDATE confirm SET version = ? WHERE collector = ? AND stream = ? AND version < ?",
                [(version, self._collector, stream, version)
                 for stream, version in sorted(accepted.items())],
            )  # fmt: skip
        for stream, version in accepted.items():
            if self._accepted.get(stream) == version:
                del self._accepted[stream]
