"""Versions from the fleet's repository: real trust in a child process, files over MQTT."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.errors import Busy
from edgeagent.update.fetch.mqtt import MqttCarrier
from edgeagent.update.ports import Progress, Target
from edgeagent.update.trust.repository import TrustedRepository

if TYPE_CHECKING:
    from edgeagent.fleet.simulate.device import SimulatedDevice

_LARGEST = 64 * 1024
_CHILDREN = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))
"""Of this process at a time: each takes 30 MB. On real boards there is one a board."""

Take = Callable[[str, bytes], None]


class LineExchange:
    """`fetch.port.Exchange` over a simulated device's own connection."""

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device
        self._takes: dict[str, Take] = {}

    @property
    def up(self) -> bool:
        return self._device.line.is_up

    largest = _LARGEST

    def left(self) -> int:
        return 1 << 40

    def held(self) -> str:
        return ""

    def ask(self, request: bytes) -> bool:
        if not self.up:
            return False
        self._device.line.publish(self._device.topics_of.fetch, request, qos=0)
        return True

    def listen(self, rid: str, take: Take) -> Callable[[], None]:
        self._takes[rid] = take
        return lambda: self._takes.pop(rid, None) and None

    def came(self, topic: str, payload: bytes) -> None:
        """A message on one of the fetch topics. On the switchboard's thread."""
        rid, _, name = topic.removeprefix(f"{self._device.topics_of.fetch}/").partition("/")
        take = self._takes.get(rid)
        if take is not None:
            take(name, payload)


class QueuedRepository:
    """`ports.Repository`: the real one, once its turn has come."""

    def __init__(self, its: TrustedRepository) -> None:
        self._its = its
        self._holds = False

    def refresh(self, stopped: threading.Event) -> None:
        while not self._holds:
            if stopped.is_set():
                raise Busy("stopped while it waited for its turn")
            self._holds = _CHILDREN.acquire(timeout=0.2)
        self._its.refresh(stopped)

    def target(self, path: str) -> Target | None:
        return self._its.target(path)

    def bring(
        self, target: Target, into: Path, *, bases: Sequence[Path] = (), progress: Progress,
        stopped: threading.Event,
    ) -> None:  # fmt: skip
        self._its.bring(target, into, bases=bases, progress=progress, stopped=stopped)

    def close(self) -> None:
        self._its.close()
        if self._holds:
            self._holds = False
            _CHILDREN.release()


def opened(device: SimulatedDevice, root: Path) -> QueuedRepository:
    """The fleet's repository, as this device sees it."""
    if device.exchange is None:
        device.exchange = LineExchange(device)
    carrier = MqttCarrier(device.exchange)
    return QueuedRepository(TrustedRepository(device.folder / "trust", root, [carrier]))
