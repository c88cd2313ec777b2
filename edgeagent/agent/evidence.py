"""Pictures of what two versions of a model disagree about: few, small, and redacted like any."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeagent.errors import EdgeAgentError
from edgeagent.types import Draft, Joint

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.pipeline import Pipeline, Sink
    from edgeagent.prove.compare import Told
    from edgeagent.types import Sample

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
            picture = pipeline.evidence(sample)
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
