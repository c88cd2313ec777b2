"""Whether a new version of a model fits the use that this device makes of it.

A version that proves itself may still break the device: a rule names a label that it no longer
has, the label that must be hidden is gone, the camera gives pictures and it wants windows. All of
that is known before anything is run, and is told with key and line, as for a configuration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator

from msgspec import Struct

from edgeagent.config.check import Fault, dotted
from edgeagent.config.model import Config, Pipeline, Runtime
from edgeagent.config.toml import KeyPath, Places
from edgeagent.config.words import did_you_mean
from edgeagent.decide.track import TASKS
from edgeagent.errors import EdgeAgentError
from edgeagent.manifest import Package, Variant
from edgeagent.prove.samples import gives, takes, wanted_by

Find = Callable[[str, str], Package]
"""The package that a name and a version mean now. Raises EdgeAgentError."""

_ASK_PLACES = frozenset({"zone", "zones", "line", "lines", "speed", "dwell()", "inside()",
                         "crossed()"})  # fmt: skip


class Use(Struct, frozen=True):
    """What this device does with models: its configuration, the lines of its keys, and what
    stands for a model's name at present."""

    config: Config
    places: Places
    find: Find

    def pipelines(self, model: str) -> Iterator[tuple[str, Pipeline]]:
        """Those that are on and whose first model it is."""
        for name, pipeline in self.config.pipelines.items():
            if pipeline.enabled and named(pipeline.model) == model:
                yield name, pipeline

    def sources_of(self, pipeline: Pipeline) -> dict[str, str]:
        """Input of the model → source; one source has no input's name."""
        if pipeline.source or len(pipeline.sources) == 1:
            return {"": pipeline.source or next(iter(pipeline.sources.values()))}
        return pipeline.sources


def named(model: str) -> str:
    """The name of a model where a configuration names it: ``parts@1.2.0`` is parts, and the path
    of a folder is no name."""
    return "" if "/" in model else model.partition("@")[0]


def shared_models(config: Config) -> set[str]:
    """Names (or folders) of models that several pipelines run, ask, or hide things by."""
    seen: set[str] = set()
    shared: set[str] = set()
    for its in config.pipelines.values():
        if its.enabled:
            models = {named(model) or model for model, _ in used_by(its)}
            shared |= seen & models
            seen |= models
    return shared


def used_by(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Model and version, as they are written, of all that it runs, asks, or hides things by."""
    used = [(pipeline.model, pipeline.version)]
    used += [(second.model, second.version) for second in pipeline.refine.values()]
    if pipeline.redact and pipeline.redact.model:
        used.append((pipeline.redact.model, ""))
    return used


def pinned(pipeline: Pipeline) -> str:
    """The version that the configuration insists on; empty = whatever is committed."""
    return pipeline.version or pipeline.model.partition("@")[2]


def labels_of(package: Package) -> tuple[str, ...]:
    """What a package's predictions may be called; empty = nobody knows."""
    manifest = package.manifest
    if manifest.task == "anomaly":
        return ("anomaly",)
    if manifest.task == "regress":
        return (manifest.output.name,) if manifest.output.name else ()
    return package.labels


def incompatible(package: Package, use: Use) -> list[Fault]:
    """What this device needs of the model and this version does not give; empty = it fits."""
    return list(_Checks(package, use).all())


class _Checks:
    """One version against one use."""

    def __init__(self, package: Package, use: Use) -> None:
        self._package = package
        self._use = use
        self._known = labels_of(package)
        self._title = f"{package.name} {package.version}"

    def all(self) -> Iterator[Fault]:
        config, model = self._use.config, self._package.name
        for name, pipeline in self._use.pipelines(model):
            path: KeyPath = ("pipelines", name)
            yield from self._pinned(path, pipeline)
            yield from self._rules(path, pipeline)
            yield from self._refined(path, pipeline)
            yield from self._threshold(path, pipeline)
            yield from self._runtime((*path, "runtime"), pipeline.runtime)
            yield from self._source(path, pipeline)
        for name, pipeline in config.pipelines.items():
            if not pipeline.enabled:
                continue
            path = ("pipelines", name)
            first = named(pipeline.model) == model
            finder = pipeline.redact is not None and named(pipeline.redact.model) == model
            if first or finder:
                yield from self._redacted(path, pipeline, first=first, finder=finder)
            yield from self._refines(path, pipeline)

    def _pinned(self, path: KeyPath, pipeline: Pipeline) -> Iterator[Fault]:
        version = pinned(pipeline)
        if version and version != self._package.version:
            key = "version" if pipeline.version else "model"
            yield self._fault(
                (*path, key), f"the pipeline insists on version {version}",
                "take the version out of the configuration, or leave the model as it is",
            )  # fmt: skip

    def _rules(self, path: KeyPath, pipeline: Pipeline) -> Iterator[Fault]:
        from edgeagent.decide.rules import parse

        placed = self._package.manifest.task in TASKS
        for number, rule in enumerate(pipeline.rules):
            try:
                when = parse(rule.when)
            except EdgeAgentError:
                continue  # the configuration's own fault, and told as such
            here = (*path, "rules", number, "when")
            for label, _ in when.labels:
                yield from self._label(here, label, self._known, "the rule names")
            if not placed and (asked := when.names & _ASK_PLACES):
                yield self._fault(
                    here,
                    f"the rule asks for {min(asked)}, and {self._title} does not tell where "
                    f"things are (task {self._package.manifest.task})",
                    "a model that detects is needed here",
                )

    def _redacted(
        self, path: KeyPath, pipeline: Pipeline, *, first: bool, finder: bool
    ) -> Iterator[Fault]:
        """Fail closed: what must be hidden must be known to a model that looks for it."""
        redact = pipeline.redact
        if redact is None:
            return
        known = set(self._known)
        sure = bool(self._known)
        others = [] if first else [(pipeline.model, pinned(pipeline))]
        if redact.model and not finder:
            others.append((redact.model, ""))
        for other in others:
            labels = self._labels_of_other(*other)
            known |= set(labels)
            sure &= bool(labels)
        for number, label in enumerate(redact.labels if sure else ()):
            said = "pictures may only leave with this hidden:"
            yield from self._label((*path, "redact", "labels", number), label, known, said)

    def _labels_of_other(self, model: str, version: str) -> tuple[str, ...]:
        try:
            return labels_of(self._use.find(model, version))
        except EdgeAgentError:
            return ()

    def _refined(self, path: KeyPath, pipeline: Pipeline) -> Iterator[Fault]:
        """Labels of this model about which second models are asked."""
        for name, refine in pipeline.refine.items():
            for number, label in enumerate(refine.labels):
                here = (*path, "refine", name, "labels", number)
                yield from self._label(here, label, self._known, "a second model is asked about")

    def _refines(self, path: KeyPath, pipeline: Pipeline) -> Iterator[Fault]:
        """This model as the second one."""
        manifest = self._package.manifest
        for name, refine in pipeline.refine.items():
            if named(refine.model) != self._package.name:
                continue
            here = (*path, "refine", name)
            if refine.gallery and manifest.output.decoder != "embed":
                said = f"{self._title} is compared with nothing (decoder {manifest.output.decoder})"
                yield self._fault((*here, "gallery"), said, "a model that embeds is needed here")
            if takes(self._package) not in ("pictures", ""):
                said = f"{self._title} takes {takes(self._package)}, and is shown parts of pictures"
                yield self._fault((*here, "model"), said, "a model of pictures is needed here")
            yield from self._runtime((*here, "runtime"), refine.runtime)

    def _threshold(self, path: KeyPath, pipeline: Pipeline) -> Iterator[Fault]:
        high = pipeline.threshold is not None and pipeline.threshold > 1
        if high and self._package.manifest.task not in ("anomaly", "regress"):
            said = f"{pipeline.threshold:g} is above every score of {self._title}"
            yield self._fault((*path, "threshold"), said, "its scores lie between 0 and 1")

    def _runtime(self, path: KeyPath, runtime: Runtime) -> Iterator[Fault]:
        variants = self._package.manifest.variant
        if runtime.variant and not any(_is(one, runtime.variant) for one in variants):
            files = ", ".join(f"{one.file} ({one.runtime})" for one in variants)
            said = f"{self._title} has no variant {runtime.variant!r}; it has: {files}"
            yield self._fault((*path, "variant"), said, "name a runtime instead of a file")

    def _source(self, path: KeyPath, pipeline: Pipeline) -> Iterator[Fault]:
        sources = self._use.sources_of(pipeline)
        inputs = [spec.name for spec in self._package.manifest.input if spec.value is None]
        if "" not in sources and set(sources) != set(inputs):
            said = f"the inputs of {self._title} are {', '.join(inputs)}"
            yield self._fault((*path, "sources"), said, "name a source for each of them")
            return
        for input_, source in sources.items():
            config = self._use.config.sources.get(source)
            if config is None:
                continue
            here = (*path, "sources", input_) if input_ else (*path, "source")
            given, taken = gives(config), takes(self._package, input_)
            if given and taken and given != taken:
                said = f"{self._title} takes {taken}, and the source {source} gives {given}"
                yield self._fault(here, said, "a source that fits the model is needed")
            else:
                yield from self._windows(here, source, input_)
        known = {name for spec in self._package.manifest.input for name in spec.channels}
        for channel in pipeline.channels:
            if channel not in known:
                said = f"{self._title} has no channel {channel}"
                yield self._fault((*path, "channels", channel), said, did_you_mean(channel, known))

    def _windows(self, path: KeyPath, source: str, input_: str) -> Iterator[Fault]:
        """A source cuts one kind of window, for all that read it."""
        from edgeagent.capture.source import merge

        wanted = [wanted_by(self._package, input_)]
        for pipeline in self._use.config.pipelines.values():
            if not pipeline.enabled or named(pipeline.model) == self._package.name:
                continue
            for its, read in self._use.sources_of(pipeline).items():
                # A model that is missing reads nothing.
                with contextlib.suppress(EdgeAgentError):
                    if read == source:
                        other = self._use.find(pipeline.model, pipeline.version)
                        wanted.append(wanted_by(other, its))
        try:
            merge(source, wanted)
        except EdgeAgentError as error:
            yield self._fault(path, str(error), error.remedy)

    def _label(
        self, path: KeyPath, label: str, known: Collection[str], said: str
    ) -> Iterator[Fault]:
        if known and label not in known:
            names = sorted(known)
            remedy = did_you_mean(label, names) or f"it has: {', '.join(names[:10])}"
            yield self._fault(path, f"{said} {label!r}, and {self._title} has no such label",
                              remedy)  # fmt: skip

    def _fault(self, path: KeyPath, problem: str, remedy: str) -> Fault:
        place = self._use.places.nearest(path)
        return Fault(place.file, place.line, dotted(path), "", "", remedy, problem)


def _is(variant: Variant, wanted: str) -> bool:
    return wanted in (variant.file, variant.runtime)
