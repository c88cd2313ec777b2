"""Beginning an epoch: new, lost, damaged, cloned or disowned databases (contract §2).

A database lives in a folder of its own, so that it moves with its log in one rename:

    db/         the present one
    db.new/     one being made; a leftover of a crash is made again
    aside/N/    set aside; its pending records are being carried into ``db``
    quarantine/ the last damaged one, all carried, for whoever wants to look
    epoch.json  the name of the present epoch, in case the database is lost
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.errors import StoreCorrupt, StoreError
from edgeagent.store.database import FILE, Connect, Database, connect
from edgeagent.store.encode import Clock, rfc3339
from edgeagent.store.ledger import Ledger
from edgeagent.store.ranges import Ranges
from edgeagent.store.space import Space

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_COPIED = {
    "command": "number, id, type, digest, issuer, at, since, status, final, cleared",
    "memory": "key, value",
    "dead": "epoch, seq, reason, at, body",
    "past": "epoch, reason, at",
}
_MARK = "carry "
"""Prefix of the keys in `memory` under which carrying notes new ids of old events."""


class Mark(msgspec.Struct):
    """epoch.json."""

    device: str
    epoch: str
    machine: str
    since: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose outbox it is."""

    device: str
    machine: str
    boot: str


def ulid(ns: int) -> str:
    """A sortable random id: 48 bits of milliseconds, 80 random bits, Crockford's base 32."""
    number = (max(ns, 0) // 1_000_000 & (1 << 48) - 1) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def database_path(folder: Path) -> Path:
    """Where the database of an outbox folder is."""
    return folder / "db" / FILE


def open_writable(path: Path, space: Space, make: Connect = connect) -> Database:
    """Raises StoreError, StoreCorrupt, StoreTooNew."""
    db = Database(path, make=make)
    try:
        db.prepare_to_write(space.max_pages, space.checkpoint_pages)
        db.migrate()
    except StoreError:
        close_quietly(db)
        raise
    space.reserve()
    return db


def begin(
    folder: Path, identity: Identity, clock: Clock, space_bytes: int, reason: str,
    make: Connect = connect,
) -> str:  # fmt: skip
    """Make a database with a new epoch in place of ``db``, which must be out of the way.

    Everything in ``aside`` is registered to be carried. Returns the epoch. Raises StoreError.
    """
    fresh = folder / "db.new"
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        epoch = _fill(folder, fresh / FILE, identity, clock, space_bytes, reason, make)
        _sync_folder(fresh)
        fresh.rename(folder / "db")
        _sync_folder(folder)
        mark = Mark(identity.device, epoch, identity.machine, rfc3339(clock.wall_ns()))
        _replace(folder / "epoch.json", msgspec.json.encode(mark))
    except OSError as error:
        raise StoreError(f"{error.filename or fresh}: {error.strerror}") from error
    return epoch


def _fill(
    folder: Path, path: Path, identity: Identity, clock: Clock, space_bytes: int, reason: str,
    make: Connect,
) -> str:  # fmt: skip
    space = Space(path, space_bytes)
    db = open_writable(path, space, make)
    try:
        now = clock.wall_ns()
        epoch = ulid(now)
        former = [Former.read(aside) for aside in asides(folder)]
        db.run("BEGIN IMMEDIATE")
        db.run(
            "INSERT INTO account (id, device, machine, epoch, born_at) VALUES (1, ?, ?, ?, ?)",
            (identity.device, identity.machine, epoch, _born(former) or rfc3339(now)),
        )
        for old in former:
            old.copy_into(db)
            db.run("INSERT OR REPLACE INTO carry VALUES (?, 0)", (old.folder.name,))
        db.run("COMMIT")
        ledger = Ledger(db, boot=identity.boot, clock=clock)
        ledger.begin()
        for name, first in _unfinished(folder, former).items():
            ledger.tell_epoch(name, first, reason)
        ledger.commit()
        return epoch
    finally:
        close_quietly(db)


def _born(former: Iterable[Former]) -> str:
    """A journal that was carried is as old as it was."""
    return min((old.born_at for old in former if old.born_at), default="")


def _unfinished(folder: Path, former: list[Former]) -> dict[str, int]:
    """Epochs that must be told of → the first seq that may be missing."""
    told = {epoch for old in former for epoch in old.past}
    names = {old.epoch: old.first_open for old in former if old.epoch and old.epoch not in told}
    mark = read_mark(folder)
    if mark is not None and mark.epoch not in names and mark.epoch not in told:
        names[mark.epoch] = 1
    return names


def read_mark(folder: Path) -> Mark | None:
    try:
        return msgspec.json.decode((folder / "epoch.json").read_bytes(), type=Mark)
    except (OSError, msgspec.MsgspecError):
        # Without it (first start, damaged) nothing is known of a former epoch.
        return None


def set_aside(folder: Path, clock: Clock) -> Path | None:
    """Move ``db`` out of the way, log and all. None = there was none. Raises StoreError."""
    source = folder / "db"
    if not source.exists():
        return None
    target = folder / "aside" / ulid(clock.wall_ns())
    try:
        target.parent.mkdir(exist_ok=True)
        source.rename(target)
        _sync_folder(folder)
    except OSError as error:
        raise StoreError(f"{source}: {error.strerror}") from error
    return target


def asides(folder: Path) -> list[Path]:
    """Folders set aside, oldest first."""
    parent = folder / "aside"
    return sorted(parent.iterdir()) if parent.is_dir() else []


def finish(folder: Path, name: str, *, damaged: bool) -> None:
    """All of aside ``name`` is carried: a damaged one is kept for a look, others go."""
    source = folder / "aside" / name
    try:
        if damaged and source.exists():
            shutil.rmtree(folder / "quarantine", ignore_errors=True)
            source.rename(folder / "quarantine")
        else:
            shutil.rmtree(source, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{source}: {error.strerror}") from error


def prune(folder: Path, max_bytes: int) -> None:
    """Keep what is set aside within ``max_bytes``: the quarantine goes first, the newest
    aside, which alone is within it, last."""
    kept = [folder / "quarantine", *asides(folder)]
    sizes = {path: _tree_bytes(path) for path in kept}
    for path in kept[:-1]:
        if sum(sizes.values()) <= max_bytes:
            return
        shutil.rmtree(path, ignore_errors=True)
        sizes[path] = 0


class Former:
    """What can still be read of a database that was set aside. Never raises for damage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epoch = ""
        self.born_at = ""
        self.first_open = 1
        self.produced: int | None = None
        self.settled = Ranges()
        self.past: set[str] = set()
        self.damaged = False

    @classmethod
    def read(cls, folder: Path) -> Former:
        """Collect what the small tables say."""
        old = cls(folder)
        db = old.open()
        if db is None:
            return old
        try:
            for epoch, born_at, produced in old._try(
                db, "SELECT epoch, born_at, produced FROM account"
            ):
                old.epoch, old.born_at, old.produced = epoch, born_at, produced
            ranges = old._try(db, "SELECT first, last FROM range WHERE name = 'settled'")
            old.settled = Ranges(ranges)
            old.past = {epoch for (epoch,) in old._try(db, "SELECT epoch FROM past")}
            if old.produced is None:
                for (highest,) in old._try(db, "SELECT max(seq) FROM record"):
                    old.produced = highest
            old.first_open = next((low for low, _ in old.settled.absent(1, 1 << 62)), 1)
        finally:
            close_quietly(db)
        return old

    def open(self) -> Database | None:
        """A connection to it; None = not even that."""
        try:
            db = Database(self.folder / FILE)
            db.prepare_to_read()
            db.value("SELECT count(*) FROM sqlite_master")
        except StoreError:
            self.damaged = True
            return None
        return db

    def copy_into(self, db: Database) -> None:
        """Copy journal, memory, dead letters, evidence and open events as far as readable."""
        source = self.open()
        if source is None:
            return
        try:
            for table, columns in _COPIED.items():
                marks = ", ".join("?" * (columns.count(",") + 1))
                rows = self._try(source, f"SELECT {columns} FROM {table}")
                db.run_many(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", rows)
            self._copy_evidence(source, db)
            events = self._try(source, "SELECT id, pipeline, key, data FROM event")
            db.run_many(
                "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)",
                [(id_ if "/" in id_ else f"{self.epoch}/{id_}", *rest) for id_, *rest in events],
            )
            db.run("DELETE FROM memory WHERE key GLOB ?", (f"{_MARK}*",))
        finally:
            close_quietly(source)

    def _copy_evidence(self, source: Database, db: Database) -> None:
        """Evidence of delivered records may go at once (seq 0); the rest waits for its record
        to be carried."""
        rows = self._try(source, "SELECT sha256, seq, bytes, type, state, next FROM blob")
        db.run_many(
            "INSERT OR IGNORE INTO blob VALUES (?, ?, ?, ?, ?, ?)",
            [(sha, 0 if seq in self.settled else 1 << 62, *rest) for sha, seq, *rest in rows],
        )

    def _try(self, db: Database, sql: str) -> list[tuple[Any, ...]]:
        """Rows until the damage begins."""
        found: list[tuple[Any, ...]] = []
        try:
            found.extend(db.each(sql))
        except StoreError:
            self.damaged = True
        return found

    def records(self, db: Database, after: int, limit: int) -> list[tuple[int, int, bytes]]:
        """Up to ``limit`` readable pending rows beyond ``after``; empty = no more.

        Where a page is damaged the scan fails, and rows are asked for one by one: those on
        sound pages still come.
        """
        top = self.produced or 0
        while after < top:
            high = min(after + limit, top)
            try:
                rows = db.rows(
                    "SELECT seq, kind, body FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq",
                    (after + 1, high),
                )
            except StoreError:
                self.damaged = True
                rows = list(self._singly(db, after + 1, high))
            found = [
                row for row in rows
                if row[0] not in self.settled and isinstance(row[2], bytes)
            ]  # fmt: skip
            if found:
                return found
            after = high
        return []

    def _singly(self, db: Database, first: int, last: int) -> Iterable[tuple[Any, ...]]:
        for seq in range(first, last + 1):
            try:
                yield from db.rows("SELECT seq, kind, body FROM record WHERE seq = ?", (seq,))
            except StoreError:
                continue


def check(db: Database, path: Path, *, quick_bytes: int = 4 * 1024 * 1024) -> None:
    """Look for damage where that is cheap: a small file whole, else the ends of the records.

    Raises StoreCorrupt.
    """
    db.value("SELECT seq FROM record ORDER BY seq LIMIT 1")
    db.value("SELECT length(body) FROM record ORDER BY seq DESC LIMIT 1")
    try:
        small = path.stat().st_size <= quick_bytes
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    if small:
        verdict = db.value("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise StoreCorrupt(f"{path}: {verdict}")


def close_quietly(db: Database) -> None:
    try:
        db.close()
    except StoreError:
        # A connection that failed may fail to close; its files are left to themselves.
        return


def _tree_bytes(path: Path) -> int:
    if not path.is_dir():
        return 0
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
