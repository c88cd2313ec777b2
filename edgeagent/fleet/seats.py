"""Who of the processes of one collector is who.

A process takes the lowest free place, which gives it its MQTT client id: so one that is killed
and started again comes back to the session in which the broker kept its messages. Where nobody
comes back the others must, for a member of a shared subscription that is away swallows its
share of everything: `orphans` are places that were taken, and are free.
"""

from __future__ import annotations

from edgeagent.errors import Busy
from edgeagent.fleet.database import Database

MOST = 64


class Seats:
    """The places under one name. Raises what `Database` does."""

    def __init__(self, db: Database, name: str) -> None:
        self._db = db
        self._name = name
        self.own = self._take()

    def _take(self) -> int:
        for number in range(MOST):
            if self._db.sit(self._name, number, keep=True):
                self._db.run(
                    "INSERT INTO seat (collector, number) VALUES (?, ?)"
                    " ON CONFLICT (collector, number) DO NOTHING",
                    (self._name, number),
                )
                return number
        raise Busy(f"{MOST} collectors named {self._name} use {self._db.name} already")

    def orphans(self) -> list[int]:
        """Places whose process is gone. They are this process's now."""
        return [number for number in self._others() if self._db.sit(self._name, number)]

    def alone(self) -> bool:
        """Whether this is the only process."""
        for number in self._others():
            if not self._db.sit(self._name, number):
                return False
            self._db.leave(self._name, number)
        return True

    def leave(self, number: int) -> None:
        """Nothing waits at the place any more, and nothing will."""
        self._db.run("DELETE FROM seat WHERE collector = ? AND number = ?", (self._name, number))
        self._db.leave(self._name, number)

    def _others(self) -> list[int]:
        rows = self._db.rows(
            "SELECT number FROM seat WHERE collector = ? AND number <> ? ORDER BY number",
            (self._name, self.own),
        )
        return [number for (number,) in rows]
