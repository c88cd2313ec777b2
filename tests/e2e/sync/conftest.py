"""A device with everything that rides on its link, and brokers of several makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import NotFound
from edgeagent.testing.broker import Mosquitto, ProcessBroker
from edgeagent.testing.device import Device, Listener
from edgeagent.testing.other_brokers import Nats, RabbitMq

BROKERS: dict[str, tuple[type[ProcessBroker], str]] = {
    "mosquitto-5": (Mosquitto, "5"),
    "mosquitto-3.1.1": (Mosquitto, "3.1.1"),
    "nats": (Nats, "auto"),
    "rabbitmq": (RabbitMq, "auto"),
}
"""Name → class, and the version of MQTT that the device is told."""


@pytest.fixture(scope="module", params=list(BROKERS))
def any_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProcessBroker, str]]:
    """A broker of each make, and the version to speak with it; skipped where not installed."""
    make, version = BROKERS[request.param]
    broker = make(tmp_path_factory.mktemp(request.param))
    try:
        broker.start()
    except NotFound as error:
        pytest.skip(f"{error} ({error.remedy})")
    yield broker, version
    broker.kill()


@pytest.fixture
def make_device(tmp_path: Path) -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(name: str, port: int, **link: Any) -> Device:
        made.append(Device(tmp_path, name, port, **link))
        return made[-1]

    yield make
    for device in made:
        device.stop()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def make(port: int, *topics: str) -> Listener:
        made.append(Listener(port, *topics))
        return made[-1]

    yield make
    for listener in made:
        listener.close()
