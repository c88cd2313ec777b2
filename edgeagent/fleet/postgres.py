"""The fleet's database in PostgreSQL (12 or newer), in the schema ``edgeagent``.

Records go in by COPY. A lost connection is opened anew at the next use: what was not committed
is not there, and what was is known by the account that was committed with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from edgeagent.errors import (
    Busy,
    EdgeAgentError,
    InputError,
    StoreError,
    Unavailable,
    UsageError,
)
from edgeagent.fleet.database import SCHEMA, StoredRow, check_version, schema
from edgeagent.plugins import to_install

try:
    import psycopg
except ImportError as missing:
    raise UsageError(
        "PostgreSQL needs the package psycopg", remedy=to_install("fleet")
    ) from missing

if TYPE_CHECKING:
    from psycopg import Connection

_COPY = "COPY record (stream, seq, kind, pipeline, at, test, copy, body) FROM STDIN"
_PART = 1000
"""Rows joined to one write."""
_SCHEMA_LOCK = 0x65646765
_CONNECT_S = 10
_SETUP = (
    "SET search_path TO edgeagent, public",
    # A process that holds a lock and hangs must not stop the others for ever.
    "SET idle_in_transaction_session_timeout TO '60s'",
)


class Postgres:
    """See `database.Database`."""

    for_update = " FOR UPDATE OF s"

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            known = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error as error:
            raise UsageError(f"the database's URL can't be read: {error}") from error
        self.name = f"postgresql://{known.get('host', '')}/{known.get('dbname', '')}"
        self._connection: Connection[tuple[Any, ...]] | None = None
        self._kept: list[tuple[str, int]] = []
        self._open()

    # --- the connection ------------------------------------------------------------------

    def _open(self) -> Connection[tuple[Any, ...]]:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        try:
            made = self._connection = psycopg.connect(
                self._url, autocommit=True, connect_timeout=_CONNECT_S,
                keepalives_idle=20, application_name="edgeagent",
            )  # fmt: skip
            self._prepare(made)
            if not all(_lock(made, "pg_try_advisory_lock", *kept) for kept in self._kept):
                made.close()
                raise Busy(f"another process took the place of this one at {self.name}")
        except psycopg.Error as error:
            self._connection = None
            raise self._translated(error) from error
        return made

    def _prepare(self, made: Connection[tuple[Any, ...]]) -> None:
        for statement in _SETUP:
            made.execute(statement)
        with made.transaction():
            made.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            if made.execute("SELECT to_regclass('edgeagent.meta')").fetchone() == (None,):
                made.execute("CREATE SCHEMA IF NOT EXISTS edgeagent")
                made.execute("CREATE TABLE edgeagent.meta (version integer NOT NULL)")
                made.execute("INSERT INTO edgeagent.meta VALUES (0)")
            row = made.execute("SELECT version FROM edgeagent.meta").fetchone()
            version: int = row[0] if row else 0
            if version < SCHEMA:
                for script in schema("postgres", version):
                    made.execute(script.encode())
                made.execute("UPDATE edgeagent.meta SET version = %s", (SCHEMA,))
        check_version(version, self.name)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        connection = self._open()
        try:
            with connection.transaction():
                yield
        except psycopg.Error as error:
            raise self._translated(error) from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self.transaction():
            self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield

    # --- statements ----------------------------------------------------------------------

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        connection = self._open()
        try:
            found: list[tuple[Any, ...]] = connection.execute(_dialect(sql), parameters).fetchall()
            return found
        except psycopg.Error as error:
            raise self._translated(error) from error

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        connection = self._open()
        try:
            found: int = connection.execute(_dialect(sql), parameters).rowcount
            return found
        except psycopg.Error as error:
            raise self._translated(error) from error

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        connection = self._open()
        try:
            with connection.cursor() as cursor:
                cursor.executemany(_dialect(sql), rows)
        except psycopg.Error as error:
            raise self._translated(error) from error

    def put(self, rows: Iterable[StoredRow], _received: float, /) -> None:
        """The time of receipt is the transaction's own time here, by the column's default."""
        connection = self._open()
        try:
            with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                part: list[str] = []
                for stored in rows:
                    part.append(_line(stored))
                    if len(part) == _PART:
                        copy.write("".join(part))
                        part.clear()
                copy.write("".join(part))
        except psycopg.Error as error:
            raise self._translated(error) from error

    def among(self, column: str, values: Iterable[Any]) -> tuple[str, Any]:
        return f"{column} = ANY(?)", list(values)

    def stamp(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(seconds, tz=timezone.utc)

    def now(self) -> float:
        return float(self.rows("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0])

    # --- who is who ----------------------------------------------------------------------

    def sit(self, name: str, number: int, *, keep: bool = False) -> bool:
        connection = self._open()
        try:
            taken = _lock(connection, "pg_try_advisory_lock", name, number)
        except psycopg.Error as error:
            raise self._translated(error) from error
        if taken and keep:
            self._kept.append((name, number))
        return taken

    def leave(self, name: str, number: int) -> None:
        connection = self._open()
        try:
            _lock(connection, "pg_advisory_unlock", name, number)
        except psycopg.Error as error:
            raise self._translated(error) from error
        self._kept = [kept for kept in self._kept if kept != (name, number)]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _translated(self, error: psycopg.Error) -> EdgeAgentError:
        text = f"{self.name}: {str(error).strip()}"
        if isinstance(error, (psycopg.DataError, psycopg.IntegrityError)):
            return InputError(f"the database does not take this: {text}")
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            if self._connection is not None and self._connection.broken:
                self._connection.close()
            return Unavailable(text, remedy="Is PostgreSQL running and reachable?")
        return StoreError(text)


def _lock(connection: Connection[tuple[Any, ...]], function: str, name: str, number: int) -> bool:
    found = connection.execute(
        f"SELECT {function}(%s, %s)".encode(), (zlib.crc32(name.encode()) - 2**31, number)
    ).fetchone()
    return bool(found and found[0])


@lru_cache(maxsize=256)
def _dialect(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def _line(stored: StoredRow) -> str:
    """A row in COPY's text format."""
    stream, row, copy = stored
    seq, kind, pipeline, at, test, body = row
    if "\\" in body or "\n" in body or "\t" in body or "\r" in body:
        body = _escaped(body)
    return (
        f"{stream}\t{seq}\t{_word(kind)}\t{_word(pipeline)}\t{at or _NULL}\t"
        f"{'t' if test else 'f'}\t{'t' if copy else 'f'}\t{body}\n"
    )


_NULL = "\\N"


@lru_cache(maxsize=1024)
def _word(text: str) -> str:
    return _escaped(text)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
