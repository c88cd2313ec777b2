"""One connection for reading beside the writer, shared under a lock.

Every query is short and read to its end, so that the log can always be written back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeagent.errors import StoreCorrupt, StoreError
from edgeagent.store.database import Connect, Database, close_quietly, connect


class Reading:
    """Reads the present database; after `renew` the one that took its place."""

    def __init__(
        self, path: Path, suspect: Callable[[StoreError, str], None], make: Connect = connect
    ) -> None:
        self.path = path
        self._suspect = suspect
        self._make = make
        self._lock = threading.Lock()
        self._db: Database | None = None
        self.epoch = ""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows. Raises StoreError; damage is reported to the writer as well."""
        with self._lock:
            try:
                if self._db is None:
                    self._open()
                assert self._db is not None
                return self._db.rows(sql, parameters)
            except StoreError as error:
                self._close()
                if isinstance(error, StoreCorrupt):
                    self._suspect(error, self.epoch)
                raise

    def rows_of(
        self, epoch: str, sql: str, parameters: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Like `rows`, but nothing if the database is of another epoch."""
        found = self.rows(sql, parameters)
        return found if self.epoch == epoch else []

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        found = self.rows(sql, parameters)
        return found[0][0] if found else None

    def renew(self) -> None:
        """Another database is in its place now."""
        with self._lock:
            self._close()

    def _open(self) -> None:
        db = Database(self.path, make=self._make)
        db.prepare_to_read()
        self._db = db
        self.epoch = str(db.value("SELECT epoch FROM account"))

    def _close(self) -> None:
        if self._db is None:
            return
        db, self._db = self._db, None
        close_quietly(db)
