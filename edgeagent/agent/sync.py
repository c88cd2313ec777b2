"""The way to the broker: the link and what rides on it, wired."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeagent import __version__
from edgeagent.agent.beside import figures
from edgeagent.config.units import seconds, size_bytes
from edgeagent.sync.blobs import Blobs
from edgeagent.sync.budget import Budget, BudgetSettings
from edgeagent.sync.confirms import Confirms
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.fetching import Fetching
from edgeagent.sync.link import Link
from edgeagent.sync.mqtt_commands import MqttCommands
from edgeagent.sync.port import Incoming
from edgeagent.sync.presence import Identity, Presence
from edgeagent.sync.publisher import Publisher, PublisherSettings
from edgeagent.sync.shelf import Shelf
from edgeagent.sync.telemetry import Telemetry
from edgeagent.sync.topics import Topics

if TYPE_CHECKING:
    from edgeagent.agent.commands import Commands
    from edgeagent.agent.running import Agent
    from edgeagent.sync.discovery import Discovery


class Sync:
    """Link, publisher, presence, confirms, commands and metrics of one agent."""

    def __init__(self, agent: Agent, commands: Commands) -> None:
        self._agent = agent
        self._engine = commands.engine
        config = agent.loaded.config
        topics = Topics(config.mqtt.prefix, agent.device)
        self.link = Link(LinkSettings.of(config.mqtt, topics.client_id), topics.echo)
        limits = BudgetSettings.of(config.sync, config.device.timezone)
        self.budget = Budget(limits, topics, agent.outbox)
        self.link.metered(self.budget)
        self.shelf = Shelf(self.link, agent.outbox, self.budget.may)
        identity = Identity(
            __version__, agent.boot, config.device.name, config.device.site, config.device.tags
        )
        self.presence = Presence(self.link, self.shelf, agent.outbox, topics, identity)
        settings = PublisherSettings.of(config.sync, topic=topics.records, device=agent.device)
        self.publisher = Publisher(self.link, agent.outbox, settings, self.budget)
        Confirms(self.link, topics, agent.outbox, config.sync.collectors)
        self.commands = MqttCommands(
            self.link, self.shelf, self._engine, topics, config.device.groups
        )
        metrics = Telemetry(
            self.link, topics.metrics, self._metrics, seconds(config.metrics.every), self.budget
        )
        self.blobs = Blobs(
            self.link,
            agent.outbox.blobs,
            topics,
            busy=lambda: self.publisher.busy,
            max_message=size_bytes(config.sync.max_message),
            budget=self.budget,
        )
        self.fetching = Fetching(self.link, topics, self.budget)
        self._topics = topics
        self._discovery = self._described() if config.mqtt.home_assistant else None
        self._complaining = (self.publisher, self.blobs)
        for other in self._complaining:
            self.presence.watch(other)
        for passenger in (
            self.budget, self.shelf, self.presence, self.commands, self.publisher, self.blobs,
            self.fetching, metrics,
        ):  # fmt: skip
            self.link.board(passenger)
        self._watch()
        self.link.subscribe(topics.desired, partial(self._wished, "device"))
        for group in config.device.groups:
            self.link.subscribe(
                topics.group_desired(group), partial(self._wished, f"group:{group}")
            )
        agent.outbox.on_commit(self.link.wake)
        self.shelf.keep(topics.state(name) for name in config.pipelines)
        self._pictures: dict[str, bytes] = {}
        for name in self._shown():
            self.shelf.keep((topics.image(name),))
            agent.pipelines[name].present.shows = True
        self._states: dict[str, dict[str, Any]] = {}
        self._told: Any = None
        self._reported: dict[str, Any] | None = None
        self._was_up = False

    def _watch(self) -> None:
        """Let people watch every result, where that is asked for."""
        live = {
            name: self._agent.pipelines[name]
            for name, its in self._agent.loaded.config.pipelines.items()
            if its.live and hasattr(self._agent.pipelines.get(name), "lately")
        }
        if live:
            from edgeagent.agent.watched import since
            from edgeagent.sync.live import Live

            newest = {name: partial(since, unit) for name, unit in live.items()}
            self.link.board(Live(self.link, self._topics, newest, self.budget))

    def _described(self) -> Discovery:
        from edgeagent.sync.discovery import Discovery

        self.shelf.keep((self._topics.discovery,))
        return Discovery(self.link, self.shelf, self._agent.outbox, self._topics)

    def start(self) -> None:
        """Say what this device can do, and connect."""
        self._tell_models()
        self.link.start()

    def stop(self, timeout_s: float) -> None:
        self.link.stop(timeout_s)
        self.budget.close()

    @property
    def up(self) -> bool:
        return self.link.state == "up"

    @property
    def proven(self) -> bool:
        """Up, and it is shown that messages come and go."""
        return self.link.proven

    @property
    def held(self) -> str:
        """Why results wait, however long one waits for them; empty = they don't."""
        return self.budget.held("results")

    def say(self, reasons: tuple[str, ...]) -> None:
        """How the agent does; what the link itself knows is added by it."""
        own = set(self.reasons())
        others = tuple(reason for reason in reasons if reason not in own)
        if self._agent.safe_mode:
            self.presence.say("safe-mode", others)
            return
        self.presence.say("degraded" if others else "online", others)

    def _tell_models(self) -> None:
        """Publish what this device can do and what it is, where another model runs than before:
        one may take longer to open than the link waits, or come back on another variant."""
        models = self._models()
        wishes = self._agent.wishes
        if wishes is None:
            applied = {"rev": 0, "state": "applied", "hash": self._agent.loaded.hash}
            reported = {"rev": 0, "models": models, "config": applied, "held": []}
        else:
            reported = wishes.reported(models)
        if reported != self._reported:
            self._reported = reported
            self.presence.reported(reported)
        receipts = [getattr(its, "receipt", "") for its in self._agent.pipelines.values()]
        delegated = self._agent.delegated
        proven = (models, receipts, delegated.changes if delegated is not None else 0)
        if proven == self._told:
            return
        from edgeagent.agent.capabilities import capabilities

        self._told = proven
        able = self._engine.capabilities()
        self.presence.capabilities(capabilities(self._agent, able))
        if self._discovery is not None:
            from edgeagent.agent.capabilities import about

            self._discovery.tell(about(self._agent, able, self._shown(), models))

    def tell_states(self) -> None:
        """Publish what is there now, for each pipeline where that has changed."""
        if self.up and not self._was_up and self._agent.wishes is not None:
            self._agent.wishes.linked()
        self._was_up = self.up
        self._tell_models()
        for name, unit in self._agent.pipelines.items():
            if not hasattr(unit, "present"):
                continue
            document = {**unit.present.document(), "runs": unit.health().state != "paused"}
            if document != self._states.get(name):
                self._states[name] = document
                self.presence.state(name, document)
        for name in self._shown():
            picture = self._agent.pipelines[name].present.picture
            if picture is not None and picture is not self._pictures.get(name):
                self._pictures[name] = picture
                self.shelf.put(self._topics.image(name), picture, qos=0)

    def _shown(self) -> list[str]:
        """Pipelines whose last picture is published."""
        return [
            name for name, its in self._agent.loaded.config.pipelines.items()
            if its.image and hasattr(self._agent.pipelines.get(name), "present")
        ]  # fmt: skip

    def _wished(self, source: str, message: Incoming) -> bool:
        """On the link's thread: acknowledged once it is on the medium."""
        if not message.payload and self._agent.wishes is None:
            return True
        self._agent.made_wishes().heard(source, message.payload, message.ack)
        return False

    def reasons(self) -> list[str]:
        """What is wrong with the link or with what goes over it."""
        found = [
            *self.link.complaints,
            *(its.complaint for its in self._complaining if its.complaint is not None),
        ]
        return [f"{reason.sentence}. {reason.advice}".removesuffix(" ") for reason in found]

    def test(self, timeout_s: float) -> dict[str, Any]:
        """Prove the topics once more; for `doctor`, which has no connection of its own."""
        began = time.monotonic()
        failed = self.link.test(timeout_s)
        complaints = {its.sentence: its for its in [*self.link.complaints, failed] if its}
        return {
            "state": self.link.state,
            "proven": failed is None,
            "took_ms": round(1e3 * (time.monotonic() - began), 1),
            "complaints": [
                {"kind": its.kind, "sentence": its.sentence, "advice": its.advice}
                for its in complaints.values()
            ],
        }

    def status(self) -> dict[str, Any]:
        """For `edgeagent status`."""
        error = self.link.last_error
        broker = self.link.broker
        counters = self.link.counters
        up = self.link.state == "up"
        return {
            "state": self.link.state,
            "detail": "" if up or error is None else error.sentence.removeprefix(f"{broker}: "),
            "broker": broker,
            "protocol": self.link.limits.protocol,
            "connects": counters.connects,
            "bytes_sent": counters.bytes_sent,
            "messages_sent": counters.messages_sent,
            "traffic": self.budget.status(),
        }

    # --- documents -------------------------------------------------------------------------

    def _models(self) -> dict[str, Any]:
        """Model → version and variant that run, and the pipelines that run it."""
        models: dict[str, Any] = {}
        for name, unit in self._agent.pipelines.items():
            running = getattr(unit, "model", "")
            wanted = self._agent.loaded.config.pipelines[name].model
            known, _, rest = (running or wanted).partition("@")
            version, _, variant = rest.partition("/")
            entry = models.setdefault(known, {"state": "down", "pipelines": []})
            entry["pipelines"].append(name)
            if running:
                entry |= {"version": version, "variant": variant, "state": "committed"}
        return models

    def _metrics(self) -> dict[str, Any]:
        from edgeagent.device import health

        agent = self._agent
        stats = agent.outbox.stats()
        return {
            **health.snapshot(agent.folder),
            "outbox": {"pending": stats.pending, "bytes": stats.bytes},
            **figures(agent),
            "sources": {name: unit.health().detail for name, unit in agent.sources.items()},
            "pipelines": {
                name: unit.figures()
                for name, unit in agent.pipelines.items()
                if hasattr(unit, "figures")
            },
        }
