"""Rollouts in the database: everything that a process which is killed leaves behind.

One process drives (it holds the seat) and writes plans' progress; any other may read, and put a
wish there: pause, resume, abort.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from edgeagent.errors import Busy, NotFound
from edgeagent.fleet.database import Database
from edgeagent.fleet.rollout.plan import FINISHED, Plan, RolloutState, Wish
from edgeagent.fleet.rollout.quality import Finding
from edgeagent.fleet.rollout.standing import Row

_COLUMNS = (
    "device", "place", "wave", "profile", "standing", "step", "reason", "detail", "was",
    "wished", "rev", "recalled", "asked", "reached", "committed", "ended",
)  # fmt: skip
_CHANGING = _COLUMNS[4:]


class Rollout(Struct):
    """The row of one rollout, with its plan."""

    id: str
    created: float
    author: str
    prefix: str
    plan: Plan
    state: RolloutState
    reason: str = ""
    wish: Wish = ""
    wave: int = 0
    """That is open, or was last."""
    ended: float = 0.0
    driver: str = ""
    beat: float = 0.0

    @property
    def finished(self) -> bool:
        return self.state in FINISHED


class Wave(Struct):
    """One wave that was opened."""

    number: int
    opened: float
    closed: float = 0.0
    findings: list[Finding] = []


class Note(Struct, frozen=True):
    """Something that happened, in words."""

    at: float
    what: str
    text: str


class Ledger:
    """See above. Raises of all methods: what `Database` does."""

    def __init__(self, db: Database) -> None:
        self.db = db

    # --- making and finding --------------------------------------------------------------

    def create(
        self, plan: Plan, rows: Sequence[Row], *, author: str, prefix: str, note: str
    ) -> Rollout:
        """A new one, running. Raises Busy where another one of the model is not finished and
        has a device of this one."""
        now = self.db.now()
        with self.db.transaction():
            self._check_free(plan, rows)
            made = Rollout(self._name(plan), now, author, prefix, plan, "running")
            self.db.run(
                "INSERT INTO rollout (id, created, author, prefix, plan, state)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (made.id, now, author, prefix, msgspec.json.encode(plan).decode(), made.state),
            )
            marks = ", ".join("?" * (1 + len(_COLUMNS)))
            self.db.many(
                f"INSERT INTO rollout_device (rollout, {', '.join(_COLUMNS)}) VALUES ({marks})",
                [(made.id, *_values(row, _COLUMNS)) for row in rows],
            )
            self._note(made.id, now, "created", note)
        return made

    def _check_free(self, plan: Plan, rows: Sequence[Row]) -> None:
        mine = {row.device for row in rows}
        for other in self.open():
            if other.plan.model != plan.model:
                continue
            shared = mine & {row.device for row in self.rows(other.id)}
            if shared:
                raise Busy(
                    f"{len(shared)} of these devices are in rollout {other.id}, which is"
                    f" {other.state}",
                    remedy=f"Wait for it, or end it: edgeagent fleet rollout abort {other.id}",
                )

    def _name(self, plan: Plan) -> str:
        """Ids are for people: the model, the version and, from the second on, a number."""
        name = f"{plan.model}-{plan.version}"
        taken = {found for (found,) in self.db.rows("SELECT id FROM rollout")}
        number = 2
        while (made := name if number == 2 and name not in taken else f"{name}-{number}") in taken:
            number += 1
        return made

    def all(self) -> list[Rollout]:
        """The newest last."""
        return [_rollout(row) for row in self.db.rows(f"{_SELECT} ORDER BY created, id")]

    def open(self) -> list[Rollout]:
        """Those that are not finished."""
        return [rollout for rollout in self.all() if not rollout.finished]

    def get(self, id: str = "") -> Rollout:
        """One; without a name the newest. Raises NotFound."""
        if id:
            found = self.db.rows(f"{_SELECT} WHERE id = ?", (id,))
        else:
            found = self.db.rows(f"{_SELECT} ORDER BY created DESC, id DESC LIMIT 1")
        if not found:
            said = f"there is no rollout {id!r}" if id else "there is no rollout yet"
            raise NotFound(said, remedy="See them all: edgeagent fleet rollout list")
        return _rollout(found[0])

    def rows(self, id: str) -> list[Row]:
        """Its devices in the order in which they are asked."""
        found = self.db.rows(
            f"SELECT {', '.join(_COLUMNS)} FROM rollout_device WHERE rollout = ? ORDER BY place",
            (id,),
        )
        return [Row(*values) for values in found]

    def waves(self, id: str) -> list[Wave]:
        found = self.db.rows(
            "SELECT wave, opened, closed, findings FROM rollout_wave WHERE rollout = ?"
            " ORDER BY wave",
            (id,),
        )
        return [
            Wave(number, opened, closed, msgspec.json.decode(text, type=list[Finding]))
            for number, opened, closed, text in found
        ]

    def notes(self, id: str) -> list[Note]:
        found = self.db.rows(
            "SELECT at, what, text FROM rollout_note WHERE rollout = ? ORDER BY number", (id,)
        )
        return [Note(*row) for row in found]

    # --- what people ask -----------------------------------------------------------------

    def wish(self, id: str, wish: Wish, why: str, by: str) -> Rollout:
        """Put a wish there. Raises NotFound, Busy (it is finished)."""
        with self.db.transaction():
            found = self.get(id)
            if found.finished:
                raise Busy(
                    f"rollout {found.id} is {found.state} already",
                    remedy=f"See what came of it: edgeagent fleet rollout report {found.id}",
                )
            self.db.run("UPDATE rollout SET wish = ? WHERE id = ?", (wish, found.id))
            text = f"by {by}" + (f": {why}" if why else "")
            self._note(found.id, self.db.now(), wish, text)
        return self.get(found.id)

    # --- what the driver writes ----------------------------------------------------------

    def beat(self, ids: Iterable[str], driver: str) -> None:
        """They are driven now, by whom."""
        now = self.db.now()
        self.db.many(
            "UPDATE rollout SET driver = ?, beat = ? WHERE id = ?",
            [(driver, now, id) for id in ids],
        )

    def save(self, rollout: Rollout, rows: Sequence[Row], waves: Sequence[Wave],
             notes: Sequence[tuple[str, str]]) -> None:  # fmt: skip
        """What changed, within the caller's transaction."""
        now = self.db.now()
        self.db.run(
            "UPDATE rollout SET state = ?, reason = ?, wave = ?, ended = ? WHERE id = ?",
            (rollout.state, rollout.reason, rollout.wave, rollout.ended, rollout.id),
        )
        if rows:
            sets = ", ".join(f"{name} = ?" for name in _CHANGING)
            self.db.many(
                f"UPDATE rollout_device SET {sets} WHERE rollout = ? AND device = ?",
                [(*_values(row, _CHANGING), rollout.id, row.device) for row in rows],
            )
        if waves:
            self.db.many(
                "INSERT INTO rollout_wave (rollout, wave, opened, closed, findings)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (rollout, wave) DO UPDATE"
                " SET closed = excluded.closed, findings = excluded.findings",
                [
                    (rollout.id, w.number, w.opened, w.closed,
                     msgspec.json.encode(w.findings).decode())
                    for w in waves
                ],
            )  # fmt: skip
        for what, text in notes:
            self._note(rollout.id, now, what, text)

    def taken(self, rollout: Rollout) -> None:
        """Its wish is seen to, within the caller's transaction; one that came since is not."""
        self.db.run(
            "UPDATE rollout SET wish = '' WHERE id = ? AND wish = ?", (rollout.id, rollout.wish)
        )

    def _note(self, id: str, at: float, what: str, text: str) -> None:
        self.db.run(
            "INSERT INTO rollout_note (rollout, number, at, what, text)"
            " SELECT ?, COALESCE(MAX(number), 0) + 1, ?, ?, ? FROM rollout_note WHERE rollout = ?",
            (id, at, what, text, id),
        )


_SELECT = (
    "SELECT id, created, author, prefix, plan, state, reason, wish, wave, ended, driver, beat"
    " FROM rollout"
)


def _rollout(row: tuple[Any, ...]) -> Rollout:
    known = dict(zip(Rollout.__struct_fields__, row, strict=True))
    return Rollout(**{**known, "plan": msgspec.json.decode(known["plan"], type=Plan)})


def _values(row: Row, names: Sequence[str]) -> list[Any]:
    return [getattr(row, name) for name in names]
