"""Whether a configuration makes sense as a whole: what one key says about another.

Works on tables rather than Structs, so that a file with a typing error is judged in the same
run: values of the wrong sort are passed over here, `check` has named them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgeagent.config import model, units
from edgeagent.config.check import Fault, dotted
from edgeagent.config.secret import hide, holds_secret
from edgeagent.config.toml import KeyPath, Places

LOCAL_ONLY: tuple[KeyPath, ...] = (("device", "id"), ("mqtt", "prefix"))
"""Who a device is, is said at the device: the fleet could lose it otherwise."""

_SMALLEST_AREA = 1e-6
"""Of a polygon, as a share of the picture: less is a line."""

_DURATIONS: tuple[tuple[KeyPath, str, str], ...] = (
    (("metrics", "every"), "1 s", "7 d"),
    (("mqtt", "keepalive"), "1 s", "65535 s"),
    (("mqtt", "session_expiry"), "0 s", "49710 d"),
    (("outbox", "durability", "events"), "0 s", "1 min"),
    (("outbox", "durability", "results"), "0 s", "10 min"),
    (("sync", "resend_after"), "1 s", "1 d"),
    (("sync", "linger"), "0 s", "1 min"),
)
_SIZES: tuple[tuple[KeyPath, str, str], ...] = (
    (("outbox", "max"), "1 MiB", "64 GiB"),
    (("outbox", "blobs"), "0 B", "1024 GiB"),
    (("storage", "max"), "4 MiB", "1024 GiB"),
    (("storage", "max_written_per_day"), "1 MiB", "1024 GiB"),
    (("sync", "max_message"), "1 KiB", "256 MiB"),
    *(
        (("sync", "budget", name, span), "4 KiB", "1024 GiB")
        for name in model.Budget.__struct_fields__[:7]
        for span in model.Allowance.__struct_fields__
    ),
)


class Ports(Struct, frozen=True):
    """What other parts know; absent = not asked."""

    zones_in: Callable[[str], Iterable[str]] | None = None
    """Zones that an expression of `when` names. Raises ValueError where it can't be parsed."""
    actions: Sequence[str] | None = None
    """Names that may stand in `do`."""
    labels_in: Callable[[str], Iterable[str]] | None = None
    """Labels that an expression of `when` names. Raises ValueError as `zones_in`."""
    labels_of: Callable[[str, str, Sequence[str]], Sequence[str] | None] | None = None
    """Labels of a model, by its name, its version (empty = the newest) and the further folders
    of `models.path`. Empty = it names none; None = no such model can be used here."""
    lines_in: Callable[[str], Iterable[str]] | None = None
    """Lines that an expression of `when` names. Raises ValueError as `zones_in`."""
    readings_in: Callable[[str], Iterable[str]] | None = None
    """Other pipelines and sources whose values it asks for. Raises ValueError as `zones_in`."""
    models: Callable[[Sequence[str]], Sequence[str]] | None = None
    """Names of the models that are here, with the further folders of `models.path`."""


def sense(
    table: dict[str, Any], places: Places, *, file: str, remote: Path | None, ports: Ports
) -> list[Fault]:
    """Everything in ``table`` that contradicts itself or the machine; empty = sound."""
    look = Look(table, places, file, str(remote) if remote else "", ports)
    return [fault for check in _CHECKS for fault in check(look)]


class Look(Struct, frozen=True):
    """The merged tables as a check sees them."""

    tables: dict[str, Any]
    places: Places
    file: str
    remote: str
    ports: Ports

    def get(self, *path: str | int) -> Any:
        """The value at a path, None where there is none."""
        value: Any = self.tables
        for key in path:
            fits = isinstance(value, dict) or (isinstance(value, list) and isinstance(key, int))
            if not fits or (isinstance(value, dict) and key not in value):
                return None
            value = value[key]
        return value

    def text(self, *path: str | int) -> str:
        value = self.get(*path)
        return value if isinstance(value, str) else ""

    def named(self, *path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and table of each table below a path."""
        value = self.get(*path)
        if isinstance(value, dict):
            yield from ((name, its) for name, its in value.items() if isinstance(its, dict))

    def labels(self, *path: str | int) -> Sequence[str] | None:
        """Labels of the model that the table at a path names; empty = nobody knows them, None =
        it is not here."""
        model = self.text(*path, "model")
        if not model or self.ports.labels_of is None:
            return ()
        return self.ports.labels_of(model, self.text(*path, "version"), self.folders())

    def folders(self) -> list[str]:
        """Further folders of models, as far as they are named rightly."""
        folders = self.get("models", "path")
        return [its for its in folders if isinstance(its, str)] if isinstance(folders, list) else []

    def fault(
        self, path: KeyPath, expected: str, found: str, remedy: str = "", problem: str = ""
    ) -> Fault:
        place = self.places.nearest(path, self.file)
        return Fault(place.file, place.line, dotted(path), expected, found, remedy, problem)


def _device(look: Look) -> Iterator[Fault]:
    for path in LOCAL_ONLY:
        if look.remote and look.places.nearest(path).file == look.remote:
            said = "may only be set at the device itself"
            yield look.fault(path, "", "", "set it in agent.toml", said)
    if look.text("device", "id") == "group":
        yield look.fault(("device", "id"), "an id", '"group"', problem='"group" is reserved')
    zone = look.text("device", "timezone")
    if zone not in ("", "UTC"):
        yield from _timezone(look, zone)


def _timezone(look: Look, zone: str) -> Iterator[Fault]:
    import zoneinfo

    from edgeagent.config.words import close_to

    try:
        zoneinfo.ZoneInfo(zone)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        known = zoneinfo.available_timezones()
        ends = [name for name in sorted(known) if name.rpartition("/")[2] == zone.title()]
        close = ends[0] if ends else close_to(zone, sorted(known))
        remedy = f'did you mean "{close}"?' if close else "e.g. Europe/Berlin; or UTC"
        if not known:
            remedy = "this system has no time zones: install tzdata, or use UTC"
        expected = "a time zone such as Europe/Berlin"
        yield look.fault(("device", "timezone"), expected, f'"{zone}"', remedy)


def _broker(look: Look) -> Iterator[Fault]:
    host = look.text("mqtt", "host")
    if ":" in host or "/" in host:
        from edgeagent.config.mistakes import plain_host

        remedy = plain_host(host)
        if remedy:
            yield look.fault(("mqtt", "host"), "a host name or address", f'"{hide(host)}"', remedy)


def _limits(look: Look) -> Iterator[Fault]:
    for table, measure in ((_DURATIONS, units.seconds), (_SIZES, units.size_bytes)):
        for path, least, most in table:
            value = _measured(look.text(*path), measure)
            if value is not None and not measure(least) <= value <= measure(most):
                yield look.fault(path, f"{least} to {most}", f'"{look.text(*path)}"')
    whole = _measured(look.text("storage", "max") or "512 MiB", units.size_bytes)
    outbox = _measured(look.text("outbox", "max") or "64 MiB", units.size_bytes)
    if whole is not None and outbox is not None and outbox > whole:
        path = ("outbox", "max") if look.text("outbox", "max") else ("storage", "max")
        said = "the outbox may not be larger than storage.max, which holds everything"
        yield look.fault(path, "", "", "raise storage.max or lower outbox.max", said)


def _measured(text: str, measure: Callable[[str], float]) -> float | None:
    try:
        return measure(text)
    except ValueError:
        return None  # `check` has named it


def _files(look: Look) -> Iterator[Fault]:
    paths: list[KeyPath] = [("mqtt", "password_file")]
    paths += [("mqtt", "tls", key) for key in ("ca", "cert", "key")]
    paths += [("sources", name, "password_file") for name, _ in look.named("sources")]
    for path in paths:
        named = look.text(*path)
        if named:
            reason, remedy = _unreadable(Path(named))
            if reason:
                yield look.fault(path, "a file that can be read", "", remedy, f"{named} {reason}")
    if look.get("mqtt", "tls", "key") and not look.get("mqtt", "tls", "cert"):
        yield look.fault(("mqtt", "tls"), "cert beside key", "only key", "name the certificate")


def _unreadable(file: Path) -> tuple[str, str]:
    """What keeps us from reading a file, and what to do; empty texts = nothing."""
    try:
        mode = file.stat().st_mode
    except PermissionError:
        return "can't be reached: permission denied", f"sudo chmod g+rx {file.parent}"
    except OSError:
        return "does not exist", "create it, or correct the name"
    if stat.S_ISDIR(mode):
        return "is a folder", "name a file"
    if not os.access(file, os.R_OK, effective_ids=True):
        return "can't be read: permission denied", f"sudo chgrp edgeagent {file}; chmod g+r {file}"
    return "", ""


def _secrets(look: Look) -> Iterator[Fault]:
    for name, _ in look.named("sources"):
        url = look.text("sources", name, "url")
        if holds_secret(url):
            said = f"a password stands in the URL ({hide(url)})"
            remedy = "write username = … and password_file = … instead"
            yield look.fault(("sources", name, "url"), "", "", remedy, said)


def _sources(look: Look) -> Iterator[Fault]:
    for name, _ in look.named("sources"):
        masks = look.get("sources", name, "mask")
        for position in range(len(masks) if isinstance(masks, list) else 0):
            yield from _polygon(look, ("sources", name, "mask", position))


def _polygon(look: Look, path: KeyPath) -> Iterator[Fault]:
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


def _names(look: Look) -> Iterator[Fault]:
    for table in ("sources", "pipelines"):
        if any(name == "group" for name, _ in look.named(table)):
            remedy = "give it another name"
            yield look.fault((table, "group"), "", "", remedy, '"group" is reserved')


def _pipelines(look: Look) -> Iterator[Fault]:
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
            yield from _polygon(look, (*path, "zones", zone, "polygon"))
        lines = [line for line, _ in look.named("pipelines", name, "lines")]
        for line in lines:
            yield from _length(look, (*path, "lines", line, "points"))
        yield from _rules(look, path, zones, lines)
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
        said = "this version reads one source per pipeline"
        remedy = "keep one of them, or make a pipeline for each"
        yield look.fault((*path, "sources"), "", "", remedy, said)
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


def _serve(look: Look) -> Iterator[Fault]:
    listen = look.text("serve", "listen")
    if not listen:
        return
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) < 65536:
        expected = "an address and a port such as 127.0.0.1:8000"
        yield look.fault(("serve", "listen"), expected, f'"{listen}"')


_CHECKS: tuple[Callable[[Look], Iterator[Fault]], ...] = (
    _device, _broker, _limits, _files, _secrets, _sources, _names, _pipelines, _serve,
)  # fmt: skip
