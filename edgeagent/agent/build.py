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

from edgeagent import plugins
from edgeagent.capture.source import Source, Wanted, merge
from edgeagent.capture.unit import CaptureUnit
from edgeagent.config.model import Config, PluginConfig, SourceConfig, SyntheticConfig
from edgeagent.config.model import Pipeline as PipelineConfig
from edgeagent.config.units import seconds
from edgeagent.decide.present import Present
from edgeagent.decide.readings import Readings
from edgeagent.errors import ConfigError, EdgeAgentError, UsageError
from edgeagent.manifest import Package
from edgeagent.pipeline import Pipeline, Sink, Stages, told
from edgeagent.prove.samples import wanted_by
from edgeagent.types import Health
from edgeagent.update.library import Library

if TYPE_CHECKING:
    from edgeagent.capture.sight.sight import Sight

VIEWS = "views"
"""Folder within the data folder for what cameras usually see."""


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
        return Health(self.name, "down", told(self.error))


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


def build(around: Surroundings) -> Built:
    """All sources that an enabled pipeline reads, and those pipelines."""
    built = Built()
    packages: dict[str, Package | EdgeAgentError] = {}
    sources: dict[str, str] = {}
    for name, pipeline in around.config.pipelines.items():
        if not pipeline.enabled:
            continue
        try:
            sources[name] = source_of(around, name)
        except ConfigError as error:
            built.pipelines[name] = Unbuilt(name, error)
            continue
        packages[name] = _package(around.library, pipeline)
    for source in around.config.sources:
        readers = {name: packages[name] for name in packages if sources[name] == source}
        if readers:
            _join(around, built, source, readers)
    return built


def _package(library: Library, pipeline: PipelineConfig) -> Package | EdgeAgentError:
    try:
        return library.find(pipeline.model, pipeline.version)
    except EdgeAgentError as error:
        return error


def source_of(around: Surroundings, pipeline: str) -> str:
    """Name of the source that a pipeline reads. Raises ConfigError."""
    config = around.config.pipelines[pipeline]
    if config.source:
        return config.source
    if len(config.sources) == 1:
        return next(iter(config.sources.values()))
    raise ConfigError(
        f"pipelines.{pipeline}.sources: this agent reads one source per pipeline",
        remedy=f'Write source = "…" in [pipelines.{pipeline}].',
    )


def _join(
    around: Surroundings,
    built: Built,
    source: str,
    readers: dict[str, Package | EdgeAgentError],
) -> None:
    """One source, and the pipelines that read it."""
    whole = {name: package for name, package in readers.items() if isinstance(package, Package)}
    for name, package in readers.items():
        if isinstance(package, EdgeAgentError):
            built.pipelines[name] = Unbuilt(name, package)
    if not whole:
        return
    try:
        wanted = merge(source, (wanted_by(package) for package in whole.values()))
        _refuse_other_kinds(around.config.sources[source], source, whole, built)
        made = make_source(source, around.config.sources[source], wanted)
        sight = _sight(around, source, made)
        unit = CaptureUnit(source, made, around.config.sources[source], sight)
    except EdgeAgentError as error:
        built.sources[source] = Unbuilt(source, error)
        for name in whole:
            reason = UsageError(f"its source {source} can't be used: {error}")
            built.pipelines[name] = Unbuilt(name, reason)
        return
    built.sources[source] = unit
    for name, package in whole.items():
        if name in built.pipelines:
            continue
        opener = _opener(around, name, package)
        pipeline = Pipeline(name, unit.subscribe(), around.outbox, opener)
        around.presents[name] = pipeline.present
        built.pipelines[name] = pipeline


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
        file=around.folder / VIEWS / f"{name}.json" if around.folder else None,
        identity=f"{origin} {config.mask}",
        tell=around.outbox.append,
    )


def _refuse_other_kinds(
    config: SourceConfig, source: str, readers: dict[str, Package], built: Built
) -> None:
    """A source of pictures can't feed a model of windows, nor the other way round."""
    gives = _gives(config)
    for name, package in readers.items():
        wants = _wants(package)
        if gives and wants and gives != wants:
            error = ConfigError(
                f"pipelines.{name}: the model {package.name} takes {wants}, and the source "
                f"{source} gives {gives}",
                remedy="Choose a source that fits the model.",
            )
            built.pipelines[name] = Unbuilt(name, error)


def _gives(config: SourceConfig) -> str:
    """What a source gives; empty = unknown (a plugin)."""
    if isinstance(config, SyntheticConfig):
        return PICTURE if config.scene == "belt" else VALUES
    return _GIVES.get(str(type(config).__struct_config__.tag), "")


def _wants(package: Package) -> str:
    """What a model takes; empty = tensors of any sort."""
    kinds = {spec.kind for spec in package.manifest.input if spec.value is None}
    if "image" in kinds:
        return PICTURE
    return VALUES if kinds & {"window", "audio"} else ""


PICTURE, VALUES = "pictures", "windows of values"
_GIVES = {
    "images": PICTURE, "video": PICTURE, "camera": PICTURE, "rtsp": PICTURE, "mjpeg": PICTURE,
    "snapshot": PICTURE, "command": PICTURE, "folder": PICTURE,
    "jsonl": VALUES, "csv": VALUES, "audio": VALUES,
}  # fmt: skip


def make_source(name: str, config: SourceConfig, wanted: Wanted) -> Source:
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
    return source


def _opener(around: Surroundings, name: str, package: Package) -> Callable[[], Stages]:
    def open_stages() -> Stages:
        from edgeagent.agent.stages import open_stages as really_open

        return really_open(around, name, package)

    return open_stages
