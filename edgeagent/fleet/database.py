"""What the fleet's tools need of a database; `sqlite` and `postgres` are the two there are.

SQL is written once, with ``?`` for parameters and the words that both know; what they say
differently has a name here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from edgeagent.errors import StoreTooNew, UsageError
from edgeagent.fleet.batches import Row

SCHEMA = 3
LATER = {2: "rollouts", 3: "alerts"}
"""Version → the file that makes it of the one before, the same for both kinds."""


class StoredRow(NamedTuple):
    """One row of `record`."""

    stream: int
    row: Row
    copy: bool


class Database(Protocol):
    """One connection, for one thread. It connects when it is first used, and anew after a loss.

    Raises of all methods: Unavailable (the server is away; whatever was not committed is not
    there), StoreError and its kinds, InputError (it does not take these values).
    """

    name: str
    """For people; without a password."""
    for_update: str
    """Ends a SELECT whose rows of ``s`` are to be locked."""

    def transaction(self) -> AbstractContextManager[None]:
        """BEGIN, and COMMIT or ROLLBACK at the end."""

    def snapshot(self) -> AbstractContextManager[None]:
        """A transaction that only reads, all of it as of one instant."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """How many rows it changed."""

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None: ...

    def put(self, rows: Iterable[StoredRow], received: float, /) -> None:
        """Insert records, as fast as the database can."""

    def among(self, column: str, values: Iterable[Any]) -> tuple[str, Any]:
        """(condition, its one parameter) for "column is one of values"."""

    def stamp(self, seconds: float) -> Any:
        """A time as ``record.received`` is compared with."""

    def now(self) -> float:
        """Seconds since 1970, the same for all processes on this database."""

    def sit(self, name: str, number: int, *, keep: bool = False) -> bool:
        """Take a place that no other process has until this one leaves it or ends. False = it
        is taken. With ``keep`` losing it (while the server was away) raises Busy."""

    def leave(self, name: str, number: int) -> None:
        """Give a place up."""

    def close(self) -> None: ...


def open_database(url: str) -> Database:
    """``postgresql://…`` (or ``postgres://``), or the path of an SQLite file. Makes the tables
    where there are none.

    Raises: UsageError, Unavailable, StoreTooNew, StoreError.
    """
    if url.startswith(("postgresql://", "postgres://")):
        from edgeagent.fleet.postgres import Postgres

        return Postgres(url)
    if "://" in url:
        raise UsageError(
            f"{url.split('://')[0]}:// is no database that is known here",
            remedy="Give postgresql://user@host/name, or the path of a file.",
        )
    from edgeagent.fleet.sqlite import Sqlite

    return Sqlite(Path(url))


def schema(dialect: str, version: int = 0) -> Iterator[str]:
    """The scripts that make the tables of a database that has ``version``; 0 = none."""
    folder = resources.files("edgeagent.fleet").joinpath("schema")
    names = [LATER[number] for number in sorted(LATER) if number > version]
    for name in names if version else [dialect, *names]:
        yield folder.joinpath(f"{name}.sql").read_text(encoding="utf-8")


def check_version(version: int, name: str) -> None:
    """Raises StoreTooNew."""
    if version > SCHEMA:
        raise StoreTooNew(
            f"{name} has schema {version}, this version knows {SCHEMA}",
            remedy="Update edgeagent here, or name another database.",
        )
