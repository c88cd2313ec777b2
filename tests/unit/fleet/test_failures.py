"""Each statement fails once: nothing half, nothing twice, and it goes on."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.publish as publish
import pytest

from edgeagent.errors import Busy, Unavailable
from edgeagent.fleet.archive import Archive, Group, Heard
from edgeagent.fleet.audit import audit
from edgeagent.fleet.batches import read
from edgeagent.fleet.collect import Collector, CollectSettings
from edgeagent.fleet.confirms import Confirms
from edgeagent.fleet.database import Database, open_database
from edgeagent.fleet.evidence import Piece
from edgeagent.fleet.intake import Taken
from edgeagent.fleet.retention import Retention
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.port import Incoming


class Failing:
    """A database whose n-th use fails, as when its server goes away."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.fail_at = 0
        self.uses = 0
        self.down = threading.Event()

    def _use(self) -> None:
        self.uses += 1
        if self.uses == self.fail_at or self.down.is_set():
            raise Unavailable("the server went away", remedy="Wait.")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._use()
        with self._db.transaction():
            yield
            self._use()  # COMMIT

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._db, name)
        if name not in ("rows", "run", "many", "put", "now"):
            return found

        def used(*arguments: Any) -> Any:
            self._use()
            return found(*arguments)

        return used


def group(made: Any) -> Group:
    picture = b"p" * 3000
    sha = hashlib.sha256(picture).hexdigest()
    return Group(
        arrivals=[
            made.results(1, 40),
            made.arrival(
                [
                    made.record(41, blobs=[{"sha256": sha, "bytes": 3000, "type": "image/jpeg"}]),
                    made.gap(50, 42, 49), {"seq": -3},
                ]
            ),
            made.arrival([made.gap(1, 51, None, epoch="E1", reason="lost")], epoch="E2"),
        ],
        pieces=[Piece("d1", sha, 0, picture[:1024]), Piece("d1", sha, 1024, picture[1024:])],
        heard=[Heard("d1", "E2", 1, True)],
    )  # fmt: skip


def test_every_statement_of_a_group_fails_once(db: Database, made: Any) -> None:
    failing = Failing(db)
    archive = Archive(failing)  # type: ignore[arg-type]
    fails = 0
    for number in range(1, 60):
        failing.uses, failing.fail_at = 0, number
        try:
            written = archive.write(group(made))
        except Unavailable:
            fails += 1
            assert db.rows("SELECT count(*) FROM record") == [(0,)]
            assert db.rows("SELECT count(*) FROM stream") == [(0,)]
            continue
        break
    assert fails > 10
    assert (written.records, written.duplicates, written.evidence) == (43, 0, 1)
    found = audit(db)
    assert found.complete
    assert found.streams[0].gaps == {"outbox full": 8}
    assert found.streams[0].evidence.here == 1


def test_every_statement_of_a_confirm_and_of_retention_fails_once(db: Database, made: Any) -> None:
    Archive(db).write(group(made))
    failing = Failing(db)
    archive = Archive(failing)  # type: ignore[arg-type]
    confirms, retention = Confirms(archive, "main"), Retention(failing, 3600.0)  # type: ignore[arg-type]
    for work in (confirms.due, retention.delete):
        fails = 0
        for number in range(1, 40):
            failing.uses, failing.fail_at = 0, number
            try:
                done = work()
            except Unavailable:
                fails += 1
                continue
            break
        assert fails > 3
        if work == confirms.due:
            assert [due.device for due in done] == ["d1"]


def settings(tmp_path: Path, port: int) -> CollectSettings:
    link = LinkSettings("x", (Endpoint("127.0.0.1", port),))
    return CollectSettings(str(tmp_path / "fleet.db"), link)


def test_a_database_that_goes_away_is_waited_for_and_told_once(
    broker: Any, tmp_path: Path, made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    chosen, seen = settings(tmp_path, broker.port), {}

    def run() -> None:
        failing = seen["db"] = Failing(open_database(chosen.database))
        collector = seen["collector"] = Collector(chosen, failing)  # type: ignore[arg-type]
        collector.run()

    def send(seq: int) -> None:
        payload = made.payload([made.record(seq)])
        publish.single("edgeagent/d1/records", payload, 1, port=broker.port)

    def received() -> int:
        return sum(stream.received for stream in audit(look).streams)

    def told() -> list[str]:
        own = [r for r in caplog.records if r.name.startswith("edgeagent.fleet")]
        return [r.getMessage() for r in own if r.levelno >= logging.WARNING]

    look = open_database(chosen.database)
    thread = threading.Thread(target=run)
    with caplog.at_level(logging.INFO):
        thread.start()
        try:
            # Once to prove that the broker shares, once in earnest.
            made.eventually(lambda: caplog.text.count("connected to") == 2)
            send(1)
            made.eventually(lambda: received() == 1)
            seen["db"].down.set()
            send(2)
            made.eventually(told)
            send(3)
            seen["db"].down.clear()
            made.eventually(lambda: received() == 3)
        finally:
            seen["collector"].stop()
            thread.join(15)
    assert not thread.is_alive()
    assert [text.partition(" after")[0] for text in told()] == [
        "the server went away. Wait.", "the database is back",
    ]  # fmt: skip
    look.close()


def test_what_the_database_does_not_take_is_set_aside_and_the_rest_goes_in(
    tmp_path: Path, made: Any
) -> None:
    """However careful the reading is: one poison batch must not stop what is behind it."""
    collector = Collector(settings(tmp_path, 9))
    poison = made.results(5, 6, "d2")
    poison.rows[-1] = poison.rows[-1]._replace(seq=2**63)
    acked: list[int] = []
    message = Incoming("edgeagent/d1/records", b"", 1, False, False, lambda: acked.append(1))
    arrivals = [made.results(1, 4), poison, made.results(1, 2, "d3")]
    taken = Taken(Group(arrivals=arrivals), [message])
    collector._write(taken)
    found = audit(collector.db)
    assert {s.device: s.received for s in found.streams} == {"d1": 4, "d3": 2}
    assert found.refused == {"d2 E1": 1}
    assert acked == [1]
    assert collector.figures.refused == 1
    collector.db.close()


def test_a_place_that_was_taken_meanwhile_ends_the_process(postgres: Any) -> None:
    """After a restart of the server two with one client id would throw each other out."""
    url = postgres.database()
    one = open_database(url)
    assert one.sit("main", 0, keep=True)
    one._connection.close()  # type: ignore[attr-defined]
    two = open_database(url)
    assert two.sit("main", 0, keep=True)
    with pytest.raises(Busy, match="took the place"):
        one.rows("SELECT 1")
    two.close()


def test_a_lost_server_is_said_in_words_without_the_password(postgres: Any) -> None:
    url = postgres.database().replace("postgres@", "postgres:secret@")
    db = open_database(url)
    assert "secret" not in db.name
    other = open_database(url)
    other.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND datname = current_database()"
    )
    with pytest.raises(Unavailable) as caught:
        db.rows("SELECT 1")
    assert "secret" not in str(caught.value)
    assert db.rows("SELECT 1") == [(1,)]
    with pytest.raises(Unavailable) as caught:
        open_database(url.replace(str(postgres.port), "9"))
    assert "secret" not in str(caught.value) + caught.value.remedy
    assert read(b'{"device":"d","epoch":"e","records":[]}').rows == []
    db.close()
    other.close()
