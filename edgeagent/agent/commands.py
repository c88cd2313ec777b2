"""What this agent can be told to do, and what does it. The engine is `sync.commands`."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeagent.agent.jobs import Jobs
from edgeagent.agent.privacy import LOOKED_AT, caller, looked
from edgeagent.errors import CommandRejected, NotFound, Unavailable
from edgeagent.sync import command_types as types
from edgeagent.sync.commands import Commands as Engine
from edgeagent.sync.commands import Registry
from edgeagent.sync.job import Job
from edgeagent.sync.judgement import Order, Rules

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent

_LOG_LINES = 1000
_STOP_S = 0.5
_DRAIN_S = 300.0
_ELSEWHERE = {
    "doctor": ("diagnosis", "doctor"), "why": ("diagnosis", "why"),
    "support-bundle": ("diagnosis", "bundle"), "drill": ("diagnosis", "drill"),
    "identify": ("diagnosis", "identify"), "capture": ("errands", "capture"),
    "infer": ("asking", "infer"), "explain": ("asking", "explain"),
    "restart": ("errands", "restart"), "bench": ("measuring", "bench"),
    "tune": ("measuring", "tune"), "drift": ("drifting", "drift"), "pool": ("pooling", "pool"),
    "privacy-report": ("privacy", "report"), "purge": ("privacy", "purge"),
}  # fmt: skip
"""Commands by the module and the function that do them; an agent that is asked for none of them
loads none of these."""
_NOT_ASKED = frozenset({"by", "at", "expires", "what", "id"})
_OF_MODELS = {
    "model-rollback": "roll_back", "model-hold": "hold", "model-unhold": "unhold",
    "model-install": "install", "model-remove": "remove",
}  # fmt: skip


class Commands:
    """The commands of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._jobs = Jobs()
        self._log = _Tail()
        registry = Registry()
        registry.register(types.CONFIG_GET, self._config_get)
        registry.register(types.LOGS, self._logs)
        registry.register(types.PIPELINE, self._pipeline)
        registry.register(types.OUTBOX, self._outbox)
        for kind, place in _ELSEWHERE.items():
            registry.register(types.TABLE[kind], self._elsewhere(kind, *place))
        for kind, name in _OF_MODELS.items():
            registry.register(types.TABLE[kind], self._of_models(name))
        config = agent.loaded.config
        rules = Rules.of(config.commands, config.trust)
        self.engine = Engine(
            registry,
            agent.outbox.journal,
            rules,
            self._jobs.submit,
            partial(_verify, agent),
            partial(_put_away, agent),
        )

    def start(self) -> None:
        """Take up what a former process left open, then work."""
        logging.getLogger().addHandler(self._log)
        self._jobs.start()
        self.engine.resume()

    def stop(self) -> None:
        self._jobs.stop(_STOP_S)
        logging.getLogger().removeHandler(self._log)

    @property
    def last_lines(self) -> list[str]:
        """Of the log."""
        return self._log.lines(_LOG_LINES)

    def submit_job(self, work: Callable[[], None]) -> None:
        """Have something else done on the thread for long work, in its turn. It must not raise."""
        self._jobs.submit(work)

    def submit(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A request of the control socket as a command."""
        arguments = request.get("arguments") or {}
        if not isinstance(arguments, dict):
            raise CommandRejected("invalid", "arguments: expected an object")
        id_ = request.get("id") or ""
        yield from self.engine.submit(request["type"], str(id_), arguments, caller(request))

    def _of_models(self, name: str) -> Callable[[Any, Job], dict[str, Any]]:
        """A command about models; what does it is loaded when one comes."""

        def do(arguments: Any, job: Job) -> dict[str, Any]:
            from edgeagent.agent.model_commands import ModelCommands

            commands = ModelCommands(self._agent.made_wishes())
            result: dict[str, Any] = getattr(commands, name)(arguments, job)
            return result

        return do

    def _elsewhere(self, kind: str, module: str, name: str) -> Callable[[Any, Job], dict[str, Any]]:
        """A command that a module of its own does, likewise."""

        def do(arguments: Any, job: Job) -> dict[str, Any]:
            does = getattr(import_module(f"edgeagent.agent.{module}"), name)
            if kind in LOOKED_AT:
                asked = {key: its for key, its in job.order.body.items() if key not in _NOT_ASKED}
                looked(self._agent, kind, _by(job), {"id": job.order.id, **asked})
            result: dict[str, Any] = does(self._agent, arguments, job)
            return result

        return do

    # --- the commands ----------------------------------------------------------------------

    def _config_get(self, arguments: types.ConfigGet, _job: Job) -> dict[str, Any]:
        loaded = self._agent.loaded
        answer = {"hash": loaded.hash, "key": arguments.key, "value": loaded.value(arguments.key)}
        if arguments.origin:
            answer["origins"] = loaded.origins()
        return answer

    def _logs(self, arguments: types.Logs, _job: Job) -> dict[str, Any]:
        return {"lines": self._log.lines(arguments.lines)}

    def _pipeline(self, arguments: types.PipelineAction, _job: Job) -> dict[str, Any]:
        pipeline = self._agent.pipelines.get(arguments.name)
        if pipeline is None:
            known = ", ".join(self._agent.pipelines) or "none"
            raise NotFound(f"there is no pipeline {arguments.name!r}; there are: {known}")
        if not hasattr(pipeline, "pause"):
            raise Unavailable(f"{arguments.name} can't run: {pipeline.health().reason}")
        # A stopped pipeline keeps its model: starting again must not depend on anything.
        pipeline.pause(arguments.action != "start")
        return {"name": arguments.name, "state": pipeline.health().state}

    def _outbox(self, arguments: types.OutboxAction, job: Job) -> dict[str, Any]:
        from edgeagent.agent.answers import account

        outbox = self._agent.outbox
        if arguments.action == "purge-dead-letter":
            return {"purged": outbox.purge_dead_letters(), **account(self._agent)}
        if arguments.action == "drain":
            self._drain(job)
        if arguments.action == "settle":
            self._settle(arguments)
        return account(self._agent)

    def _settle(self, arguments: types.OutboxAction) -> None:
        from edgeagent.store.settle import Carried, apply

        its = arguments.confirm
        if its is None:
            raise CommandRejected("invalid", "confirm: expected an object")
        apply(self._agent.outbox, Carried(its.epoch, its.upto, its.missing, its.by))

    def _drain(self, job: Job) -> None:
        """Wait until all that is pending now has been delivered."""
        sync = self._agent.sync
        if sync is None:
            raise Unavailable("there is no broker to drain to: mqtt.host is not set")
        outbox = self._agent.outbox
        outbox.flush(5.0)
        began = outbox.stats()
        waiting = threading.Event()
        for _ in range(int(_DRAIN_S / 0.2)):
            stats = outbox.stats()
            sent = stats.delivered - began.delivered
            if stats.pending == 0 or sent >= began.pending:
                return
            if sync.held:
                raise Unavailable(
                    f"{stats.pending} records wait for a budget: {sync.held}",
                    remedy="Raise it in [sync.budget], or wait.",
                )
            job.progress(sent / max(1, began.pending), "draining", f"{stats.pending} pending")
            waiting.wait(0.2)
        raise Unavailable(f"{outbox.stats().pending} records are still pending after 5 min")


def _by(job: Job) -> str:
    """Who gave an order, and how it came."""
    its = job.order
    if its.origin == "local":
        return its.by
    signed = f", signed by {its.signer}" if its.signer else ""
    return f"mqtt:{its.by or '?'} ({its.origin}{signed})"


def _put_away(agent: Agent, order: Order, data: bytes) -> dict[str, Any]:
    from edgeagent.agent.errands import put_away

    return put_away(agent, order, data)


def _verify(
    agent: Agent, envelope: Mapping[str, Any], type: str, id: str, group: str
) -> tuple[dict[str, Any], str]:
    """What an operator has signed, if it is meant for this device (`judgement.Verify`)."""
    from edgeagent.agent.updates import operators
    from edgeagent.update import signatures

    signed = operators(agent).open(envelope, signatures.COMMAND)
    whom = {"group": group} if group else {"device": agent.device}
    return signatures.addressed(signed.payload, **whom, type=type, id=id), signed.by


class _Tail(logging.Handler):
    """The last lines of the log, in memory: a device may have no persistent journal."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        self.setFormatter(logging.Formatter(form, "%Y-%m-%dT%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
        except (TypeError, ValueError, LookupError):
            self.handleError(record)  # As logging's own: who logs must not fail by it.

    def lines(self, count: int) -> list[str]:
        """The last ``count`` lines."""
        return list(self._lines)[-count:]
