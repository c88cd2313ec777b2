"""All that one model brings to a pipeline: prepare, session, interpret, track, decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.agent.cascade import Cascade, open_cascade
from edgeagent.agent.tuned import as_tuned
from edgeagent.config.model import Pipeline as PipelineConfig
from edgeagent.config.model import Privacy, Runtime
from edgeagent.decide.decider import Decide
from edgeagent.decide.thought import Setup
from edgeagent.decide.track import DOUBTFUL, TASKS
from edgeagent.errors import ConfigError, InferenceError, InputError, ModelError, Unavailable
from edgeagent.infer import Session, open_package
from edgeagent.infer.delegates import accelerators, on_processor
from edgeagent.manifest import Package, Variant
from edgeagent.prove.predict import Opens, Predictor
from edgeagent.stages import Found, Stages
from edgeagent.types import Draft, Evidence, Prediction, Sample
from edgeagent.update.compatible import shared_models

if TYPE_CHECKING:
    from edgeagent.agent.build import Surroundings
    from edgeagent.capture.gate.gate import Gate
    from edgeagent.decide.present import Present
    from edgeagent.decide.readings import Readings
    from edgeagent.decide.track.byte import ByteTracker
    from edgeagent.packaged.handled import Brought
    from edgeagent.stages import Shares


Find = Callable[[str, str], Package]
"""The package that a name and a version mean."""


def open_stages(
    around: Surroundings, name: str, package: Package, find: Find | None = None
) -> Stages:
    """Open the model of a pipeline, and the one that finds what must be hidden. ``find`` = the
    library's.

    Raises:
        ModelError: no variant runs, or package and model do not fit.
        ConfigError: a rule, a label to redact or one to refine does not fit the model.
    """
    pipeline = around.config.pipelines[name]
    hide = pipeline.redact.model if pipeline.redact else ""
    find = find or around.library.find
    folder = around.folder if around.config.models.tuned else None
    accelerated: dict[Path, Runtime] = {}
    opens = as_tuned(_opens(around, pipeline, accelerated), folder, around.proven)
    finder = _finder(find(hide, ""), opens) if hide else None
    stages = stages_for(
        name,
        package,
        pipeline,
        privacy=around.config.privacy,
        config_hash=around.config_hash,
        finder=finder,
        readings=around.readings,
        timezone=around.config.device.timezone,
        find=find,
        presents=around.presents,
        opens=opens,
    )
    runtime = accelerated.get(package.folder)
    if runtime is not None and around.delegated is not None:
        stages.gave_up = partial(around.delegated().gave_up, package, runtime)
    return stages


def _opens(
    around: Surroundings, pipeline: PipelineConfig, accelerated: dict[Path, Runtime]
) -> Opens:
    """What opens the pipeline's sessions. Who has a model alone runs it directly; what each step
    of priority counts is what it counts in the outbox: twice as much. ``accelerated`` is told the
    folder of each package that runs with a vendor's library, and how."""
    sharing = around.sharing
    shared = shared_models(around.config)

    def opens(package: Package, runtime: Runtime) -> tuple[Session, Variant]:
        aside: Mapping[str, str] = {}
        if around.delegated is not None and accelerators(package, runtime):
            aside = around.delegated().aside(package, runtime)
            if not aside:
                accelerated[package.folder] = runtime
            elif around.proven is not None:
                around.proven.ensure(package, on_processor(runtime))
        try:
            if sharing is None or not shared & {package.name, str(package.folder)}:
                return open_package(package, runtime, aside)
            return sharing.open(package, runtime, 2.0**pipeline.priority, aside)
        except ModelError as error:
            if aside:
                # What it can't run without may be back later.
                raise Unavailable(str(error), remedy=error.remedy) from error
            raise

    return opens


def _seat(session: Any) -> Shares | None:
    """The session as one that is shared; None = it is not. Where nothing is shared, that module is
    not loaded."""
    return session if hasattr(session, "waited_s") else None


def _finder(package: Package, opens: Opens) -> Predictor:
    lowest = package.manifest.output.threshold * DOUBTFUL
    return Predictor(package, threshold=lowest, opens=opens)


def stages_for(
    name: str,
    package: Package,
    pipeline: PipelineConfig,
    *,
    privacy: Privacy | None = None,
    config_hash: str = "",
    finder: Predictor | None = None,
    readings: Readings | None = None,
    timezone: str = "UTC",
    find: Find | None = None,
    presents: Mapping[str, Present] | None = None,
    opens: Opens = open_package,
) -> Stages:
    """Stages of a package under a pipeline's configuration. Raises as `open_stages`.

    ``finder`` finds what ``redact`` hides; the stages own it and close it. ``find`` finds packages
    of second models; without it none is asked. ``presents``: what other pipelines have open, for
    the gate's trigger. ``opens`` opens sessions.
    """
    threshold = _threshold(name, package, pipeline)
    tracked = package.manifest.task in TASKS
    lowest = threshold * DOUBTFUL if tracked else threshold
    predictor = _predictor(package, pipeline.runtime, lowest, finder, opens)
    cascade, brought = None, _brought(predictor) if package.brings_code else None
    try:
        decide = Decide(
            name, pipeline, privacy or Privacy(), predictor.labels,
            threshold=threshold, model=predictor.model, config=config_hash,
            redactor_labels=finder.labels if finder else (), readings=readings,
            timezone=timezone, rules={"handler": brought.rule} if brought else None,
        )  # fmt: skip
        if pipeline.refine and find:
            cascade = open_cascade(name, pipeline.refine, find, predictor.labels,
                                   threshold=threshold, opens=opens)  # fmt: skip
    except BaseException:
        _Together(predictor, finder, brought).close()
        raise
    memory = Memory(package, decide, _tracker(threshold, pipeline) if tracked else None)
    decided = _with_hidden(memory, finder) if finder and decide.needs_hidden else memory.decided
    return Stages(
        model=predictor.model,
        receipt=predictor.receipt.sentence(),
        session=_Together(predictor, finder, cascade, brought),
        prepare=predictor.prepare,
        interpret=predictor.decoder,
        track=memory.tracked,
        decide=_refined(decided, cascade) if cascade else decided,
        picture=memory.picture,
        finish=memory.finish,
        standing=memory.standing,
        loss=predictor.receipt.fallback,
        found=memory.found,
        setup=memory.setup,
        seat=_seat(predictor.session),
        second=cascade,
        code=brought.code if brought else None,
        threshold=threshold,
        labels=predictor.labels,
        usual=package.path(package.manifest.reference) if package.manifest.reference else None,
        inherit=lambda before: memory.inherit(before, predictor.model, threshold),
        memory=memory,
        gate=_gate(pipeline, timezone, presents or {}),
    )


def _predictor(
    package: Package,
    runtime: Runtime,
    lowest: float,
    finder: Predictor | None,
    opens: Opens,
) -> Predictor:
    """The first model; ``finder``, which is open already, does not outlive its failure."""
    try:
        return Predictor(package, runtime, lowest, opens)
    except BaseException:
        if finder is not None:
            finder.close()
        raise


class Memory:
    """What the stages of a pipeline remember from sample to sample. It may outlive their model:
    a part that stands on the belt while the model is changed is the same part afterwards."""

    def __init__(self, package: Package, decide: Decide, tracker: ByteTracker | None) -> None:
        self.package = package
        """Of these stages' own model, whoever's memory it is."""
        self.task = package.manifest.task
        self.decide = decide
        self.tracker = tracker

    def inherit(self, before: Stages, model: str, threshold: float) -> bool:
        """See `Stages.inherit`. A model of another task finds other things."""
        other = before.memory
        if not isinstance(other, Memory) or other.task != self.task:
            return False
        self.decide, self.tracker = other.decide, other.tracker
        self.decide.adopt(model, threshold)
        if self.tracker is not None:
            self.tracker.threshold = threshold
        return True

    def tracked(self, predictions: list[Prediction], when_ms: float) -> list[Prediction]:
        if self.tracker is None:
            return predictions
        return self.tracker.update(predictions, when_ms)

    def decided(self, sample: Sample, predictions: list[Prediction]) -> list[Draft]:
        return self.decide(sample, predictions)

    def finish(self, at_ns: int, mono_ms: float, *, ended: bool = False) -> list[Draft]:
        return self.decide.finish(at_ns, mono_ms, ended=ended)

    def picture(self, sample: Sample, *, asked: bool = False) -> Evidence | None:
        return self.decide.picture(sample, asked=asked)

    def standing(self) -> dict[str, Any]:
        return self.decide.standing()

    def found(self) -> Found:
        return self.decide.last

    def setup(self) -> Setup:
        return self.decide.setup()


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
    """The session of the pipeline's model; what is done with it is done with the other models
    too."""

    def __init__(self, predictor: Predictor, *others: Predictor | Cascade | Brought | None) -> None:
        self.run = predictor.session.run
        self.reset = predictor.reset
        self._owned = [predictor, *(other for other in others if other is not None)]

    def hand_over(self) -> None:
        for owned in self._owned:
            owned.hand_over()

    def close(self) -> None:
        for owned in self._owned:
            owned.close()


def _brought(predictor: Predictor) -> Brought:
    """The code that the model's package brings."""
    from edgeagent.packaged.handled import Brought

    return Brought(predictor.package, predictor.decoder, predictor.threshold)


def _refined(
    decide: Callable[[Sample, list[Prediction]], list[Draft]], cascade: Cascade
) -> Callable[[Sample, list[Prediction]], list[Draft]]:
    """Decide with what second models say."""
    return lambda sample, predictions: decide(sample, cascade(sample, predictions))


def _with_hidden(
    memory: Memory, finder: Predictor
) -> Callable[[Sample, list[Prediction]], list[Draft]]:
    """Decide with what the finder sees; where it fails, no picture leaves the pipeline."""

    from edgeagent.decide.track.byte import ByteTracker

    tracker = ByteTracker(finder.package.manifest.output.threshold)

    def decided(sample: Sample, predictions: list[Prediction]) -> list[Draft]:
        try:
            hidden = tracker.update(finder(sample).predictions, sample.when_ms)
        except (InputError, InferenceError):
            hidden = None  # Decide withholds the picture and says so in the record
        return memory.decide(sample, predictions, hidden)

    return decided
