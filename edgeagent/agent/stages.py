"""All that one model brings to a pipeline: prepare, session, interpret, track, decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeagent.config.model import Pipeline as PipelineConfig
from edgeagent.config.model import Privacy, Runtime
from edgeagent.decide.decider import Decide
from edgeagent.decide.track import IouTracker
from edgeagent.errors import ConfigError, InferenceError, InputError
from edgeagent.manifest import Package
from edgeagent.pipeline import Stages
from edgeagent.prove.predict import Predictor
from edgeagent.types import Draft, Prediction, Sample

if TYPE_CHECKING:
    from edgeagent.agent.build import Surroundings

_HIDDEN_FROM = 0.5
"""Share of the threshold from which on something is hidden: showing somebody is worse than
hiding a shadow."""


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
    )


def _finder(around: Surroundings, model: str) -> Predictor:
    package = around.library.find(model)
    return Predictor(package, threshold=package.manifest.output.threshold * _HIDDEN_FROM)


def stages_for(
    name: str,
    package: Package,
    pipeline: PipelineConfig,
    *,
    privacy: Privacy | None = None,
    config_hash: str = "",
    finder: Predictor | None = None,
    runtime: Runtime | None = None,
) -> Stages:
    """Stages of a package under a pipeline's configuration. Raises as `open_stages`.

    ``finder`` finds what ``redact`` hides; the stages own it and close it.
    """
    threshold = _threshold(name, package, pipeline)
    # What must be hidden is looked for below the threshold of what is told.
    looks = pipeline.redact is not None and package.manifest.task in ("detect", "pose")
    lowest = threshold * _HIDDEN_FROM if looks else threshold
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
        track=IouTracker(missed=pipeline.off).update,
        decide=_with_hidden(decide, finder) if finder and decide.needs_hidden else decide,
        picture=decide.picture,
        finish=decide.finish,
    )


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

    def decided(sample: Sample, predictions: list[Prediction]) -> list[Draft]:
        try:
            hidden = finder(sample).predictions
        except (InputError, InferenceError):
            hidden = None  # Decide withholds the picture and says so in the record
        return decide(sample, predictions, hidden)

    return decided
