"""From a configuration to sources and pipelines, joined by mailboxes.

Nothing here opens a camera or a model: sources do that on their threads, pipelines on theirs.
What can't be built (a model that is not installed, a library that is missing) becomes a unit
that says so, and everything else runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent import plugins
from edgeagent.capture.joiner import COMPANIONS, Joiner
from edgeagent.capture.source import Source, Wanted, merge
from edgeagent.capture.unit import CaptureUnit
from edgeagent.config.model import Config, MqttConfig, PluginConfig, SourceConfig
from edgeagent.config.paths import view_file
from edgeagent.config.units import seconds
from edgeagent.decide import ACTIONS
from edgeagent.decide.present import Present
from edgeagent.decide.readings import Readings
from edgeagent.errors import ConfigError, EdgeAgentError, UsageError, in_words
from edgeagent.manifest import Package
from edgeagent.pipeline import Pipeline
from edgeagent.prove.samples import gives, takes, wanted_by
from edgeagent.stages import Drifts, Notes, Sink, Stages
from edgeagent.supervisor import Unit
from edgeagent.types import Health
from edgeagent.update.compatible import shared_models
from edgeagent.update.library import Library

if TYPE_CHECKING:
    from edgeagent.capture.sensor.mqtt import Broker
    from edgeagent.capture.sight.sight import Sight
    from edgeagent.infer.sharing import Sharing
    from edgeagent.update.delegated import Delegated
    from edgeagent.update.proven import Proven


class Unbuilt:
    """Stands for a unit that can't be built, so that its reason is shown like any other."""

    deadline_s = float("inf")
    beat = float("inf")

    def __init__(self, name: str, error: EdgeAgentError) -> None:
        self.name = name
        self.error = error

    def run(self) -> None:
        """It never runs. Raises why."""
        raise self.error

    def stop(self) -> None:
        """Nothing to stop."""

    def failed(self, error: BaseException) -> None:
        """Known already."""

    def health(self) -> Health:
        return Health(self.name, "down", in_words(self.error))


class Built(Struct):
    """What the supervisor is to run: pipelines first, so that no sample finds nobody."""

    pipelines: dict[str, Pipeline | Unbuilt] = field(default_factory=dict)
    sources: dict[str, CaptureUnit | Unbuilt] = field(default_factory=dict)


class Surroundings(Struct, frozen=True):
    """What every pipeline is given besides its own configuration."""

    config: Config
    config_hash: str
    library: Library
    outbox: Sink
    readings: Readings = field(default_factory=Readings)
    """What one pipeline measures and another one's rules ask for."""
    presents: dict[str, Present] = field(default_factory=dict)
    """What each running pipeline has open, for those that it wakes."""
    folder: Path | None = None
    """Where views of cameras are kept; None = nowhere."""
    broker: Broker | None = None
    """Where topics of other devices come from."""
    notes: Callable[[str, str], Notes] | None = None
    """Where decisions of a pipeline that reads a source are noted; None = nowhere."""
    drift: Callable[[Pipeline], Drifts | None] = lambda _pipeline: None
    """What looks whether a pipeline's samples are as usual; None = nobody."""
    proven: Proven | None = None
    """What need not be tried in a process of its own; None = nothing is tried."""
    delegated: Callable[[], Delegated] | None = None
    """What may be loaded of other vendors' libraries; None = all, in this process."""
    sharing: Sharing | None = None
    """Where pipelines with one model meet; None = each has a session of its own."""


def sharing_of(config: Config) -> Sharing | None:
    """Where pipelines with one model meet; None = no model is run twice."""
    if not shared_models(config):
        return None
    from edgeagent.infer.sharing import Sharing

    return Sharing(config.models.sessions)


class Plan(Struct, frozen=True):
    """What one pipeline needs: a package, and where its samples come from."""

    package: Package
    sources: dict[str, str]
    """Input of the model → source; one source has no input's name."""

    def wanted_of(self, source: str) -> list[Wanted]:
        """Windows that the pipeline takes of a source."""
        return [wanted_by(self.package, input_)
                for input_, its in self.sources.items() if its == source]  # fmt: skip


def build(around: Surroundings) -> Built:
    """All sources that an enabled pipeline reads, and those pipelines."""
    built = Built()
    plans: dict[str, Plan] = {}
    for name, pipeline in around.config.pipelines.items():
        if not pipeline.enabled:
            continue
        try:
            plans[name] = plan_of(around, name)
        except EdgeAgentError as error:
            built.pipelines[name] = Unbuilt(name, error)
    for source in around.config.sources:
        readers = [plan for plan in plans.values() if source in plan.sources.values()]
        if readers:
            built.sources[source] = _unit(around, source, readers)
    for name, plan in plans.items():
        try:
            built.pipelines[name] = _pipeline(around, built, name, plan)
        except EdgeAgentError as error:
            built.pipelines[name] = Unbuilt(name, error)
    return built


def rebuild(around: Surroundings, built: Built, name: str, package: Package) -> list[Unit]:
    """A pipeline that could not run before, with a package that lets it; ``built`` takes it in.

    Returns what the supervisor is to start: the pipeline, and sources of it that do not run yet.
    Raises EdgeAgentError where it still can't be built.
    """
    plan = plan_of(around, name, package)
    fresh: dict[str, CaptureUnit] = {}
    units = dict(built.sources)
    for source in plan.sources.values():
        unit = units.get(source)
        if isinstance(unit, CaptureUnit) and unit.state not in ("ended", "failed", "stopped"):
            continue
        made = units[source] = _unit(around, source, [plan])
        if isinstance(made, CaptureUnit):
            fresh[source] = made
    pipeline = _pipeline(around, Built(sources=units), name, plan)
    built.pipelines[name] = pipeline
    built.sources.update(fresh)
    return [pipeline, *fresh.values()]


def plan_of(around: Surroundings, name: str, package: Package | None = None) -> Plan:
    """What a pipeline needs, of this package in place of the library's. Raises ConfigError,
    NotFound, PackageError."""
    pipeline = around.config.pipelines[name]
    package = package or around.library.find(pipeline.model, pipeline.version)
    if pipeline.channels:
        package = _renamed(name, package, pipeline.channels)
    if pipeline.source or len(pipeline.sources) == 1:
        return Plan(package, {"": pipeline.source or next(iter(pipeline.sources.values()))})
    inputs = [spec.name for spec in package.manifest.input if spec.value is None]
    if set(inputs) != set(pipeline.sources):
        raise ConfigError(
            f"pipelines.{name}.sources: names {', '.join(pipeline.sources)}, and the inputs of "
            f"{package.name} are {', '.join(inputs)}",
            remedy="Name a source for each input of the model.",
        )
    return Plan(package, pipeline.sources)


def source_of(around: Surroundings, pipeline: str) -> str:
    """Name of the one source that a pipeline reads. Raises ConfigError where there are more."""
    config = around.config.pipelines[pipeline]
    if config.source:
        return config.source
    if len(config.sources) == 1:
        return next(iter(config.sources.values()))
    raise ConfigError(
        f"pipelines.{pipeline}.sources: a recording is of one source, and it reads "
        f"{', '.join(config.sources.values())}",
        remedy=f'Write source = "…" in [pipelines.{pipeline}].',
    )


def _renamed(name: str, package: Package, channels: dict[str, str]) -> Package:
    """The package, as if its model had been trained on the source's names. Raises ConfigError."""
    known = [channel for spec in package.manifest.input for channel in spec.channels]
    for channel in channels:
        if channel not in known:
            from edgeagent.config.words import did_you_mean

            raise ConfigError(
                f"pipelines.{name}.channels: {package.name} has no channel {channel}; "
                f"{did_you_mean(channel, known)}"
            )
    inputs = [
        replace(spec, channels=[channels.get(channel, channel) for channel in spec.channels])
        for spec in package.manifest.input
    ]
    return Package(package.folder, replace(package.manifest, input=inputs), package.labels)


def _unit(around: Surroundings, source: str, readers: list[Plan]) -> CaptureUnit | Unbuilt:
    """One source, for all pipelines that read it."""
    config = around.config.sources[source]
    try:
        wanted = merge(source, (wish for plan in readers for wish in plan.wanted_of(source)))
        made = make_source(source, config, wanted, around.broker)
        return CaptureUnit(source, made, config, _sight(around, source, made))
    except EdgeAgentError as error:
        return Unbuilt(source, error)


def _pipeline(around: Surroundings, built: Built, name: str, plan: Plan) -> Pipeline:
    """Raises ConfigError, UsageError: it can't get what its model wants."""
    units: dict[str, CaptureUnit] = {}
    for input_, source in plan.sources.items():
        unit = built.sources[source]
        if isinstance(unit, Unbuilt):
            raise UsageError(f"its source {source} can't be used: {unit.error}")
        _refuse_other_kinds(around.config.sources[source], source, name, plan.package, input_)
        units[input_] = unit
    opens = opener(around, name, plan.package)
    notes = around.notes(name, ", ".join(plan.sources.values())) if around.notes else None
    idle = around.config.pipelines[name].unload_after
    unload_s = seconds(idle) if idle else None
    if len(units) == 1:
        (unit,) = units.values()
        pipeline = Pipeline(
            name, unit.subscribe(), around.outbox, opens, notes=notes, unload_after_s=unload_s
        )
        return _present(around, pipeline)
    if len({unit.source.live for unit in units.values()}) > 1:
        raise ConfigError(
            f"pipelines.{name}.sources: recordings can't be joined with what happens now",
            remedy="Let all of them be live, or all recordings.",
        )
    within_s = seconds(around.config.pipelines[name].within)
    sizes = [None, *[COMPANIONS] * (len(units) - 1)]
    mailboxes = {
        input_: unit.subscribe(size)
        for (input_, unit), size in zip(units.items(), sizes, strict=True)
    }
    joiner = Joiner(mailboxes, within_s)
    pipeline = Pipeline(name, joiner, around.outbox, opens, notes=notes, unload_after_s=unload_s)
    return _present(around, pipeline)


def _present(around: Surroundings, pipeline: Pipeline) -> Pipeline:
    around.presents[pipeline.name] = pipeline.present
    pipeline.drift = around.drift(pipeline)
    config = around.config.pipelines[pipeline.name]
    if any(action not in ACTIONS for rule in config.rules for action in rule.do):
        from edgeagent.agent.acting import Acting

        pipeline.act = Acting(pipeline.name, config)
    return pipeline


def _sight(around: Surroundings, name: str, source: Source) -> Sight | None:
    """What looks whether a camera still sees; None for other sources, unless it is asked for."""
    config = around.config.sources[name]
    keys = config.sight
    wanted = getattr(source, "sees", False) if keys.enabled is None else keys.enabled
    if not wanted:
        return None
    from edgeagent.capture.sight.sight import Sight, SightSettings

    settings = SightSettings(
        faults=tuple(keys.faults),
        every_s=seconds(keys.every),
        after_s=seconds(keys.after),
        frozen_after_s=seconds(keys.frozen_after),
        looks=keys.looks,
    )
    origin = getattr(source, "origin", type(source).__name__)
    return Sight(
        name,
        settings,
        file=view_file(around.folder, name) if around.folder else None,
        identity=f"{origin} {config.mask}",
        tell=around.outbox.append,
    )


def _refuse_other_kinds(
    config: SourceConfig, source: str, name: str, package: Package, input_: str
) -> None:
    """A source of pictures can't feed a model of windows, nor the other way round. Raises
    ConfigError."""
    given, taken = gives(config), takes(package, input_)
    if given and taken and given != taken:
        its = f"input {input_} of {package.name}" if input_ else f"the model {package.name}"
        raise ConfigError(
            f"pipelines.{name}: {its} takes {taken}, and the source {source} gives {given}",
            remedy="Choose a source that fits the model.",
        )


def make_source(
    name: str, config: SourceConfig, wanted: Wanted, broker: Broker | None = None
) -> Source:
    """The source that a configuration describes, not opened yet."""
    if isinstance(config, PluginConfig):
        plugin = plugins.find("source", config.plugin)
        if getattr(plugin, "hangs", False):
            from edgeagent.capture.hosted import HostedSource

            return HostedSource(name, config, plugin, wanted)
        made: Source = plugin(name, config.options, wanted)
        return made
    kind = type(config).__struct_config__.tag
    source: Source = plugins.find("source", str(kind))(name, config, wanted)
    if isinstance(config, MqttConfig) and broker is not None:
        from edgeagent.capture.sensor.mqtt import MqttSource

        if isinstance(source, MqttSource):
            source.connect(broker)
    return source


def opener(around: Surroundings, name: str, package: Package) -> Callable[[], Stages]:
    """What opens the stages of a pipeline with this package."""

    def open_stages() -> Stages:
        from edgeagent.agent.stages import open_stages as really_open

        return really_open(around, name, package)

    return open_stages
