"""Incidents, and the book of those that are open, so that a new process tells nothing twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from edgeagent import clock
from edgeagent.fleet.database import Database

Kind = Literal["broker", "many-offline", "offline", "no-events", "holes", "rollout"]
KINDS: tuple[Kind, ...] = ("broker", "many-offline", "offline", "no-events", "holes", "rollout")
FOR_EVER: frozenset[str] = frozenset({"rollout"})
"""They have happened: that it is over is not told."""


class Incident(Struct, frozen=True):
    """Something that is so now."""

    kind: str
    subject: str
    """Device, rollout or stream; empty = all."""
    since: float
    """Seconds since 1970."""
    sentence: str
    detail: Mapping[str, Any] = {}

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.subject


class Alert(Struct, frozen=True):
    """What is told of an incident."""

    incident: Incident
    ended: float = 0.0

    def document(self) -> dict[str, Any]:
        """For programs. ``id`` is the same however often an alert is told."""
        its = self.incident
        name = f"{its.kind}/{its.subject}/{its.since:.3f}"
        found: dict[str, Any] = {
            "id": hashlib.sha256(name.encode()).hexdigest()[:16], "alert": its.kind,
            "subject": its.subject, "state": "recovered" if self.ended else "open",
            "since": clock.rfc3339(int(its.since * 1e9)), "sentence": its.sentence,
            **its.detail,
        }  # fmt: skip
        return {**found, "ended": clock.rfc3339(int(self.ended * 1e9))} if self.ended else found


class Book:
    """Open incidents in the database. Raises of all methods: what `Database` does."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def reconcile(self, found: Iterable[Incident], judged: Iterable[str], now: float) -> None:
        """Write down what is new and what is over. Of kinds that were not ``judged`` nothing is
        known now: they stay as they are."""
        present = {its.key: its for its in found}
        kinds = set(judged)
        with self._db.transaction():
            rows = self._db.rows("SELECT kind, subject, ended, told FROM alert")
            known = {(kind, subject): (ended, told) for kind, subject, ended, told in rows}
            for key, its in present.items():
                if key not in known:
                    self._open(its)
                elif known[key][0]:
                    self._again(its)
            for key, (ended, told) in known.items():
                if key not in present and not ended and key[0] in kinds:
                    self._end(key, now, told=bool(told))

    def _open(self, its: Incident) -> None:
        self._db.run(
            "INSERT INTO alert (kind, subject, since, sentence, detail) VALUES (?, ?, ?, ?, ?)",
            (*its.key, its.since, its.sentence, msgspec.json.encode(its.detail).decode()),
        )

    def _again(self, its: Incident) -> None:
        """It was over, and that was not told yet: for whoever is told, it went on all the time."""
        self._db.run("UPDATE alert SET ended = 0 WHERE kind = ? AND subject = ?", its.key)

    def _end(self, key: tuple[str, str], now: float, *, told: bool) -> None:
        if not told or key[0] in FOR_EVER:  # Nobody has heard of it, or it is not told.
            self._db.run("DELETE FROM alert WHERE kind = ? AND subject = ?", key)
            return
        self._db.run("UPDATE alert SET ended = ? WHERE kind = ? AND subject = ?", (now, *key))

    def due(self) -> list[Alert]:
        """What is to be told, the oldest first."""
        rows = self._db.rows(
            "SELECT kind, subject, since, sentence, detail, ended FROM alert"
            " WHERE (told < 1 AND ended = 0) OR (told <> 0 AND ended > 0) ORDER BY since"
        )
        return [_alert(*row) for row in rows]

    def begun(self, alert: Alert) -> None:
        """Somebody took it: its end is to be told, whoever else has not heard of it."""
        self._db.run(
            "UPDATE alert SET told = -1 WHERE kind = ? AND subject = ? AND told = 0",
            alert.incident.key,
        )

    def told(self, alert: Alert) -> None:
        """All who are to know took it."""
        key = alert.incident.key
        if alert.ended:
            self._db.run("DELETE FROM alert WHERE kind = ? AND subject = ? AND ended > 0", key)
        else:
            self._db.run("UPDATE alert SET told = 1 WHERE kind = ? AND subject = ?", key)

    def open(self) -> list[Alert]:
        """All that goes on now."""
        rows = self._db.rows(
            "SELECT kind, subject, since, sentence, detail, ended FROM alert"
            " WHERE ended = 0 ORDER BY since"
        )
        return [_alert(*row) for row in rows]


def _alert(
    kind: str, subject: str, since: float, sentence: str, detail: str, ended: float
) -> Alert:
    known = msgspec.json.decode(detail, type=dict[str, Any])
    return Alert(Incident(kind, subject, since, sentence, known), ended)
