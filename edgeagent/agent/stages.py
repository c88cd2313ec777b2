"""All that one model brings to a pipeline: prepare, session, interpret, track, decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgeagent.agent.cascade import Cascade, open_cascade
from edgeagent.config.model import Pipeline as PipelineConfig
from edgeagent.config.model import Privacy, Runtime
from edgeagent.decide.decider import Decide
from edgeagent.decide.track import DOUBTFUL, TASKS
from edgeagent.errors import ConfigError, InferenceError, InputError
from edgeagent.manifest import Package
from edgeagent.pipeline import Stages
from edgeagent.prove.predict import Predictor
from edgeagent.types import Draft, Prediction, Sample

if TYPE_CHECKING:
    from edgeagent.agent.build import Surroundings
    from edgeagent.capture.gate.gate import Gate
    from edgeagent.decide.present import Present
    from edgeagent.decide.readings import Readings
    from edgeagent.decide.track.byte import ByteTracker


def open_stages(around: Surroundings, name: str, package: Package) -> Stages:
    """Open the model of a pipeline, and the one that finds what must be hidden.

    Raises:
        ModelError: no variant runs, or package and model do not fit.
        ConfigError: a rule, a label to redact or one to refine does not fit the model.
    """
    pipeline = around.config.pipelines[name]
    hide = pipeline.redact.model if pipeline.redact else ""
    finder = _finder(around, hide) if hide else None
    return stages_for(
        name,
        package,
        pipeline,
        privacy=around.config.privacy,
        config_hash=around.config_hash,
        finder=finder,
        readings=around.readings,
        timezone=around.config.device.timezone,
        find=around.library.find,
        presents=around.presents,
    )


def _finder(around: Surroundings, model: str) -> Predictor:
    package = around.library.find(model)
    return Predictor(package, threshold=package.manifest.output.threshold * DOUBTFUL)


def stages_for(
    name: str,
    package: Package,
    pipeline: PipelineConfig,
    *,
    privacy: Privacy | None = None,
    config_hash: str = "",
    finder: Predictor | None = None,
    runtime: Runtime | None = None,
    readings: Readings | None = None,
    timezone: str = "UTC",
    find: Callable[[str, str], Package] | None = None,
    presents: Mapping[str, Present] | None = None,
) -> Stages:
    """Stages of a package under a pipeline's configuration. Raises as `open_stages`.

    ``finder`` finds what ``redact`` hides; the stages own it and close it. ``find`` finds the
    packages of second models; without it none is asked. ``presents``: what other pipelines have
    open, for the gate's trigger.
    """
    threshold = _threshold(name, package, pipeline)
    tracked = package.manifest.task in TASKS
    lowest = threshold * DOUBTFUL if tracked else threshold
    try:
        predictor = Predictor(package, runtime or pipeline.runtime, lowest)
    except BaseException:
        if finder is not None:
            finder.close()
        raise
    try:
        decide = Decide(
            name,
            pipeline,
            privacy or Privacy(),
            predictor.labels,
            threshold=threshold,
            model=predictor.model,
            config=config_hash,
            redactor_labels=finder.labels if finder else (),
            readings=readings,
            timezone=timezone,
        )
        cascade = None
        if pipeline.refine and find:
            cascade = open_cascade(
                name, pipeline.refine, find, predictor.labels, threshold=threshold
            )
    except BaseException:
        _Together(predictor, finder).close()
        raise
    decided = _with_hidden(decide, finder) if finder and decide.needs_hidden else decide
    return Stages(
        model=predictor.model,
        receipt=predictor.receipt.sentence(),
        session=_Together(predictor, finder, cascade),
        prepare=predictor.prepare,
        interpret=predictor.decoder,
        track=_tracker(threshold, pipeline).update if tracked else _untracked,
        decide=_refined(decided, cascade) if cascade else decided,
        picture=decide.picture,
        finish=decide.finish,
        standing=decide.standing,
        second=cascade,
        gate=_gate(pipeline, timezone, presents or {}),
    )


def _gate(pipeline: PipelineConfig, timezone: str, presents: Mapping[str, Present]) -> Gate | None:
    if pipeline.gate is None:
        return None
    from edgeagent.capture.gate.gate import Gate

    trigger = pipeline.gate.trigger
    other = presents.get(trigger.pipeline) if trigger else None
    return Gate(pipeline, timezone=timezone, other=other)


def _tracker(threshold: float, pipeline: PipelineConfig) -> ByteTracker:
    from edgeagent.decide.track.byte import ByteTracker

    return ByteTracker(threshold, missed=pipeline.off)


def _untracked(predictions: list[Prediction], _when_ms: float) -> list[Prediction]:
    return predictions


def _threshold(name: str, package: Package, pipeline: PipelineConfig) -> float:
    if pipeline.threshold is None:
        return package.manifest.output.threshold
    if pipeline.threshold > 1 and package.manifest.task not in ("anomaly", "regress"):
        raise ConfigError(
            f"pipelines.{name}.threshold: {pipeline.threshold:g} is above every score of "
            f"{package.name}",
            remedy="Scores of this model lie between 0 and 1.",
        )
    return pipeline.threshold


class _Together:
    """The session of the pipeline's model; closing it closes the other models too."""

    def __init__(self, predictor: Predictor, *others: Predictor | Cascade | None) -> None:
        self.run = predictor.session.run
        self._owned = [predictor, *(other for other in others if other is not None)]

    def close(self) -> None:
        for owned in self._owned:
            owned.close()


def _refined(
    decide: Callable[[Sample, list[Prediction]], list[Draft]], cascade: Cascade
) -> Callable[[Sample, list[Prediction]], list[Draft]]:
    """Decide with what second models say."""
    return lambda sample, predictions: decide(sample, cascade(sample, predictions))


def _with_hidden(
    decide: Decide, finder: Predictor
) -> Callable[[Sample, list[Prediction]], list[Draft]]:
    """Decide with what the finder sees; where it fails, no picture leaves the pipeline."""

    from edgeagent.decide.track.byte import ByteTracker

    tracker = ByteTracker(finder.package.manifest.output.threshold)

    def decided(sample: Sample, predictions: list[Prediction]) -> list[Draft]:
        try:
            hidden = tracker.update(finder(sample).predictions, sample.when_ms)
        except (InputError, InferenceError):
            hidden = None  # Decide withholds the picture and says so in the record
        return decide(sample, predictions, hidden)

    return decided
