"""Everything of `sync`, put together for one agent.

station = Station(config.…, topics, outbox, registry, identity, run)
station.presence.say("degraded", ("cam0: unplugged",))
station.start(); …; station.stop()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeagent.config.model import Config
from edgeagent.config.units import seconds
from edgeagent.store.outbox import Outbox
from edgeagent.sync.commands import Commands, Registry, Run
from edgeagent.sync.confirms import Confirms
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.judgement import Rules
from edgeagent.sync.link import Link
from edgeagent.sync.mqtt_commands import MqttCommands
from edgeagent.sync.presence import Identity, Presence
from edgeagent.sync.publisher import Publisher, PublisherSettings
from edgeagent.sync.shelf import Shelf
from edgeagent.sync.telemetry import Telemetry
from edgeagent.sync.topics import Topics


class Station:
    """The MQTT side of an agent. Without it (no ``mqtt.host``) an agent only keeps records.

    ``link``, ``shelf``, ``presence``, ``publisher`` and ``commands`` are open to be used and,
    before `start`, to be wired further (`Link.subscribe`, `Link.board`).
    """

    def __init__(
        self,
        config: Config,
        topics: Topics,
        outbox: Outbox,
        commands: Commands,
        identity: Identity,
        *,
        gather: Callable[[], dict[str, Any]] | None = None,
        settings: LinkSettings | None = None,
    ) -> None:
        """``gather`` gives the metrics; ``settings`` overrides those of the configuration."""
        self.topics = topics
        self.commands = commands
        self.link = Link(settings or LinkSettings.of(config.mqtt, topics.client_id), topics.echo)
        self.shelf = Shelf(self.link, outbox)
        self.presence = Presence(self.link, self.shelf, outbox, topics, identity)
        self.publisher = Publisher(
            self.link,
            outbox,
            PublisherSettings.of(config.sync, topic=topics.records, device=topics.device),
        )
        self.presence.watch(self.publisher)
        self.confirms = Confirms(self.link, outbox, topics, config.sync.collectors)
        self.mqtt_commands = MqttCommands(
            self.link, self.shelf, topics, commands, outbox.journal, config.device.groups
        )
        self.shelf.keep(topics.state(pipeline) for pipeline in config.pipelines)
        # The shelf rides last: what the others put on it in their turn leaves in the same one.
        self.link.board(self.presence)
        self.link.board(self.mqtt_commands)
        self.link.board(self.publisher)
        if gather is not None:
            every = seconds(config.metrics.every)
            self.link.board(Telemetry(self.link, topics.metrics, gather, every))
        self.link.board(self.shelf)
        outbox.on_commit(self.link.wake)

    def start(self) -> None:
        """Connect. Raises StoreError if the journal can't be read."""
        self.mqtt_commands.restore()
        self.link.start()

    def stop(self, timeout: float = 3.0) -> None:
        """Say goodbye: status offline, what is under way acknowledged."""
        self.link.stop(timeout)


def commands_of(config: Config, outbox: Outbox, registry: Registry, run: Run) -> Commands:
    """The command engine of an agent; also without a broker, for the control socket."""
    return Commands(registry, outbox.journal, Rules.of(config.commands, config.trust), run)
