"""A source looked at for some seconds: how fast, how evenly, what it gives.

The running agent does it to a source that it has open (nobody else could open it); `devices try`
does it to any other. A picture leaves only as the pipelines of the source would let it leave.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Generator, Iterator
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.errors import EdgeAgentError, InputError, NotFound, SourceEnded
from edgeagent.pipeline import Pipeline
from edgeagent.types import Frame, Window

if TYPE_CHECKING:
    from edgeagent.agent.build import Surroundings
    from edgeagent.agent.running import Agent
    from edgeagent.capture.mailbox import Mailbox
    from edgeagent.capture.unit import CaptureUnit
    from edgeagent.types import Evidence, Sample

MOST_S = 60.0
_QUEUE = 256
_TELL_S = 0.5
_VAIN_S = 3.0
_TRACE = 60
"""Values that are kept for a small drawing."""
UNVERIFIED = ("camera",)
"""Kinds whose hardware this build could not be tried with; they are tested up to the system
calls."""


class Trial:
    """What comes out of one mailbox, measured.

    Args:
        name: of the source.
        unit: that gives the samples; its counters are told as changes.
    """

    def __init__(self, name: str, unit: CaptureUnit) -> None:
        self.name = name
        self.unit = unit
        self.last: Sample | None = None
        self._before = dict(unit.health().detail)
        self._began = time.monotonic()
        self._times: list[float] = []
        self._ages: list[float] = []
        self._trace: dict[str, list[float]] = {}
        self._extent: dict[str, list[float]] = {}

    def watch(self, mailbox: Mailbox, seconds: float) -> Iterator[Sample | None]:
        """Each sample for so long after the first one, at most three times as long in all; None
        about twice a second without one."""
        limit = self._began + 3 * seconds + 5
        while True:
            now = time.monotonic()
            until = self._times[0] + seconds if self._times else limit
            if now >= until:
                return
            try:
                sample = mailbox.get(min(_TELL_S, until - now))
            except SourceEnded:
                return
            if sample is not None:
                self._note(sample)
            yield sample

    @property
    def count(self) -> int:
        """Samples so far."""
        return len(self._times)

    def vain(self, seconds: float) -> bool:
        """Whether the source is away, and has been for so long that waiting is in vain."""
        gone = not self._times and self.unit.state == "lost"
        return gone and time.monotonic() - self._began > min(seconds, _VAIN_S)

    def report(self) -> dict[str, Any]:
        """The figures so far."""
        times = self._times
        steps = sorted(later - its for its, later in pairwise(times))
        health = self.unit.health()
        span = times[-1] - times[0] if len(times) > 1 else 0.0
        found: dict[str, Any] = {
            "source": self.name,
            "state": health.state,
            "reason": health.reason,
            "samples": len(times),
            "rate_hz": round((len(times) - 1) / span, 3) if span else None,
            "first_s": round(times[0] - self._began, 3) if times else None,
            "note": health.detail["note"],
            "live": self.unit.source.live,
        }
        if steps:
            usual = median(steps)
            off = sorted(abs(step - usual) for step in steps)
            found["interval_ms"] = round(usual * 1e3, 2)
            found["jitter_ms"] = {
                "p50": round(off[len(off) // 2] * 1e3, 2),
                "p95": round(off[min(len(off) - 1, int(0.95 * len(off)))] * 1e3, 2),
            }
        if self._ages:
            ages = sorted(self._ages)
            found["age_ms"] = {"p50": ages[len(ages) // 2], "p95": ages[int(0.95 * len(ages))]}
        for key in ("dropped", "corrupt", "lost", "unused", "xruns", "quiet"):
            count = health.detail.get(key, 0) - self._before.get(key, 0)
            if count:
                found[key] = count
        return {**found, **self._content(health.detail)}

    def _note(self, sample: Sample) -> None:
        self._times.append(time.monotonic())
        self.last = sample
        if sample.stream_ms is None:
            self._ages.append(round(clock.mono_ms() - sample.mono_ms, 1))
        if isinstance(sample, Window):
            for column, name in enumerate(sample.channels[:32]):
                values = sample.values[:, column]
                low, high = float(values.min()), float(values.max())
                extent = self._extent.setdefault(name, [low, high])
                extent[0], extent[1] = min(extent[0], low), max(extent[1], high)
                trace = self._trace.setdefault(name, [])
                trace.append(float(values.mean() if high - low < 1e-9 else values[-1]))
                del trace[:-_TRACE]

    def _content(self, detail: dict[str, Any]) -> dict[str, Any]:
        if isinstance(self.last, Frame):
            height, width = self.last.pixels.shape[:2]
            return {"size": [width, height]}
        if not isinstance(self.last, Window):
            return {}
        told = detail.get("channels", {})
        found: dict[str, Any] = {
            "window": {"rows": len(self.last.values), "rate_hz": self.last.rate_hz},
            "channels": {
                name: {
                    "value": round(trace[-1], 6),
                    "unit": told.get(name, {}).get("unit", ""),
                    "min": round(self._extent[name][0], 6),
                    "max": round(self._extent[name][1], 6),
                    "trace": [round(value, 6) for value in trace],
                }
                for name, trace in self._trace.items()
            },
        }
        if "level_db" in detail:
            found["level_db"] = detail["level_db"]
        return found


def look(agent: Agent, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Answer a ``look`` of the control socket: signs of life, then the report.

    Raises NotFound where no such source runs.
    """
    arguments = request.get("arguments") or {}
    name, seconds = str(arguments.get("source", "")), float(arguments.get("seconds", 5.0))
    unit = agent.sources.get(name)
    if unit is None or not hasattr(unit, "subscribe"):
        raise NotFound(
            f"the running agent has no source {name!r} open",
            remedy=f"It runs: {', '.join(agent.sources) or 'none'}.",
        )
    trial, mailbox = Trial(name, unit), unit.subscribe(_QUEUE)
    told = 0.0
    try:
        for _ in trial.watch(mailbox, min(seconds, MOST_S)):
            if time.monotonic() - told >= _TELL_S:
                told = time.monotonic()
                yield {"progress": trial.count}
    finally:
        unit.unsubscribe(mailbox)
    report = {"by": "agent", **trial.report()}
    if arguments.get("picture") and isinstance(trial.last, Frame):
        report["picture"] = picture_now(agent, name, trial.last)
    yield {"final": True, **report}


def look_alone(
    around: Surroundings, unit: CaptureUnit, mailbox: Mailbox, seconds: float, *, picture: bool
) -> Generator[dict[str, Any], None, None]:
    """As `look`, for a source that is opened for the purpose: figures so far, the last one whole.

    ``around`` says which pipelines read the source, and so what pictures of it must hide;
    ``mailbox`` was subscribed before the unit was started.
    """
    name = unit.name
    trial = Trial(name, unit)
    hidden = _Hidden(around, name) if picture else None
    told = 0.0
    try:
        for sample in trial.watch(mailbox, min(seconds, MOST_S)):
            if hidden is not None and isinstance(sample, Frame):
                hidden.see(sample)
            if time.monotonic() - told >= _TELL_S:
                told = time.monotonic()
                yield trial.report()
            if trial.vain(seconds) or (unit.state in ("failed", "ended") and not len(mailbox)):
                break
        report = trial.report()
        if hidden is not None and isinstance(trial.last, Frame):
            report["picture"] = _picture(hidden.picture(trial.last))
        yield {"final": True, **report}
    finally:
        if hidden is not None:
            hidden.close()
        mailbox.close()


def picture_now(agent: Agent, name: str, frame: Frame) -> dict[str, Any]:
    """A picture of a running source as its pipelines let it leave, base64, or why there is none."""
    return _picture(from_running(agent, name, frame))


def _picture(made: Evidence | str) -> dict[str, Any]:
    if isinstance(made, str):
        return {"withheld": made}
    return {"type": made.type, "data": base64.b64encode(made.data).decode()}


def _readers(around: Any, name: str) -> list[str]:
    """Pipelines that read a source and hide something in its pictures."""
    return [
        pipeline
        for pipeline, its in around.pipelines.items()
        if its.redact and (its.source == name or name in its.sources.values())
    ]


def from_running(agent: Agent, name: str, frame: Frame) -> Evidence | str:
    """The picture as the agent's own pipeline would show it, or why there is none."""
    config = agent.loaded.config
    if config.privacy.pictures == "never":
        return _NEVER
    hiding = _readers(config, name)
    if not hiding:
        return _plain(frame)
    if len(hiding) > 1:
        return _SEVERAL
    pipeline = agent.pipelines.get(hiding[0])
    made = pipeline.picture(frame, asked=True) if isinstance(pipeline, Pipeline) else None
    return made or _UNKNOWN


class _Hidden:
    """The redaction that a source's pipeline is configured with, run for a trial."""

    def __init__(self, around: Surroundings, name: str) -> None:
        self.reason = ""
        self._stages: Any = None
        config = around.config
        hiding = _readers(config, name)
        self._hides = bool(hiding)
        if config.privacy.pictures == "never":
            self.reason = _NEVER
        elif len(hiding) > 1:
            self.reason = _SEVERAL
        elif hiding:
            self._open(around, hiding[0])

    def _open(self, around: Surroundings, pipeline: str) -> None:
        from edgeagent.agent.build import plan_of
        from edgeagent.agent.stages import open_stages

        try:
            self._stages = open_stages(around, pipeline, plan_of(around, pipeline).package)
        except EdgeAgentError as error:
            self.reason = f"what must be hidden can't be found: {error}"

    def see(self, frame: Frame) -> None:
        """A frame that passes by: what it shows, the redaction must know."""
        stages = self._stages
        if stages is None or self.reason:
            return
        try:
            ready = stages.prepare(frame)
            found = stages.interpret(stages.session.run(ready.tensors), ready)
            stages.decide(frame, stages.track(found, frame.when_ms))
        except EdgeAgentError as error:
            self.reason = f"what must be hidden can't be found: {error}"

    def picture(self, frame: Frame) -> Evidence | str:
        if self.reason:
            return self.reason
        if not self._hides:
            return _plain(frame)
        return self._stages.picture(frame, asked=True) or _UNKNOWN

    def close(self) -> None:
        if self._stages is not None:
            self._stages.session.close()


def _plain(frame: Frame) -> Evidence | str:
    from edgeagent.decide.picture import jpeg
    from edgeagent.types import Evidence

    try:
        return Evidence("image/jpeg", jpeg(frame.pixels), frame.number)
    except InputError as error:
        return str(error)


_NEVER = 'privacy.pictures = "never"'
_SEVERAL = "several pipelines hide different things in pictures of this source"
_UNKNOWN = "it is not known yet what must be hidden; look for longer (--seconds)"
