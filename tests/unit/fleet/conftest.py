"""Databases of both kinds, and batches as devices write them."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import NotFound
from edgeagent.fleet.archive import Archive
from edgeagent.fleet.batches import Arrival, read
from edgeagent.fleet.database import Database, open_database


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server for the whole session."""
    pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    from edgeagent.testing.postgres import PostgresServer

    try:
        server = PostgresServer()
    except NotFound as error:
        pytest.skip(f"{error} ({error.remedy})")
    with server:
        yield server


@pytest.fixture(scope="session")
def emptied(postgres: Any) -> Callable[[], str]:
    """The URL of a database, emptied: much quicker than a new one."""
    import psycopg

    made: str = postgres.database()

    def empty() -> str:
        with psycopg.connect(made, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS edgeagent CASCADE")
        return made

    return empty


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "fleet.db")
    return str(request.getfixturevalue("emptied")())


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    database = open_database(url)
    yield database
    database.close()


@pytest.fixture
def archive(db: Database) -> Archive:
    return Archive(db)


def record(seq: int, kind: str = "result", **more: Any) -> dict[str, Any]:
    at = "2026-11-24T18:29:49.120Z"
    return {"seq": seq, "kind": kind, "pipeline": "belt", "at": at, "data": {"n": seq}, **more}


def gap(seq: int, first: int, last: int | None, reason: str = "outbox full", **more: Any) -> Any:
    count = None if last is None else last - first + 1
    return {"seq": seq, "kind": "gap", "from": first, "to": last, "count": count,
            "reason": reason, **more}  # fmt: skip


def payload(records: list[Any], device: str = "d1", epoch: str = "E1") -> bytes:
    batch = {"v": 1, "device": device, "epoch": epoch, "first": 1, "last": 1, "records": records}
    return zlib.compress(json.dumps(batch).encode())


def arrival(records: list[Any], device: str = "d1", epoch: str = "E1") -> Arrival:
    return read(payload(records, device, epoch))


def results(first: int, last: int, device: str = "d1", epoch: str = "E1") -> Arrival:
    return arrival([record(seq) for seq in range(first, last + 1)], device, epoch)


def eventually(condition: Callable[[], Any], timeout: float = 15.0) -> Any:
    """Wait for something that another thread or process brings about."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.01)
    return found


class Made:
    """The functions above, for tests."""

    record = staticmethod(record)
    gap = staticmethod(gap)
    payload = staticmethod(payload)
    arrival = staticmethod(arrival)
    results = staticmethod(results)
    eventually = staticmethod(eventually)


@pytest.fixture(scope="session")
def made() -> type[Made]:
    return Made
