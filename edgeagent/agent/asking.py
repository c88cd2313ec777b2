"""Commands that ask a model about one sample: `infer` and `explain` (contract §3).

The model is asked in a child process at low priority, beside the pipelines. A picture of a source
is redacted as its pipeline redacts it; that of a record was redacted when it was kept; what the
requester has sent is not sent back.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from edgeagent.config.words import did_you_mean
from edgeagent.errors import Busy, EdgeAgentError, NotFound, SourceEnded, Unavailable, UsageError
from edgeagent.explain.aside import Given, Question, ask
from edgeagent.types import Evidence, Frame

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.config.model import Pipeline, Runtime
    from edgeagent.explain.kept import Kept
    from edgeagent.manifest import Package
    from edgeagent.sync.command_types import Explain, Infer
    from edgeagent.sync.job import Job
    from edgeagent.types import Sample

PATIENCE_S = 2.0
_FETCHED = 16 << 20
_INLINE = 96 << 10
"""Larger pictures go as evidence of their own, not within the answer."""


def infer(agent: Agent, arguments: Infer, job: Job) -> dict[str, Any]:
    """``model, predictions, ms, of`` and the picture. Raises EdgeAgentError."""
    asking = _Asking(agent, arguments, job)
    told = asking.answer(Question("infer", asking.threshold))
    return told | asking.shown()


def explain(agent: Agent, arguments: Explain, job: Job) -> dict[str, Any]:
    """What `explain.pictures.Explained.told` or that of a window gives, ``of`` and the picture
    under its map. Raises EdgeAgentError."""
    asking = _Asking(agent, arguments, job)
    question = Question(
        "explain", asking.threshold, arguments.label, arguments.method, arguments.runs
    )
    told = asking.answer(question)
    return told | asking.shown(told.get("heat"))


class _Asking:
    """One question: its model and its sample."""

    def __init__(self, agent: Agent, arguments: Infer | Explain, job: Job) -> None:
        given = [its for its in ("source", "record", "input", "fetch") if getattr(arguments, its)]
        if len(given) != 1:
            raise UsageError(
                "exactly one of source, record, input and fetch says what the model is asked about"
                + (f"; here are {' and '.join(given)}" if given else "")
            )
        self._agent = agent
        self._arguments = arguments
        self._job = job
        self._kept: Kept | None = None
        if arguments.record:
            from edgeagent.explain.kept import kept

            self._kept = kept(agent.folder, arguments.record)
        pipeline = self._pipeline()
        self._package, self._runtime = self._model(pipeline)
        self.threshold: float | None = arguments.threshold
        if self.threshold is None and pipeline is not None and not arguments.model:
            self.threshold = pipeline.threshold
        self._sample = self._sampled()

    def answer(self, question: Question) -> dict[str, Any]:
        """Raises EdgeAgentError, and Cancelled."""

        def tell(doing: str) -> None:
            self._job.progress(None, doing)

        told = ask(self._package, self._runtime, self._sample, question, tell)
        return {**told, "of": self._of()}

    def shown(self, heat: list[list[float]] | None = None) -> dict[str, Any]:
        """The picture, or why there is none; nothing where none can be or is wanted."""
        arguments, sample = self._arguments, self._sample
        if not arguments.picture or (self._kept is None and not isinstance(sample, Frame)):
            return {}
        try:
            made = self._picture()
            if isinstance(made, str):
                return {"picture": {"withheld": made}}
            # What must be hidden is known late: the picture may be of an older sample than the one
            # that the model was asked about, and then the map is not of it.
            if heat is not None and made.number in (0, getattr(sample, "number", 0)):
                made = _under(made, heat)
        except EdgeAgentError as error:
            return {"picture": {"withheld": str(error)}}
        return {"picture": self._sent(made)}

    def _of(self) -> dict[str, Any]:
        """Which sample it was."""
        if self._kept is not None:
            record = self._kept.record
            return {"record": record.get("seq"), "source": record.get("source", ""),
                    "frame": record.get("frame", 0)}  # fmt: skip
        if isinstance(self._sample, Given):
            return {"input": self._arguments.fetch or self._sample.name}
        return {"source": self._sample.source, "frame": self._sample.number}

    def _picture(self) -> Evidence | str:
        if self._kept is not None:
            if self._agent.loaded.config.privacy.pictures == "never":
                return 'privacy.pictures = "never"'
            return Evidence("image/jpeg", self._kept.data)
        from edgeagent.agent.trial import from_running

        assert isinstance(self._sample, Frame)
        return from_running(self._agent, self._arguments.source, self._sample)

    def _sent(self, made: Evidence) -> dict[str, Any]:
        told: dict[str, Any] = {"type": made.type}
        if made.number:
            told["frame"] = made.number
        if len(made.data) <= _INLINE or self._job.order.origin == "local":
            return told | {"data": base64.b64encode(made.data).decode()}
        from edgeagent.agent.errands import put_away

        return told | put_away(self._agent, self._job.order, made.data, made.type)

    def _pipeline(self) -> Pipeline | None:
        """The pipeline that is meant; None where the model is named and no pipeline is."""
        arguments = self._arguments
        known = self._agent.loaded.config.pipelines
        name = arguments.pipeline
        if not name and self._kept is not None and not arguments.model:
            name = str(self._kept.record.get("pipeline", ""))
        if name:
            if name not in known:
                raise NotFound(
                    f"there is no pipeline {name!r}", remedy=did_you_mean(name, list(known))
                )
            return known[name]
        if arguments.model:
            return None
        reads = {
            name: its for name, its in known.items()
            if arguments.source and arguments.source in (its.source, *its.sources.values())
        }  # fmt: skip
        if len(reads) == 1:
            return next(iter(reads.values()))
        if arguments.source and arguments.source not in self._agent.loaded.config.sources:
            raise self._no_source()
        raise UsageError(
            "which model is meant? Name it (model), or a pipeline that runs it (pipeline)"
            + (f"; {arguments.source} is read by {', '.join(reads)}" if reads else "")
        )

    def _model(self, pipeline: Pipeline | None) -> tuple[Package, Runtime]:
        from edgeagent.config.model import Runtime
        from edgeagent.prove.tune.choice import chosen
        from edgeagent.update.library import Library, default_folders

        agent = self._agent
        config = agent.loaded.config
        library = Library(default_folders(agent.folder, config.models.path))
        name = self._arguments.model or (pipeline.model if pipeline else "")
        version = pipeline.version if pipeline and not self._arguments.model else ""
        package = library.find(name, version)
        runtime = pipeline.runtime if pipeline else Runtime()
        if config.models.tuned:
            runtime = chosen(agent.folder, package, runtime).runtime
        return package, runtime

    def _sampled(self) -> Sample | Given:
        arguments = self._arguments
        if self._kept is not None:
            return Given(self._kept.file, self._kept.data)
        if arguments.input:
            return Given(arguments.name, arguments.input)
        if arguments.fetch:
            return Given(arguments.fetch.rsplit("/", 1)[-1], self._fetched(arguments.fetch))
        if arguments.source not in self._agent.sources:
            raise self._no_source()
        found = newest(self._agent, arguments.source)
        if isinstance(found, str):
            raise Unavailable(found)
        return found

    def _fetched(self, path: str) -> bytes:
        from edgeagent.agent.updates import carrier

        place = self._agent.loaded.config.trust.repository.split(",")[0].strip()
        try:
            data = carrier(self._agent, place).read(path, _FETCHED, self._job.stopped)
        except Busy:
            self._job.progress()  # It was cancelled, perhaps.
            raise
        if data is None:
            raise NotFound(f"{path}: the fleet's repository ({place}) has no such file")
        return data

    def _no_source(self) -> NotFound:
        name, known = self._arguments.source, list(self._agent.sources)
        return NotFound(f"there is no source {name!r}", remedy=did_you_mean(name, known))


def newest(agent: Agent, source: str) -> Sample | str:
    """A present sample of a source, or why there is none."""
    unit = agent.sources.get(source)
    if unit is None or not hasattr(unit, "subscribe"):
        return f"{source} is not open"
    mailbox = unit.subscribe(1)
    try:
        sample: Sample | None = mailbox.get(PATIENCE_S)
    except SourceEnded:
        return f"{source} has ended"
    finally:
        unit.unsubscribe(mailbox)
    return sample or f"{source} has given nothing for {PATIENCE_S:g} s"


def _under(made: Evidence, heat: list[list[float]]) -> Evidence:
    """A picture under a map. Raises InputError."""
    import numpy as np  # asked for by hand

    from edgeagent.capture.pictures import decode_picture
    from edgeagent.decide.picture import jpeg, warmed

    pixels = decode_picture(made.data, "the picture")
    return Evidence(made.type, jpeg(warmed(pixels, np.asarray(heat))), made.number)
