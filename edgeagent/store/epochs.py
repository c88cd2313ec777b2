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
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from edgeagent.durable import put, sync
from edgeagent.errors import StoreCorrupt, StoreError
from edgeagent.store.database import FILE, PAGE, Connect, Database, close_quietly, connect
from edgeagent.store.encode import Clock, rfc3339
from edgeagent.store.former import Former
from edgeagent.store.ledger import Ledger
from edgeagent.store.space import Space

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Mark(msgspec.Struct):
    """epoch.json."""

    device: str
    epoch: str
    machine: str
    since: str


class Identity(Struct, frozen=True):
    """Whose outbox it is."""

    device: str
    machine: str
    boot: str


def ulid(ns: int) -> str:
    """A sortable random id: 48 bits of milliseconds, 80 random bits, Crockford's base 32."""
    number = (max(ns, 0) // 1_000_000 & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def database_path(folder: Path) -> Path:
    """Where the database of an outbox folder is."""
    return folder / "db" / FILE


def open_writable(path: Path, space: Space, make: Connect = connect) -> Database:
    """Raises StoreError, StoreCorrupt, StoreTooNew."""
    space.let_go()
    db = Database(path, make=make)
    try:
        db.prepare_to_write()
        db.migrate()
        space.reserve(db)
    except StoreError:
        close_quietly(db)
        raise
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
        _remove(fresh)
        fresh.mkdir(parents=True)
        epoch = _fill(folder, fresh / FILE, identity, clock, space_bytes, reason, make)
        sync(fresh)
        fresh.rename(folder / "db")
        sync(folder)
        mark = Mark(identity.device, epoch, identity.machine, rfc3339(clock.wall_ns()))
        put(folder / "epoch.json", msgspec.json.encode(mark))
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
        under_way = {name: upto for old in former for name, upto in old.carry.items()}
        db.run("BEGIN IMMEDIATE")
        db.run(
            "INSERT INTO account (id, device, machine, epoch, born_at) VALUES (1, ?, ?, ?, ?)",
            (identity.device, identity.machine, epoch, _born(former) or rfc3339(now)),
        )
        for old in former:
            name = old.folder.name
            if name not in under_way:
                old.copy_into(db)
            db.run("INSERT OR REPLACE INTO carry VALUES (?, ?)", (name, under_way.get(name, 0)))
        db.run("COMMIT")
        ledger = Ledger(db, boot=identity.boot, clock=clock, before=partial(space.bound_log, db))
        ledger.begin()
        for name, first in _unfinished(folder, former).items():
            ledger.tell_epoch(name, first, reason)
        ledger.commit()
        for old in former:
            if old.folder.name not in under_way:
                old.gaps_into(ledger)
        return epoch
    finally:
        close_quietly(db)


def _born(former: Iterable[Former]) -> str:
    """A journal that was carried is as old as it was."""
    return min((old.born_at for old in former if old.born_at), default="")


def _unfinished(folder: Path, former: list[Former]) -> dict[str, int]:
    """Epochs that must be told of → the first seq that may be missing."""
    # The gap that told of an epoch may be on a page that can't be read: tell again.
    told = {epoch for old in former if not old.damaged for epoch in old.past}
    names = {epoch: 1 for old in former if old.damaged for epoch in old.past}
    names.update((old.epoch, old.first_open) for old in former if old.epoch)
    mark = read_mark(folder)
    if mark is not None:
        names.setdefault(mark.epoch, 1)
    return {epoch: first for epoch, first in names.items() if epoch not in told}


def read_mark(folder: Path) -> Mark | None:
    try:
        return msgspec.json.decode((folder / "epoch.json").read_bytes(), type=Mark)
    except (OSError, msgspec.MsgspecError):
        # Without it (first start, damaged) nothing is known of a former epoch.
        return None


def set_aside(folder: Path) -> Path | None:
    """Move ``db`` out of the way, log and all. None = there was none. Raises StoreError."""
    source = folder / "db"
    if not source.exists():
        return None
    number = int(present[-1].name) + 1 if (present := asides(folder)) else 1
    target = folder / "aside" / f"{number:06d}"
    try:
        target.parent.mkdir(exist_ok=True)
        source.rename(target)
        sync(folder)
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
            _remove(folder / "quarantine")
            source.rename(folder / "quarantine")
        else:
            _remove(source)
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
        _remove(path)
        sizes[path] = 0


def check(db: Database, path: Path, *, quick_bytes: int = 4 * 1024 * 1024) -> None:
    """Look for damage where that is cheap: a small database whole, else the ends of the records.

    Raises StoreCorrupt.
    """
    db.value("SELECT seq FROM record ORDER BY seq LIMIT 1")
    db.value("SELECT length(body) FROM record ORDER BY seq DESC LIMIT 1")
    if int(db.value("PRAGMA page_count")) * PAGE <= quick_bytes:
        verdict = db.value("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise StoreCorrupt(f"{path}: {verdict}")


def _tree_bytes(path: Path) -> int:
    if not path.is_dir():
        return 0
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _remove(folder: Path) -> None:
    """Remove a folder as far as that is possible."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
