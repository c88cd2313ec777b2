"""The governor's hands: what gives way in the pipelines of an agent, and the unit that looks.

Only what happens now gives way: a recording loses nothing, however long it takes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.agent.build import Built, Surroundings
from edgeagent.agent.lighter import Lighter
from edgeagent.capture.rhythm import Thinner
from edgeagent.capture.unit import CaptureUnit
from edgeagent.device import health, strain
from edgeagent.device.governor import Act, Governor, Limits, Step
from edgeagent.device.memory import give_back
from edgeagent.device.profile import detect, find_profile
from edgeagent.pipeline import Pipeline
from edgeagent.types import Draft, Health

if TYPE_CHECKING:
    from edgeagent.device.profile import Thermal

log = logging.getLogger("edgeagent.governor")

_EVERY_S = 2.0
_DEADLINE_S = 180.0
"""A lighter variant is opened and measured in between."""
_COUNTED_S = 10.0
"""Over that time the full rate of a pipeline is counted."""
_IDLE_S = 10.0
"""A model that was not asked for so long may be unloaded at once."""
_STRICT = 3.0


class Governing:
    """A supervised unit: looks every two seconds while the agent runs."""

    deadline_s = _DEADLINE_S

    def __init__(self, around: Surroundings, built: Built) -> None:
        self.name = "governor"
        self._around = around
        self._stop = threading.Event()
        self._beat = time.monotonic()
        thermal = _thermal(around.config.device.profile)
        self._zones: Sequence[str] = thermal.zones
        config = around.config.governor
        live = Live(around, built)
        self._pacer = Pacer(live)
        heat: list[Act] = [Lighter(around, live.pipelines)] if config.variants else []
        heat.append(Stricter(live))
        if config.pause:
            heat += [Resting(live, priority) for priority in live.priorities()[:-1]]
        shed: list[Act] = [Unloading(live)]
        if config.pause:
            shed += [Shedding(live, name) for name in live.by_priority()[:-1]]
        limits = Limits(
            degrees=config.limit_c or thermal.slow_c,
            least_rate=config.least_rate,
            memory_pressure=config.memory_pressure,
            least_memory=config.least_memory,
            cpu_pressure=config.cpu_pressure,
        )
        self.governor = Governor(limits, self._pacer.pace, heat, shed, self._tell)

    def run(self) -> None:
        """Until stopped; at once where the board tells nothing that could be acted upon."""
        while not self._stop.wait(_EVERY_S):
            self._beat = time.monotonic()
            seen = strain.look(self._zones, health.ROOT)
            if seen == strain.Strain(frequency=seen.frequency):
                log.info("this board tells neither its temperature nor its memory: not governed")
                return
            self._pacer.count(self._beat)
            self.governor.tick(self._beat, seen)
        self.governor.end()

    def stop(self) -> None:
        self._stop.set()

    @property
    def beat(self) -> float:
        return self._beat

    def failed(self, error: BaseException) -> None:
        """It ended with an error: nobody would take back what has given way."""
        log.error("the governor failed: %r", error)
        self.governor.end()

    def health(self) -> Health:
        reason = self.governor.reason
        return Health(self.name, "degraded" if reason else "ok", reason, self.governor.status())

    def _tell(self, step: Step) -> None:
        data: dict[str, Any] = {
            "unit": self.name,
            "phase": step.phase,
            "fault": step.cause,
            "step": step.name,
            "done": step.said,
            "reason": step.reason,
            "rate": round(step.share, 2),
        }
        seen = self.governor.strain
        if seen.degrees is not None:
            data["temperature_c"] = round(seen.degrees, 1)
        how = log.info if step.phase == "end" else log.warning
        how("%s: %s", step.said, step.reason)
        at_ns, mono_ms = clock.wall_ns(), clock.mono_ms()
        self._around.outbox.append(
            Draft(
                "health", at_ns=at_ns, mono_ms=mono_ms, data=data, config=self._around.config_hash
            )
        )


def _thermal(profile: str) -> Thermal:
    return (detect() if profile == "auto" else find_profile(profile)).profile.thermal


class Live:
    """The pipelines of an agent that look at what happens now, as they are at the moment: a change
    of a model may build one anew."""

    def __init__(self, around: Surroundings, built: Built) -> None:
        self._config = around.config
        self._built = built

    def pipelines(self) -> Iterator[Pipeline]:
        for name, pipeline in self._built.pipelines.items():
            config = self._config.pipelines[name]
            sources = [config.source] if config.source else list(config.sources.values())
            units = [self._built.sources.get(source) for source in sources]
            if isinstance(pipeline, Pipeline) and all(
                isinstance(unit, CaptureUnit) and unit.source.live for unit in units
            ):
                yield pipeline

    def priority(self, name: str) -> int:
        return self._config.pipelines[name].priority

    def priorities(self) -> list[int]:
        """The lowest first."""
        return sorted({self.priority(pipeline.name) for pipeline in self.pipelines()})

    def by_priority(self) -> list[str]:
        """Names, the least important first; of equals the one that is written last."""
        names = [pipeline.name for pipeline in self.pipelines()]
        names.reverse()
        return sorted(names, key=self.priority)


class Pacer:
    """Gives every live pipeline its share of the rate at which samples came while it had all."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._share = 1.0
        self._began: dict[str, tuple[float, int]] = {}
        self._full: dict[str, float] = {}
        """Samples a second, by pipeline."""

    def count(self, now: float) -> None:
        """Learn the full rates, and pace pipelines that were built meanwhile."""
        for pipeline in self._live.pipelines():
            taken = pipeline.meter.taken
            since, before = self._began.setdefault(pipeline.name, (now, taken))
            if taken < before or pipeline.pace is not None:
                self._began[pipeline.name] = (now, taken)
            elif now - since >= _COUNTED_S or (pipeline.name not in self._full and now > since):
                self._full[pipeline.name] = (taken - before) / (now - since)
                if now - since >= _COUNTED_S:
                    self._began[pipeline.name] = (now, taken)
        if self._share < 1.0:
            self.pace(self._share)

    def pace(self, share: float) -> None:
        """See `Governor`."""
        self._share = share
        for pipeline in self._live.pipelines():
            rate = share * self._full.get(pipeline.name, 0.0)
            if share == 1.0 or rate <= 0.0:
                pipeline.pace = None
            elif isinstance(pipeline.pace, Thinner):
                pipeline.pace.retune(rate)
            else:
                pipeline.pace = Thinner(rate)


class Stricter:
    """Gates that look for movement let less pass."""

    name = "gate"

    def __init__(self, live: Live) -> None:
        self._live = live

    def take(self, reason: str) -> str:
        del reason
        return self._set(_STRICT)

    def back(self) -> str:
        return self._set(1.0) or "gates as before"

    def _set(self, strictness: float) -> str:
        names = []
        for pipeline in self._live.pipelines():
            stages = pipeline.stages
            gate = stages.gate if stages is not None else None
            if gate is not None and gate.selects:
                gate.strictness = strictness
                names.append(pipeline.name)
        how = "as before" if strictness == 1.0 else f"{strictness:g} times as strict"
        return f"{_and(names)}: the gate is {how}" if names else ""


class Resting:
    """All pipelines of one priority rest."""

    name = "pause"

    def __init__(self, live: Live, priority: int) -> None:
        self._live = live
        self._priority = priority

    def take(self, reason: str) -> str:
        names = self._set(reason)
        return f"{_and(names)} of priority {self._priority} rests" if names else ""

    def back(self) -> str:
        return f"{_and(self._set(''))} goes on"

    def _set(self, reason: str) -> list[str]:
        chosen = [
            p for p in self._live.pipelines() if self._live.priority(p.name) == self._priority
        ]
        for pipeline in chosen:
            pipeline.rest(reason)
        return [pipeline.name for pipeline in chosen]


class Unloading:
    """Models that nobody asks at the moment are closed until somebody does."""

    name = "unload"

    def __init__(self, live: Live) -> None:
        self._live = live

    def take(self, reason: str) -> str:
        del reason
        now = time.monotonic()
        idle = [p for p in self._live.pipelines() if p.loaded and now - p.stepped_at > _IDLE_S]
        for pipeline in idle:
            pipeline.unload()
        give_back()
        return f"the idle model of {_and([p.name for p in idle])} is unloaded" if idle else ""

    def back(self) -> str:
        return "models are loaded when they are needed"


class Shedding:
    """One pipeline rests, and its model is closed."""

    name = "shed"

    def __init__(self, live: Live, pipeline: str) -> None:
        self._live = live
        self._pipeline = pipeline

    def take(self, reason: str) -> str:
        for pipeline in self._chosen():
            pipeline.rest(reason)
            pipeline.unload()
            return f"{self._pipeline} rests, its model is unloaded"
        return ""

    def back(self) -> str:
        for pipeline in self._chosen():
            pipeline.rest("")
        return f"{self._pipeline} goes on"

    def _chosen(self) -> list[Pipeline]:
        return [p for p in self._live.pipelines() if p.name == self._pipeline]


def _and(names: Sequence[str]) -> str:
    return ", ".join(names)
