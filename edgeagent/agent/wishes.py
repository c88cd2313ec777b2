"""Desired state come true: what is wished for is taken in, carried out, and reported.

Made only where there is something to do: a document has come, a change is under way, or a person
asks for one. Messages are taken on the link's thread, read and kept on that for jobs; changes of
models have a thread of their own while there are any (`update.deploy`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.errors import EdgeAgentError, StoreError, Untrusted
from edgeagent.types import Draft
from edgeagent.update import desired
from edgeagent.update.intent import Intent
from edgeagent.update.reported import Held, ModelReport, Reported

if TYPE_CHECKING:
    from edgeagent.agent.config_trial import ConfigTrial
    from edgeagent.agent.running import Agent
    from edgeagent.update.deploy import Deployments
    from edgeagent.update.orders import Orders

log = logging.getLogger("edgeagent.desired")

TOLD_S = 30.0
_LOOK_EVERY_S = 30.0


class Wishes:
    """What others wish this device to be. Any thread, unless it says otherwise."""

    def __init__(self, agent: Agent, submit: Callable[[Callable[[], None]], None]) -> None:
        """``submit`` has something done on the thread for jobs."""
        self._agent = agent
        self._submit = submit
        self._lock = threading.Lock()
        self._look_at = 0.0
        self.rejected = ""
        """Why the last document was not taken; empty = it was."""
        self.intent = Intent(agent.folder, agent.loaded.config.device.groups)

    def start(self) -> None:
        """Go on with what a former process left, and with what is wished for. On its thread."""
        self._submit(self._consider)

    def stop(self, timeout_s: float) -> None:
        engine = self.__dict__.get("engine")
        if engine is not None:
            engine.stop(timeout_s)

    # --- what comes in

    def heard(self, source: str, payload: bytes, done: Callable[[], None]) -> None:
        """A ``desired`` topic (``device`` or ``group:{name}``) has spoken; ``done`` is called
        when that is on the medium."""

        def take() -> None:
            try:
                self._take(source, payload)
            except StoreError as error:
                # Not acknowledged: the broker brings it again.
                log.warning("what is desired can't be kept: %s", error)
                return
            done()
            sync = self._agent.sync
            if sync is None or sync.up:
                # Behind whatever else has come by now.
                self._submit(self._consider)
            # Else the broker may still be handing over what it kept: only the last word of all
            # that was said meanwhile is acted upon (`linked`).

        self._submit(take)

    def _take(self, source: str, payload: bytes) -> None:
        try:
            document, signed = self._read(source, payload)
        except (ValueError, EdgeAgentError) as error:
            self.rejected = f"{source}: {error}"
            log.warning("a desired state was not taken: %s", self.rejected)
            return
        outcome = self.intent.take(source, document, signed=signed)
        self.rejected = ""
        if document is not None and outcome == "older" and document.rev < self.intent.rev(source):
            log.info("%s: rev %d is older than %d", source, document.rev, self.intent.rev(source))
        elif document is not None and outcome == "older":
            self.rejected = f"{source}: rev {document.rev} was given with other content: raise rev"

    def _read(self, source: str, payload: bytes) -> tuple[desired.Desired | None, bool]:
        """The document and whether an operator has signed it. Raises ValueError, Untrusted."""
        from edgeagent.update import signatures

        if len(payload) > 2 * desired.MOST_BYTES:
            raise ValueError(f"{len(payload)} bytes; at most {desired.MOST_BYTES}")
        try:
            found = msgspec.json.decode(payload) if payload.strip() else {}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"it is no JSON: {error}") from error
        if not isinstance(found, dict) or not signatures.is_envelope(found):
            document = desired.read(payload)
            if document is not None and self._agent.loaded.config.trust.require_signature == (
                "always"
            ):
                raise Untrusted("trust.require_signature asks for one that an operator has signed")
            return document, False
        from edgeagent.agent.updates import operators

        signed = operators(self._agent).open(found, signatures.DESIRED)
        kind, _, group = source.partition(":")
        whom = {"group": group} if kind == "group" else {"device": self._agent.device}
        signatures.addressed(signed.payload, **whom)
        return desired.read(signed.payload), True

    # --- carrying it out

    def _consider(self) -> None:
        """On the thread for jobs."""
        try:
            if self.intent.patch() is not None or self._has_remote:
                self.trial.consider(self.intent.patch())
            if self.intent.wanted() or self._has_models:
                self.engine.wake()
        except StoreError as error:
            log.warning("what is desired waits for the disk: %s", error)

    def tick(self) -> None:
        """Twice a second, on the main thread: judge a configuration on trial."""
        trial = self.__dict__.get("trial")
        if trial is not None and trial.due():
            self._submit(trial.judge)
        now = time.monotonic()
        if now >= self._look_at and "engine" in self.__dict__:
            # A hold may have ended by its time.
            self._look_at = now + _LOOK_EVERY_S
            if any(truth.hold for truth in self.engine.house.truths.all().values()):
                self._submit(self.engine.wake)

    def linked(self) -> None:
        """The link is up, so the broker has handed over all that it kept."""
        self._submit(self._consider)

    @property
    def _has_remote(self) -> bool:
        from edgeagent.update.remote import STATE_FILE

        return (self._agent.folder / STATE_FILE).exists()

    @property
    def _has_models(self) -> bool:
        return any((self._agent.folder / "models").glob("*.json"))

    @cached_property
    def engine(self) -> Deployments:
        """The engine; its making imports all that it needs."""
        from edgeagent.agent.deploying import deployments

        with self._lock:
            return deployments(self._agent, self.intent.wanted, self._on_trial)

    @cached_property
    def orders(self) -> Orders:
        from edgeagent.update.orders import Orders

        return Orders(self.engine)

    @cached_property
    def trial(self) -> ConfigTrial:
        from edgeagent.agent.config_trial import ConfigTrial

        return ConfigTrial(self._agent, self._model_on_trial, self._models_waiting)

    def _on_trial(self) -> bool:
        trial = self.__dict__.get("trial")
        return trial is not None and trial.layer.state.trial is not None

    @property
    def changing(self) -> str:
        """What of this device is being changed now; empty = nothing is."""
        if self._on_trial():
            return "a configuration is on trial"
        truths = self.engine.house.truths.all() if self._has_models else {}
        return next((f"{name} is being changed" for name, its in truths.items() if its.open), "")

    def _model_on_trial(self) -> bool:
        if not self._has_models:
            return False
        return any(truth.on_trial for truth in self.engine.house.truths.all().values())

    def _models_waiting(self) -> bool:
        """Whether changes of models are still to come or under way."""
        return bool(self.intent.wanted()) and self.engine.busy

    # --- what is told

    def reported(self, models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The document of ``reported``.

        Args:
            models: by name, of those that pipelines run: version, variant, state, pipelines.
        """
        told = {name: _running(its) for name, its in models.items()}
        held: list[Held] = []
        if "engine" in self.__dict__ or self._has_models:
            for name, report, hold in self.changes():
                running = models.get(name, {})
                told[name] = _with_change(report, running)
                if hold is not None:
                    held.append(hold)
        trial = self.__dict__.get("trial") or (self.trial if self._has_remote else None)
        config: dict[str, Any] = {"rev": 0, "state": "applied"}
        if trial is not None:
            config = _config(trial)
        config["hash"] = self._agent.loaded.hash
        document = Reported(
            self.intent.rev(desired.OWN), self.intent.revs, told, held=tuple(held),
            rejected=self.rejected,
        )  # fmt: skip
        plain: dict[str, Any] = msgspec.to_builtins(document)
        return {**plain, "models": {k: _shown(v) for k, v in told.items()}, "config": config}

    def status(self) -> dict[str, Any]:
        """For `edgeagent status`: each change that was ever made here, and what is held."""
        found = self.changes() if "engine" in self.__dict__ or self._has_models else []
        trial = self.__dict__.get("trial")
        return {
            "rev": self.intent.rev(desired.OWN),
            "rejected": self.rejected,
            "models": {name: _shown(report) for name, report, _ in found},
            "held": [msgspec.to_builtins(held) for _, _, held in found if held is not None],
            "config": _config(trial) if trial else {},
        }

    def changes(self) -> list[tuple[str, ModelReport, Held | None]]:
        """Each model that was ever changed here, held, or is wished for."""
        found = []
        waiting = self.engine.waiting
        for name, truth in self.engine.house.truths.all().items():
            change = truth.deployment
            code, sentence = waiting.get(name, ("", ""))
            report = ModelReport(
                version=truth.version,
                state=str(truth.state or "committed"),
                wanted=change.version if change else "",
                rev=change.rev if change else 0,
                source=change.source if change else "",
                id=change.id if change else "",
                reason=code or (change.reason if change else ""),
                detail=sentence or (change.detail if change else ""),
                since=change.since if change else "",
                progress=_coarse(self.engine.work.progress.get(name, 0.0)) if truth.open else 0.0,
                failed=tuple(truth.failed),
                previous=truth.previous,
                times_s=change.times_s if change else {},
            )
            hold = truth.hold
            held = Held(name, hold.by, hold.since, hold.until, hold.reason) if hold else None
            found.append((name, report, held))
        return found


class Books:
    """`update.ports.Books` over the outbox."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def tell(self, data: Mapping[str, Any]) -> None:
        from edgeagent import clock

        draft = Draft(
            "deployment", at_ns=clock.wall_ns(), mono_ms=clock.mono_ms(), data=dict(data),
            model=f"{data['model']}@{data['version']}", config=self._agent.loaded.hash,
        )  # fmt: skip
        if self._agent.outbox.append(draft).wait(TOLD_S) is None:
            raise StoreError("the outbox does not take the end of a change now")

    def claim(self, size: int, what: str) -> Any:
        allotment = self._agent.outbox.allotment
        if allotment is None:
            from contextlib import nullcontext

            return nullcontext()
        return allotment.claim(size, what)


def _running(its: Mapping[str, Any]) -> ModelReport:
    return msgspec.convert({**its, "pipelines": tuple(its["pipelines"])}, ModelReport)


def _with_change(report: ModelReport, running: Mapping[str, Any]) -> ModelReport:
    """A change, and what runs while it is under way."""
    from msgspec.structs import replace

    return replace(
        report,
        version=running.get("version") or report.version,
        variant=running.get("variant", ""),
        pipelines=tuple(running.get("pipelines", ())),
    )


def _shown(report: ModelReport) -> dict[str, Any]:
    """Always with version and state."""
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return {"version": report.version, "state": report.state, **plain}


def _config(trial: ConfigTrial) -> dict[str, Any]:
    """Always with rev and state."""
    state = trial.layer.state
    return {"rev": state.rev, "state": state.state, **msgspec.to_builtins(state.report)}


def _coarse(share: float) -> float:
    """In steps of a twentieth: each is a message."""
    return round(int(share * 20) / 20, 2)
