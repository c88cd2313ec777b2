"""A configuration from desired state on trial: begun, judged, kept or undone (contract §4)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgeagent.config.load import Loaded
from edgeagent.config.model import to_builtins
from edgeagent.errors import ConfigError, EdgeAgentError
from edgeagent.types import Draft, Health
from edgeagent.update.desired import Patch
from edgeagent.update.protected import local_only, protected
from edgeagent.update.remote import RemoteLayer, key_of

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent

log = logging.getLogger("edgeagent.config")

STEADY_S = 3.0
"""So long everything must be well before it is believed."""
_WELL = ("ok", "ended", "paused")


class ConfigTrial:
    """Decides about the layer ``remote``. `due` on the main thread, the rest on that for jobs."""

    def __init__(
        self, agent: Agent, model_on_trial: Callable[[], bool], models_waiting: Callable[[], bool]
    ) -> None:
        self._agent = agent
        self._model_on_trial = model_on_trial
        self._models_waiting = models_waiting
        self.layer = RemoteLayer(agent.folder)
        self._began = time.monotonic()
        self._well_since: float | None = None
        self._postponed: Patch | None = None
        self._awaits_models = False
        """What is postponed may become valid by a version that is under way."""

    def consider(self, patch: Patch | None) -> None:
        """Act upon what is wished for, once. Raises StoreError."""
        self._postponed, self._awaits_models = None, False
        state = self.layer.state
        if patch is None:
            if state.good is None and state.trial is None:
                return
            patch = Patch({}, {})  # Nobody wishes for anything any more.
        if state.key == key_of(patch):
            return
        if state.trial is not None or self._model_on_trial():
            self._postponed = patch  # One trial at a time.
            return
        try:
            after = self._loaded(patch)
        except ConfigError as error:
            if self._models_waiting():
                self._postponed, self._awaits_models = patch, True
                return
            self._reject(patch, "invalid", str(error))
            return
        self._judge_change(patch, after)

    def _judge_change(self, patch: Patch, after: Loaded) -> None:
        before_table = to_builtins(self._agent.loaded.config)
        after_table = to_builtins(after.config)
        never = local_only(before_table, after_table)
        if never:
            self._reject(patch, "protected", f"only the device's own files set {', '.join(never)}")
            return
        keys = protected(before_table, after_table)
        required = self._agent.loaded.config.trust.require_signature
        if keys and not patch.signed and required != "never":
            said = f"{', '.join(keys)}: only an operator's signature changes that"
            self._reject(patch, "protected", said)
            return
        if after.hash == self._agent.loaded.hash:
            self.layer.keep(patch)
            return
        self.layer.try_(patch, tuple(self._healthy()), tuple(self._units()), linked=self._linked())
        log.warning("the configuration of rev %d is tried", self.layer.state.rev)
        self._agent.renew()

    def _loaded(self, patch: Patch) -> Loaded:
        file = self.layer.candidate(patch)
        try:
            return self._agent.reload(file)
        finally:
            self.layer.drop_candidate()

    def _reject(self, patch: Patch, reason: str, detail: str) -> None:
        self.layer.reject(patch, reason, detail)
        log.warning("a desired configuration is rejected (%s): %s", reason, detail)
        self._tell()

    # --- on trial

    def due(self) -> bool:
        """Whether there is something to `judge`. Cheap."""
        if self.layer.state.trial is None:
            if self._postponed is None or self._model_on_trial():
                return False
            return not self._awaits_models or not self._models_waiting()
        now = time.monotonic()
        if self._lacks():
            self._well_since = None
        elif self._well_since is None:
            self._well_since = now
        well = self._well_since is not None and now - self._well_since >= STEADY_S
        return well or now - self._began >= self.layer.state.confirm_s

    def judge(self) -> None:
        """Keep it, or take it back. Raises nothing: what can't be written is tried again."""
        try:
            if self.layer.state.trial is not None:
                self._end()
            elif self._postponed is not None:
                self.consider(self._postponed)
        except EdgeAgentError as error:
            log.warning("a configuration on trial waits: %s", error)

    def _end(self) -> None:
        lacks = self._lacks()
        if not lacks:
            self.layer.confirm()
            log.info("the configuration of rev %d is kept", self.layer.state.rev)
            self._tell()
            return
        self.layer.undo("unconfirmed", f"within {self.layer.state.confirm_s:g} s: {lacks}")
        log.error("the configuration of rev %d is taken back: %s", self.layer.state.rev, lacks)
        self._tell()
        self._agent.renew()

    def _lacks(self) -> str:
        """What is worse than before the change; empty = nothing."""
        state, sync = self.layer.state, self._agent.sync
        if state.linked and (sync is None or not sync.proven):
            found = sync.link.complaints if sync is not None else []
            said = "; ".join(f"{its.sentence}. {its.advice}".removesuffix(" ") for its in found)
            return f"the broker can't be reached: {said or 'no mqtt.host'}"
        for name, unit in self._units().items():
            health = unit.health()
            known = name in state.healthy or name not in self._known
            if known and not _well(name, health):
                return f"{name} is {health.state}: {health.reason}"
        return ""

    def _units(self) -> dict[str, Any]:
        """All that must do as well as before: a pipeline whose camera is gone is not."""
        agent = self._agent
        found = {f"pipeline {name}": unit for name, unit in agent.pipelines.items()}
        return {**found, **{f"source {name}": unit for name, unit in agent.sources.items()}}

    @property
    def _known(self) -> frozenset[str]:
        """What there was before."""
        return frozenset(self.layer.state.units)

    def _healthy(self) -> list[str]:
        return [name for name, unit in self._units().items() if _well(name, unit.health())]

    def _linked(self) -> bool:
        return self._agent.sync is not None and self._agent.sync.proven

    def _tell(self) -> None:
        """An end is a durable record, as that of a model is."""
        from edgeagent import clock

        state = self.layer.state
        data = {
            "config": {"rev": state.rev, "state": state.state}, "state": state.state,
            "reason": state.reason, "detail": state.detail, "rev": state.rev,
        }  # fmt: skip
        self._agent.outbox.append(
            Draft("deployment", at_ns=clock.wall_ns(), mono_ms=clock.mono_ms(), data=data)
        )


def _well(name: str, health: Health) -> bool:
    """A source may be complained about while its samples come: it gets dark in the evening."""
    coming = name.startswith("source ") and bool(health.detail.get("fps"))
    return health.state in _WELL or (health.state == "degraded" and coming)
