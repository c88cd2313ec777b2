"""A broker, a folder of files and a server of them in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeagent.fleet.serve import Server, ServeSettings
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.testing.broker import Mosquitto


@pytest.fixture
def serve(broker: Mosquitto) -> Iterator[Callable[[Path], Server]]:
    running: list[tuple[Server, threading.Thread]] = []

    def start(folder: Path) -> Server:
        where = (Endpoint("127.0.0.1", broker.port),)
        server = Server(ServeSettings(folder, LinkSettings("", where)))
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
