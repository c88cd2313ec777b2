"""Values that other devices publish at the agent's own broker.

The link belongs to `sync`; this is a port that it is wired to.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from edgeagent.capture.sensor.fields import Fields, number, parse_json
from edgeagent.capture.sensor.probe import Batch, Faults, batch
from edgeagent.capture.sensor.source import SensorSource
from edgeagent.capture.sensor.timeline import Timeline
from edgeagent.capture.source import PICTURES, Wanted
from edgeagent.errors import ConfigError, SourceLost

if TYPE_CHECKING:
    from edgeagent.config.channels import TopicChannel
    from edgeagent.config.sensors import MqttConfig

_KEPT = 10_000
Take = Callable[[str, bytes], None]
"""Given topic and payload, on the link's thread: brief."""


class Broker(Protocol):
    """What a source needs of the link."""

    def subscribe(self, pattern: str, take: Take) -> None:
        """Receive what is published there from now on, and what is retained."""

    def unsubscribe(self, pattern: str, take: Take) -> None:
        """No longer."""

    @property
    def down(self) -> str:
        """Why nothing can come now; empty = it can."""


class TopicProbe:
    """Readings of one filter: of all channels that name it."""

    def __init__(self, topic: str, channels: Mapping[str, TopicChannel], time: str) -> None:
        self.name = f"topic {topic}"
        self.channels = tuple(channels)
        self.faults = Faults()
        self.broker: Broker | None = None
        self._topic = topic
        self._plain = [its for its, channel in enumerate(channels.values()) if not channel.read]
        fields = {name: its.read for name, its in channels.items() if its.read}
        self._fields = Fields(parse_json, fields, time) if fields else None
        self._places = [its for its, one in enumerate(channels.values()) if one.read]
        self._timeline = Timeline()
        self._taken: deque[tuple[float, bytes]] = deque(maxlen=_KEPT)
        self._woken = threading.Event()

    def open(self) -> None:
        """Subscribe. Raises ConfigError where the agent has no broker."""
        if self.broker is None:
            raise ConfigError(
                f"{self.name}: there is no broker to receive it from",
                remedy='Set host of [mqtt]: kind = "mqtt" reads at the agent\'s own broker.',
            )
        self._taken.clear()
        self.broker.subscribe(self._topic, self._take)

    def read(self, until: float) -> Batch | None:
        """All messages that came. Raises SourceLost while the link is down."""
        if not self._taken:
            self._woken.wait(max(0.0, until - time.monotonic()))
            self._woken.clear()
        times: list[float] = []
        rows: list[list[float]] = []
        while self._taken:
            arrived, payload = self._taken.popleft()
            try:
                row, when = self._row(payload, arrived)
            except ValueError as error:
                self.faults.add(f"{self._topic}: {error}")
                continue
            times.append(when)
            rows.append(row)
        if rows:
            return batch(times, rows)
        down = self.broker.down if self.broker else ""
        if down:
            raise SourceLost(f"{self.name}: {down}")
        return None

    def close(self) -> None:
        """Unsubscribe."""
        if self.broker is not None:
            self.broker.unsubscribe(self._topic, self._take)

    def _take(self, _topic: str, payload: bytes) -> None:
        self._taken.append((time.monotonic(), payload))
        self._woken.set()

    def _row(self, payload: bytes, arrived: float) -> tuple[list[float], float]:
        text = payload.decode("utf-8", "replace")
        row = [float("nan")] * len(self.channels)
        when = arrived
        if self._fields is not None:
            values = self._fields.row(text) or []
            for place, value in zip(self._places, values, strict=True):
                row[place] = value
            if self._fields.time_s is not None:
                (when,) = self._timeline([self._fields.time_s], arrived)
        for place in self._plain:
            row[place] = number(text, self._topic)
        return row, when


class MqttSource(SensorSource):
    """Windows of what is published; `connect` gives it the link."""

    network = True

    def __init__(self, name: str, config: MqttConfig, wanted: Wanted = PICTURES) -> None:
        groups: dict[str, dict[str, TopicChannel]] = {}
        for channel, its in config.channels.items():
            groups.setdefault(its.topic or config.topic, {})[channel] = its
        self._topics = [TopicProbe(topic, its, config.time) for topic, its in groups.items()]
        super().__init__(name, config, wanted, self._topics, config.channels, streams=True)

    def connect(self, broker: Broker) -> None:
        """Before `open`."""
        for probe in self._topics:
            probe.broker = broker
