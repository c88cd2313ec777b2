"""One SQLite connection, its pragmas, its migrations, and its errors as ours.

The connection comes from a factory, so that the same SQL can run over a connection that fails
on purpose or loses power (`Connect`).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import lt
from pathlib import Path
from typing import Any, Protocol

from edgeagent.errors import StoreCorrupt, StoreError, StoreFull, StoreTooNew

PAGE = 4096
FILE = "outbox.db"
ZEROS = "zeros"
"""Table that takes up free pages while they are being overwritten (`erase`)."""
_SCHEMA = re.compile(r"^(\d{4})\.sql$")
Row = tuple[Any, ...]
FAULTS = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What a statement can raise; the last for SQLite's own words about damaged names."""


class Connection(Protocol):
    """What is used of a DB-API connection in autocommit mode."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Iterable[Row]: ...
    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Any: ...
    def close(self) -> None: ...


Connect = Callable[[Path, bool], Connection]
"""(path, read only) → connection in autocommit mode. Raises sqlite3.Error or OSError."""


def connect(path: Path, read_only: bool) -> Connection:
    """The usual factory."""
    if not read_only:
        return _connect(f"file:{_escaped(path)}?mode=rwc")
    try:
        return _probed(_connect(f"file:{_escaped(path)}?mode=ro"))
    except sqlite3.OperationalError:
        # The index of the log can't be made in a folder that is read-only; without a log
        # there is nothing to index.
        if path.with_name(path.name + "-wal").exists():
            raise
        return _probed(_connect(f"file:{_escaped(path)}?mode=ro&immutable=1"))


def _escaped(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0
    )


def _probed(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except FAULTS:
        connection.close()
        raise
    return connection


class Database:
    """Statements on one file; every failure is a StoreError that says what to do.

    Raises of all methods: StoreFull (page limit or disk), StoreCorrupt, StoreError.
    """

    def __init__(self, path: Path, *, read_only: bool = False, make: Connect = connect) -> None:
        self.path = path
        try:
            self._connection = make(path, read_only)
        except FAULTS as error:
            raise translated(error, path) from error

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        try:
            return list(self._connection.execute(sql, parameters))
        except FAULTS as error:
            raise translated(error, self.path) from error

    def each(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Rows one by one; read them to the end, an open cursor holds the log."""
        try:
            yield from self._connection.execute(sql, parameters)
        except FAULTS as error:
            raise translated(error, self.path) from error

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The first column of the first row; None where there is none."""
        found = self.rows(sql, parameters)
        return found[0][0] if found else None

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self.rows(sql, parameters)

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        try:
            self._connection.executemany(sql, rows)
        except FAULTS as error:
            raise translated(error, self.path) from error

    def close(self) -> None:
        try:
            self._connection.close()
        except FAULTS as error:
            raise translated(error, self.path) from error

    def prepare_to_write(self) -> None:
        """Set what holds per connection."""
        for pragma in (
            f"page_size = {PAGE}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "busy_timeout = 5000",
            "cell_size_check = ON",
            "temp_store = MEMORY",
            "cache_size = -1024",
            # What is deleted within a page is overwritten, which costs no write of its own.
            "secure_delete = FAST",
            # `Space.bound_log` writes it back, and sees to the blocks for the next time.
            "wal_autocheckpoint = 0",
            # Never cut: the log's blocks are what is left to write with on a full disk.
            "journal_size_limit = -1",
        ):
            self.run(f"PRAGMA {pragma}")

    def prepare_to_read(self) -> None:
        for pragma in ("query_only = ON", "busy_timeout = 5000", "cache_size = -512"):
            self.run(f"PRAGMA {pragma}")

    def migrate(self) -> None:
        """Bring the schema up to date, one transaction a step. Raises StoreTooNew."""
        version = int(self.value("PRAGMA user_version"))
        steps = schema_steps()
        newest = max(steps)
        if version > newest:
            raise StoreTooNew(
                f"{self.path} has schema {version}, this agent knows {newest}",
                remedy="Install the newer agent again, or move the file away to start anew.",
            )
        for number in range(version + 1, newest + 1):
            self.run("BEGIN IMMEDIATE")
            try:
                for statement in steps[number]:
                    self.run(statement)
                self.run(f"PRAGMA user_version = {number}")
                self.run("COMMIT")
            except StoreError:
                self.roll_back()
                raise

    def roll_back(self) -> bool:
        """End a failed transaction. False = that failed as well: reopen the connection."""
        try:
            self.run("ROLLBACK")
        except StoreError as error:
            # SQLite has rolled back by itself after most errors and says so here.
            return "no transaction" in str(error)
        return True


def last_seq(rows: Sequence[Row], after: int, path: Path) -> int:
    """The seq (first column) of the last row, for the next piece of a walk by seq.

    Raises StoreCorrupt where rows do not ascend: a damaged page may give any number, and the
    walk would never end.
    """
    numbers = [row[0] for row in rows]
    try:
        ascending = all(map(lt, [after, *numbers], numbers))
    except TypeError:
        ascending = False
    if not ascending:
        raise StoreCorrupt(f"{path}: the records are out of order after {after}")
    return numbers[-1] if numbers else after


def close_quietly(db: Database) -> None:
    try:
        db.close()
    except StoreError:
        # A connection that failed may fail to close; its files are left to themselves.
        return


def schema_steps() -> dict[int, list[str]]:
    """Schema version → the statements that lead to it from the one before."""
    steps: dict[int, list[str]] = {}
    for file in (Path(__file__).parent / "schema").iterdir():
        match = _SCHEMA.match(file.name)
        if match:
            steps[int(match[1])] = _statements(file.read_text(encoding="utf-8"))
    return steps


def _statements(script: str) -> list[str]:
    statements: list[str] = []
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending.strip())
            pending = ""
    return statements


_FULL = ("database or disk is full", "no space left on device", "disk quota exceeded")
_CORRUPT = (
    "malformed", "not a database", "database corruption", "no such table", "no such column",
    "has no column", "could not decode", "unsupported file format", "can't decode",
)  # fmt: skip


def translated(error: BaseException, path: Path) -> StoreError:
    """The StoreError for what SQLite or the system says.

    By text, because Python 3.10 does not give SQLite's code; the texts are SQLite's own and
    have not changed since version 3.0.
    """
    text = str(error)
    lower = text.lower()
    if any(sign in lower for sign in _FULL):
        return StoreFull(f"{path}: {text}", remedy="Free space on the disk.")
    if any(sign in lower for sign in _CORRUPT):
        return StoreCorrupt(f"{path}: {text}")
    remedy = "Copy it to a folder that can be written." if "unable to open" in lower else ""
    return StoreError(f"{path}: {text}", remedy=remedy)
