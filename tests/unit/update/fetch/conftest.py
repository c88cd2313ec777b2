"""A real broker, a server of files and a device that asks for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.fleet.serve import Server, ServeSettings
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.budget import Budget
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.fetching import Fetching
from edgeagent.sync.link import Link
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto

QUICK = dict.fromkeys(RANGES, (0.02, 0.2))


class Asker:
    """A device's link with the fetch topics on it."""

    def __init__(self, port: int, name: str = "d1", budget: Budget | None = None) -> None:
        topics = Topics("edgeagent", name)
        where = (Endpoint("127.0.0.1", port),)
        self.link = Link(LinkSettings(topics.client_id, where, ranges=QUICK), topics.echo)
        budget = budget or Budget()
        self.link.metered(budget)
        self.exchange = Fetching(self.link, topics, budget)
        for passenger in (budget, self.exchange):
            self.link.board(passenger)
        self.link.start()
        assert self.link.wait_up(20), self.link.last_error


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    for name in ("metadata", "targets"):
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture
def serve(broker: Mosquitto, shelf: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server; ``port`` is the broker's unless named."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(port: int = 0, **settings: Any) -> Server:
        where = (Endpoint("127.0.0.1", port or broker.port),)
        server = Server(ServeSettings(shelf, LinkSettings("", where, ranges=QUICK), **settings))
        ready = threading.Event()
        thread = threading.Thread(target=server.run, args=(lambda _how: ready.set(),))
        thread.start()
        running.append((server, thread))
        assert ready.wait(20)
        return server

    yield start
    for server, _ in running:
        server.stop()
    for _, thread in running:
        thread.join(10)


@pytest.fixture
def ask() -> Iterator[Callable[..., Asker]]:
    made: list[Asker] = []

    def make(*args: Any, **more: Any) -> Asker:
        made.append(Asker(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.link.stop()
