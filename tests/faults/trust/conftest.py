"""A begun repository, served over a real broker, and devices that fetch from it over MQTT."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.fleet.repository import ceremony, publish
from edgeagent.fleet.repository.home import Home
from edgeagent.fleet.serve import Server, ServeSettings
from edgeagent.manifest import load_package
from edgeagent.prove.lint import write_files
from edgeagent.sync.budget import Budget
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.fetching import Fetching
from edgeagent.sync.link import Link
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto
from edgeagent.update.fetch.mqtt import MqttCarrier
from edgeagent.update.trust.repository import TrustedRepository

MODEL = "models/parts/1.0.0/m.tflite"
CONTENT = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, mosquitto_installed: None
) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as running:
        assert isinstance(running, Mosquitto)
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """With `parts` 1.0.0 published."""
    it = ceremony.begin(tmp_path / "fleet", models=["parts", "other"]).home
    release(it, tmp_path, "1.0.0", CONTENT)
    return it


def release(home: Home, folder: Path, version: str, content: bytes) -> None:
    package = folder / "packages" / version
    package.mkdir(parents=True)
    (package / "m.tflite").write_bytes(content)
    (package / "model.toml").write_text(
        f'name = "parts"\nversion = "{version}"\ntask = "classify"\nlicence = "MIT"\n'
        '[[input]]\nname = "image"\nkind = "image"\n[output]\ndecoder = "classify"\n'
        '[[variant]]\nfile = "m.tflite"\nruntime = "litert"\n'
    )
    write_files(load_package(package))
    publish.publish(home, publish.plan(home, load_package(package)))


@pytest.fixture(name="release")
def _release(home: Home, tmp_path: Path) -> Callable[[str, bytes], None]:
    return lambda version, content: release(home, tmp_path, version, content)


@pytest.fixture
def server(broker: Mosquitto, home: Home) -> Iterator[Server]:
    where = (Endpoint("127.0.0.1", broker.port),)
    it = Server(ServeSettings(home.folder / "public", LinkSettings("", where)))
    ready = threading.Event()
    thread = threading.Thread(target=it.run, args=(lambda _how: ready.set(),))
    thread.start()
    assert ready.wait(20)
    yield it
    it.stop()
    thread.join(10)


@pytest.fixture
def device(
    broker: Mosquitto, home: Home, server: Server, tmp_path: Path
) -> Iterator[Callable[..., TrustedRepository]]:
    """A device by name: the same name is the same device after a restart."""
    topics = Topics("edgeagent", "d1")
    where = (Endpoint("127.0.0.1", broker.port),)
    link = Link(LinkSettings(topics.client_id, where), topics.echo)
    exchange = Fetching(link, topics, Budget())
    link.board(exchange)
    link.start()
    assert link.wait_up(20)
    made: list[TrustedRepository] = []

    def make(name: str = "one", **more: Any) -> TrustedRepository:
        carriers = [MqttCarrier(exchange, silence_s=5.0)]
        made.append(TrustedRepository(tmp_path / name, home.first_root, carriers, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
    link.stop()
