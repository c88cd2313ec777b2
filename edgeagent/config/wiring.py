"""Whether pipelines make sense: what they refer to, their places, rules and second models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgeagent.config.check import Fault, dotted
from edgeagent.config.look import Look
from edgeagent.config.toml import KeyPath

_SMALLEST_AREA = 1e-6
"""Of a polygon, as a share of the picture: less is a line."""


def polygon(look: Look, path: KeyPath) -> Iterator[Fault]:
    points = look.get(*path)
    try:
        corners = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        return  # `check` has named it
    if len(corners) < 3:
        return
    shifted = corners[1:] + corners[:1]
    area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners, shifted, strict=True)) / 2
    if abs(area) < _SMALLEST_AREA and all(0 <= its <= 1 for point in corners for its in point):
        said = "the polygon has no area: its points lie on a line, or its sides cross"
        yield look.fault(
            path, "a polygon with an area", "a line", "give its corners in order", said
        )


def _length(look: Look, path: KeyPath) -> Iterator[Fault]:
    points = look.get(*path)
    if isinstance(points, list) and len(points) == 2 and points[0] == points[1]:
        said = "the line has no length: its two points are the same"
        yield look.fault(path, "a line", "a point", "give two points", said)


def pipelines(look: Look) -> Iterator[Fault]:
    for name, pipeline in look.named("pipelines"):
        path: KeyPath = ("pipelines", name)
        meant = _misspelt(look, name, pipeline)
        if meant:
            said = "a pipeline", "only a part of one"
            yield look.fault(path, *said, f'did you mean "{dotted(("pipelines", meant))}"?')
            continue
        yield from _samples(look, path, pipeline)
        zones = [zone for zone, _ in look.named("pipelines", name, "zones")]
        for zone in zones:
            yield from polygon(look, (*path, "zones", zone, "polygon"))
        lines = [line for line, _ in look.named("pipelines", name, "lines")]
        for line in lines:
            yield from _length(look, (*path, "lines", line, "points"))
        yield from _rules(look, path, zones, lines)
        yield from _gate(look, name, zones)
        if isinstance(pipeline.get("redact"), dict):
            yield from _redact(look, path)
        yield from _refine(look, name)


def _misspelt(look: Look, name: str, pipeline: dict[str, Any]) -> str:
    """The pipeline that was meant by a table such as ``[[pipelines.dor.rules]]``."""
    if pipeline.keys() & {"source", "sources", "model"}:
        return ""
    from edgeagent.config.words import close_to

    whole = [other for other, its in look.named("pipelines") if "model" in its]
    return close_to(name, whole)


def _samples(look: Look, path: KeyPath, pipeline: dict[str, Any]) -> Iterator[Fault]:
    one, several = look.text(*path, "source"), look.get(*path, "sources")
    if one and several:
        said = "source and sources are both given"
        yield look.fault((*path, "sources"), "", "", "keep one of them", said)
    if isinstance(several, dict) and len(several) > 1:
        yield from _inputs(look, path, list(several))
    if "source" not in pipeline and not several:
        known = look.get("sources")
        names = ", ".join(known) if isinstance(known, dict) else ""
        remedy = f"add source = one of: {names}" if names else "add a [sources.…] table and name it"
        yield look.fault(path, "source or sources", "neither", remedy)
    if "source" in pipeline and isinstance(pipeline["source"], str):
        yield from _reference(look, (*path, "source"), one, "sources")
    if isinstance(several, dict):
        for key in several:
            if isinstance(several[key], str):
                yield from _reference(look, (*path, "sources", key), several[key], "sources")


def _inputs(look: Look, path: KeyPath, named: list[str]) -> Iterator[Fault]:
    """Each input of the model has a source, and nothing else has."""
    model = look.text(*path, "model")
    if not model or look.ports.inputs_of is None:
        return
    inputs = look.ports.inputs_of(model, look.text(*path, "version"), look.folders())
    if inputs is None:
        return  # a model that is not here yet is judged when it runs
    from edgeagent.config.words import did_you_mean

    for name in named:
        if name not in inputs:
            remedy = did_you_mean(name, inputs)
            yield look.fault((*path, "sources", name), f"an input of {model}", f'"{name}"', remedy)
    lacking = [name for name in inputs if name not in named]
    if lacking and all(name in inputs for name in named):
        remedy = f'add {lacking[0]} = "…"'
        said = f"the input {lacking[0]} of {model} has no source"
        yield look.fault((*path, "sources"), "", "", remedy, said)


def _reference(look: Look, path: KeyPath, name: str, table: str) -> Iterator[Fault]:
    known = look.get(table)
    names = list(known) if isinstance(known, dict) else []
    if name in names:
        return
    from edgeagent.config.words import did_you_mean

    remedy = did_you_mean(name, names) or f"add a table [{table}.{name}]"
    yield look.fault(path, f"a name of [{table}]", f'"{name}"', remedy)


def _rules(
    look: Look, path: KeyPath, zones: Sequence[str], lines: Sequence[str]
) -> Iterator[Fault]:
    from edgeagent.config.words import did_you_mean

    rules = look.get(*path, "rules")
    for position in range(len(rules) if isinstance(rules, list) else 0):
        here = (*path, "rules", position)
        yield from _when(look, path, (*here, "when"), zones, lines)
        actions = look.get(*here, "do")
        if look.ports.actions is not None and isinstance(actions, list):
            for number, action in enumerate(actions):
                if isinstance(action, str) and action not in look.ports.actions:
                    remedy = did_you_mean(action, look.ports.actions)
                    yield look.fault((*here, "do", number), "an action", f'"{action}"', remedy)


def _when(
    look: Look, pipeline: KeyPath, path: KeyPath, zones: Sequence[str], lines: Sequence[str]
) -> Iterator[Fault]:
    """A rule's expression: its grammar, its zones, lines and labels."""
    from edgeagent.config.words import did_you_mean

    when, ports = look.text(*path), look.ports
    if not when:
        return
    try:
        named = sorted(set(ports.zones_in(when) if ports.zones_in else ()))
        crossed = sorted(set(ports.lines_in(when) if ports.lines_in else ()))
        labels = sorted(set(ports.labels_in(when) if ports.labels_in else ()))
        readings = sorted(set(ports.readings_in(when) if ports.readings_in else ()))
    except ValueError as error:
        yield look.fault(path, "an expression", f'"{when}"', problem=str(error))
        return
    for zone in named:
        if zone not in zones:
            remedy = did_you_mean(zone, zones) or f"add [{dotted(pipeline)}.zones.{zone}]"
            yield look.fault(path, "a zone", f'"{zone}"', remedy)
    for line in crossed:
        if line not in lines:
            remedy = did_you_mean(line, lines) or f"add [{dotted(pipeline)}.lines.{line}]"
            yield look.fault(path, "a line", f'"{line}"', remedy)
    givers = [name for table in ("pipelines", "sources") for name, _ in look.named(table)]
    for giver in readings:
        if giver not in givers:
            remedy = did_you_mean(giver, givers)
            yield look.fault(path, "a pipeline or a source", f'"{giver}"', remedy)
    known = look.labels(*pipeline) if labels else ()
    for label in labels:
        # A model that is not here yet, or names no labels, is judged when it runs.
        if known and label not in known:
            remedy = did_you_mean(label, known)
            said = f"a label of {look.text(*pipeline, 'model')}"
            yield look.fault(path, said, f'"{label}"', remedy)


def _gate(look: Look, name: str, zones: Sequence[str]) -> Iterator[Fault]:
    """Zones in which something is to move, and the pipeline that is to wake this one."""
    from edgeagent.config.words import did_you_mean

    path: KeyPath = ("pipelines", name, "gate")
    moving = look.get(*path, "motion", "zones")
    for position, zone in enumerate(moving if isinstance(moving, list) else ()):
        if isinstance(zone, str) and zone not in zones:
            remedy = did_you_mean(zone, zones) or f"add [{dotted(path[:2])}.zones.{zone}]"
            yield look.fault((*path, "motion", "zones", position), "a zone", f'"{zone}"', remedy)
    waker = look.text(*path, "trigger", "pipeline")
    if not waker:
        return
    here = (*path, "trigger", "pipeline")
    others = [other for other, _ in look.named("pipelines") if other != name]
    if waker == name:
        yield look.fault(here, "another pipeline", f'"{waker}"', "it can't wake itself")
    elif waker not in others:
        yield look.fault(here, "a pipeline", f'"{waker}"', did_you_mean(waker, others))


def _redact(look: Look, path: KeyPath) -> Iterator[Fault]:
    """Fail closed: a label that no model of the pipeline has would hide nothing."""
    here = (*path, "redact")
    labels = look.get(*here, "labels")
    if labels is None or labels == []:
        remedy = 'name what to hide, e.g. labels = ["person"]'
        yield look.fault((*here, "labels"), "at least one label", "none", remedy)
        return
    if not isinstance(labels, list):
        return
    finders = [place for place in (path, here) if look.text(*place, "model")]
    models = [look.text(*place, "model") for place in finders]
    known = [look.labels(*place) or () for place in finders]
    if not all(known):
        return  # a model that is not here yet, or names no labels, is judged when it runs
    from edgeagent.config.words import did_you_mean

    every = sorted({label for its in known for label in its})
    for position, label in enumerate(labels):
        if isinstance(label, str) and label not in every:
            remedy = did_you_mean(label, every)
            said = f"a label of {' or '.join(models)}"
            yield look.fault((*here, "labels", position), said, f'"{label}"', remedy)


def _refine(look: Look, pipeline: str) -> Iterator[Fault]:
    """Labels that the first model does not have would never be asked about."""
    path: KeyPath = ("pipelines", pipeline)
    known = look.labels(*path) or ()
    for name, _ in look.named("pipelines", pipeline, "refine"):
        labels = look.get(*path, "refine", name, "labels")
        for position, label in enumerate(labels if isinstance(labels, list) else ()):
            if known and isinstance(label, str) and label not in known:
                from edgeagent.config.words import did_you_mean

                here = (*path, "refine", name, "labels", position)
                said = f"a label of {look.text(*path, 'model')}"
                yield look.fault(here, said, f'"{label}"', did_you_mean(label, known))
