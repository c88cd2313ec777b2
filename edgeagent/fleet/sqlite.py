"""The fleet's database as one SQLite file; several processes may use it."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from edgeagent.errors import EdgeAgentError, InputError, StoreError
from edgeagent.fleet.database import SCHEMA, StoredRow, check_version, schema
from edgeagent.store.database import translated

_BUSY_S = 30.0
"""How long one process waits for another's transaction."""
_PRAGMAS = (
    "journal_mode = WAL",
    # A message is acknowledged after the commit: it must be on the medium then.
    "synchronous = FULL",
    "cache_size = -32768",
    "wal_autocheckpoint = 4000",
    "journal_size_limit = 67108864",
)
_INSERT = (
    "INSERT INTO record (stream, seq, kind, pipeline, at, received, test, copy, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Sqlite:
    """See `database.Database`."""

    for_update = ""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._seats: dict[str, int] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            raise self._translated(error) from error

    def _prepare(self) -> None:
        for pragma in _PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        if self._version() < SCHEMA:
            with self.transaction():
                self._make_tables()
        check_version(self._version(), self.name)

    def _make_tables(self) -> None:
        version = self._version()  # Another process may have made them meanwhile.
        if version >= SCHEMA:
            return
        for script in schema("sqlite", version):
            for statement in _statements(script):
                self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {SCHEMA}")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def transaction(self) -> AbstractContextManager[None]:
        return self._within("BEGIN IMMEDIATE")

    def snapshot(self) -> AbstractContextManager[None]:
        return self._within("BEGIN")

    @contextmanager
    def _within(self, begin: str) -> Iterator[None]:
        self.run(begin)
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise self._translated(error) from error

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        try:
            return self._connection.execute(sql, parameters).rowcount
        except (sqlite3.Error, OverflowError) as error:
            raise self._translated(error) from error

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        try:
            self._connection.executemany(sql, rows)
        except (sqlite3.Error, OverflowError) as error:
            raise self._translated(error) from error

    def put(self, rows: Iterable[StoredRow], received: float, /) -> None:
        second = int(received)
        self.many(
            _INSERT,
            (
                (stream, r.seq, r.kind, r.pipeline, r.at or None, second, r.test, copy, r.body)
                for stream, r, copy in rows
            ),
        )

    def among(self, column: str, values: Iterable[Any]) -> tuple[str, Any]:
        return f"{column} IN (SELECT value FROM json_each(?))", json.dumps(list(values))

    def stamp(self, seconds: float) -> int:
        return int(seconds)

    def now(self) -> float:
        return time.time()

    def sit(self, name: str, number: int, *, keep: bool = False) -> bool:  # noqa: ARG002
        """``keep`` says nothing here: a lock on a file is lost with the process only."""
        try:
            if name not in self._seats:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._seats[name] = os.open(f"{self._path}.{name}.seats", flags, 0o600)
            fcntl.lockf(self._seats[name], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False  # Another process sits there.
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error
        return True

    def leave(self, name: str, number: int) -> None:
        try:
            fcntl.lockf(self._seats[name], fcntl.LOCK_UN, 1, number)
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error

    def close(self) -> None:
        self._connection.close()
        while self._seats:
            os.close(self._seats.popitem()[1])

    def _translated(self, error: BaseException) -> EdgeAgentError:
        if isinstance(error, (sqlite3.DataError, sqlite3.IntegrityError, OverflowError)):
            return InputError(f"{self.name} does not take this: {error}")
        return translated(error, self._path)


def _statements(script: str) -> Iterator[str]:
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
