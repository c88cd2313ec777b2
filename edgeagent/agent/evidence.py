"""The evidence of a change of model: pictures of what two versions disagree about (few, small, and
redacted like any), figures, and sentences."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.errors import EdgeAgentError
from edgeagent.types import Draft, Joint

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.pipeline import Pipeline
    from edgeagent.prove.compare import Told
    from edgeagent.stages import Sink
    from edgeagent.types import Sample
    from edgeagent.update.behaviour import Behaviour
    from edgeagent.update.shadow import ShadowReport

log = logging.getLogger("edgeagent.change")

_MOST = 8
_MOST_BYTES = 1 << 20
_PAUSE_S = 2.0
"""One disagreement lasts for many frames, and one picture of it is enough."""


class Pictures:
    """At most so many of one shadow run, as ``deployment`` records of the pipeline."""

    def __init__(self, outbox: Sink, package: Package) -> None:
        self._outbox = outbox
        self._package = package
        self._left = _MOST
        self._bytes = _MOST_BYTES
        self._next = 0.0

    def of(self, pipeline: Pipeline) -> Callable[[Sample | Joint, list[Told], list[Told]], None]:
        """To be told of the disagreements in one pipeline."""

        def disagreed(given: Sample | Joint, old: list[Told], new: list[Told]) -> None:
            if pipeline.drift is not None:
                pipeline.drift.disagreed(given, new)
            now = time.monotonic()
            if self._left <= 0 or now < self._next:
                return
            self._next = now + _PAUSE_S
            self._left -= 1
            sample = given.lead if isinstance(given, Joint) else given
            self._tell(pipeline, sample, old, new)

        return disagreed

    def _tell(self, pipeline: Pipeline, sample: Sample, old: list[Told], new: list[Told]) -> None:
        try:
            # The pipeline's own way out for pictures: what must be hidden is, or there is none.
            picture = pipeline.picture(sample)
        except EdgeAgentError as error:
            log.warning("%s: no picture of a disagreement: %s", pipeline.name, error)
            picture = None
        if picture is not None and len(picture.data) > self._bytes:
            picture = None
        if picture is not None:
            self._bytes -= len(picture.data)
        data = {
            "model": self._package.name,
            "version": self._package.version,
            "state": "shadowing",
            "disagreement": {"running": old, "shadow": new},
        }
        self._outbox.append(
            Draft(
                "deployment", pipeline.name, sample.at_ns, sample.mono_ms, data, pipeline.model,
                source=sample.source, frame=sample.number,
                evidence=(picture,) if picture is not None else (),
            )
        )  # fmt: skip


def version_of(model: str) -> str:
    """``parts@1.2.0/int8`` → ``1.2.0``."""
    return model.partition("@")[2].partition("/")[0] or "?"


def version_under(behaviour: Behaviour | None) -> str:
    """The version that showed it."""
    return version_of(behaviour.model) if behaviour else "nothing"


def why_down(pipeline: Pipeline) -> str:
    """Why a pipeline can't run; empty = it can."""
    health = pipeline.health()
    return f"it can't run: {health.reason}" if health.state == "down" else ""


def how_well(was: Behaviour | None, now: Behaviour, beside: ShadowReport | None) -> str:
    """Half a sentence on a version that does well so far."""
    whole = now.whole()
    said = f"{whole.steps} samples, p95 {now.p95_ms:.3g} ms"
    if was is not None and was.p95_ms:
        said += f" ({was.p95_ms:.3g} before)"
    if beside is not None and beside.agreement.busy:
        agreement = beside.agreement
        said += f", agrees with {version_under(was)} on {agreement.agreed} of {agreement.samples}"
    return said


def figures_of(
    was: Behaviour | None, now: Behaviour, beside: ShadowReport | None
) -> dict[str, Any]:
    """What was compared, as plain values."""

    def of(its: Behaviour) -> dict[str, Any]:
        whole = its.whole()
        return {
            "model": its.model, "samples": whole.steps, "failed": whole.failed,
            "minutes": round(whole.minutes, 1), "p50_ms": its.p50_ms, "p95_ms": its.p95_ms,
            "things": whole.things, "events": whole.events,
        }  # fmt: skip

    figures: dict[str, Any] = {"now": of(now)}
    if was is not None:
        figures["before"] = of(was)
    if beside is not None:
        figures["beside"] = msgspec.to_builtins(beside)
    return figures


def shadowed(reports: Mapping[str, ShadowReport]) -> str:
    """A shadow run in one sentence, pipeline by pipeline."""
    return "; ".join(
        f"{name}: agrees on {its.agreement.agreed} of {its.agreement.samples} samples, "
        f"p95 {its.p95_ms:.3g} ms"
        for name, its in reports.items()
    )
