"""Collectors as processes, devices with real outboxes and links, brokers that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import NotFound
from edgeagent.fleet.audit import Audit, audit
from edgeagent.fleet.database import open_database
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.blobs import Blobs
from edgeagent.sync.confirms import Confirms
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.publisher import Publisher, PublisherSettings
from edgeagent.sync.topics import Topics
from edgeagent.types import Draft, Evidence

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(Path(__file__).parent))  # For the observer.
QUICK = dict.fromkeys(RANGES, (0.05, 0.3))


def eventually(condition: Callable[[], Any], timeout: float = 30.0, told: Any = None) -> Any:
    """Wait for something that another thread or process brings about."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen in time: {told() if told else ''}")
        time.sleep(0.02)
    return found


class CollectorProcess:
    """``edgeagent fleet collect`` as a child."""

    def __init__(self, folder: Path, url: str, port: int, *flags: str) -> None:
        self._log = folder / f"collector-{time.monotonic_ns()}.log"
        command = [sys.executable, "-c", "from edgeagent.cli.fleet import app; app()", "collect",
                   "--db", url, "--port", str(port), "--json", *flags]  # fmt: skip
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def collecting(self) -> CollectorProcess:
        """Wait until it is connected."""
        eventually(
            lambda: "connected to" in self.log.partition("collecting into")[2],
            told=lambda: self.log,
        )
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> dict[str, Any]:
        """SIGTERM; its figures."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log
        return json.loads(self.log.splitlines()[-1])


class Device:
    """Outbox, publisher, confirms and evidence on one link, deciding as told."""

    def __init__(
        self, folder: Path, name: str, port: int, *, confirm: Any = "collector",
        collectors: tuple[str, ...] = ("main",), user: str = "", password: str = "",
    ) -> None:  # fmt: skip
        settings = OutboxSettings(
            confirm=confirm, collectors=collectors, resend_after_s=1.0, results_s=0.05
        )
        self.name = name
        self.box = Outbox.open(folder / name, device=name, settings=settings, boot="b", machine="m")
        topics = Topics("edgeagent", name)
        known: dict[str, Any] = {"keepalive_s": 5.0, "answer_s": 2.0, "ranges": QUICK}
        where = (Endpoint("127.0.0.1", port, user, password),)
        self.link = Link(LinkSettings(topics.client_id, where, **known), topics.echo)
        publisher = Publisher(self.link, self.box, PublisherSettings(topics.records, name))
        self.blobs = Blobs(self.link, self.box.blobs, topics, busy=lambda: False)
        Confirms(self.link, topics, self.box, collectors)
        self.link.board(publisher)
        self.link.board(self.blobs)
        self.box.on_commit(self.link.wake)
        self.link.start()
        self.decided = 0

    def decide(self, count: int, *, evidence: int = 0) -> None:
        """Append records; each ``evidence``-th is an event with a picture."""
        for _ in range(count):
            self.decided += 1
            seen: tuple[Evidence, ...] = ()
            if evidence and self.decided % evidence == 0:
                picture = f"{self.name} {self.decided} ".encode() * 2000
                seen = (Evidence("image/jpeg", picture),)
            kind, data = ("event", {"phase": "new"}) if seen else ("result", {})
            self.box.append(
                Draft(kind, "p", data={**data, "n": self.decided}, event=f"{self.decided}",
                      evidence=seen)
            )  # fmt: skip
        assert self.box.flush(30)

    def settled(self) -> bool:
        stats = self.box.stats()
        return not stats.pending and stats.produced == stats.delivered + sum(stats.dropped.values())

    def close(self) -> None:
        self.link.stop()
        self.box.close()


class Fleet:
    """What a test starts, ended with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.devices: list[Device] = []
        self.collectors: list[CollectorProcess] = []

    def collector(self, url: str, port: int, *flags: str) -> CollectorProcess:
        made = CollectorProcess(self.folder, url, port, *flags)
        self.collectors.append(made)
        return made

    def device(self, name: str, port: int, **more: Any) -> Device:
        made = Device(self.folder, name, port, **more)
        self.devices.append(made)
        return made

    def settle(self, timeout: float = 40.0) -> None:
        """Wait until every device knows that everything is collected."""
        for device in self.devices:
            eventually(
                device.settled, timeout,
                lambda device=device: f"{device.box.stats()} {self.logs()}",
            )  # fmt: skip

    def logs(self) -> list[str]:
        return [collector.log[-1500:] for collector in self.collectors]

    def end(self) -> None:
        for device in self.devices:
            device.close()
        for collector in self.collectors:
            if collector.process.poll() is None:
                collector.kill()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.end()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server for the session."""
    pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    from edgeagent.testing.postgres import PostgresServer

    try:
        server = PostgresServer()
    except NotFound as error:
        pytest.skip(f"{error} ({error.remedy})")
    with server:
        yield server


class Examined:
    """The account and the rows, checked against each other and against what was decided."""

    @staticmethod
    def audit(url: str) -> Audit:
        db = open_database(url)
        try:
            return audit(db)
        finally:
            db.close()

    @classmethod
    def complete(cls, url: str, devices: list[Device]) -> Audit:
        found = cls.audit(url)
        assert found.complete, [s for s in found.streams if s.missing]
        db = open_database(url)
        rows = db.rows("SELECT device, epoch, seq, body FROM records")
        db.close()
        keys = [row[:3] for row in rows]
        assert len(keys) == len(set(keys))
        for device in devices:
            bodies = [
                b if isinstance(b, dict) else json.loads(b) for d, *_, b in rows if d == device.name
            ]
            counted = sorted(b["data"]["n"] for b in bodies if "n" in b.get("data", {}))
            assert counted == list(range(1, device.decided + 1)), device.name
        return found


@pytest.fixture(scope="session")
def examined() -> type[Examined]:
    return Examined


class Deciding:
    """Devices that decide in the background, until the end of the block."""

    def __init__(self, devices: list[Device], a_turn: int = 20, **more: Any) -> None:
        self._devices, self._a_turn, self._more = devices, a_turn, more
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            for device in self._devices:
                device.decide(self._a_turn, **self._more)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def deciding() -> Iterator[Callable[..., Deciding]]:
    made: list[Deciding] = []

    def make(devices: list[Device], **more: Any) -> Deciding:
        made.append(Deciding(devices, **more))
        return made[-1]

    yield make
    for one in made:
        one.end()
