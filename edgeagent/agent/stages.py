"""All that one model brings to a pipeline: prepare, session, interpret, track, decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeagent.config.model import Pipeline as PipelineConfig
from edgeagent.config.model import Privacy, Runtime
from edgeagent.decide.decider import Decide
from edgeagent.errors import ConfigError, InferenceError, InputError
from edgeagent.manifest import Package
from edgeagent.pipeline import Stages
from edgeagent.prove.predict import Predictor
from edgeagent.types import Draft, Prediction, Sample

if TYPE_CHECKING:
    from edgeagent.agent.build import Surroundings
    from edgeagent.decide.readings import Readings
    from edgeagent.decide.track.byte import ByteTracker

_TRACKED = ("detect", "pose")
_DOUBTFUL = 0.4
"""Share of the threshold from which on detections are looked at: what is doubtful keeps a track
alive though it never begins one, and is hidden, because showing somebody is worse than hiding
a shadow."""


def open_stages(around: Surroundings, name: str, package: Package) -> Stages:
    """Open the model of a pipeline, and the one that finds what must be hidden.

    Raises:
        ModelError: no variant runs, or package and model do not fit.
        ConfigError: a rule or a label to redact does not fit the model.
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
    )


def _finder(around: Surroundings, model: str) -> Predictor:
    package = around.library.find(model)
    return Predictor(package, threshold=package.manifest.output.threshold * _DOUBTFUL)


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
) -> Stages:
    """Stages of a package under a pipeline's configuration. Raises as `open_stages`.

    ``finder`` finds what ``redact`` hides; the stages own it and close it.
    """
    threshold = _threshold(name, package, pipeline)
    tracked = package.manifest.task in _TRACKED
    lowest = threshold * _DOUBTFUL if tracked else threshold
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
    except BaseException:
        _Both(predictor, finder).close()
        raise
    return Stages(
        model=predictor.model,
        receipt=predictor.receipt.sentence(),
        session=_Both(predictor, finder),
        prepare=predictor.prepare,
        interpret=predictor.decoder,
        track=_tracker(threshold, pipeline).update if tracked else _untracked,
        decide=_with_hidden(decide, finder) if finder and decide.needs_hidden else decide,
        picture=decide.picture,
        finish=decide.finish,
        standing=decide.standing,
    )


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


class _Both:
    """The session of the pipeline's model; closing it closes the finder's too."""

    def __init__(self, predictor: Predictor, finder: Predictor | None) -> None:
        self.run = predictor.session.run
        self._owned = [predictor, *([finder] if finder else [])]

    def close(self) -> None:
        for predictor in self._owned:
            predictor.close()


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
