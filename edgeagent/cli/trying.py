"""`devices try`: a source at work for some seconds, by the running agent or by ourselves."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgeagent.agent.exchange import Exchange
from edgeagent.cli import meant, options, render
from edgeagent.errors import (
    ConfigError,
    EdgeAgentError,
    NotFound,
    NotPermitted,
    Unavailable,
    UsageError,
)

if TYPE_CHECKING:
    from edgeagent.agent.build import Surroundings
    from edgeagent.cli.attached import Attached
    from edgeagent.config.load import Loaded
    from edgeagent.config.model import SourceConfig
    from edgeagent.decide.present import Numbered
    from edgeagent.types import Draft

_QUEUE = 256
_BARS = "▁▂▃▄▅▆▇█"


def loaded_or_none(config: Path | None, data: Path | None) -> Loaded | None:
    """The configuration, if there is one: a device can be tried without."""
    if config is None and not options.config_file(None).is_file():
        return None
    try:
        return options.load_config(config, data)
    except ConfigError as problem:
        if config is not None:
            raise
        render.note(f"Tried without the configuration, which is wrong: {problem}")
        return None


def configured_as(loaded: Loaded | None, table: dict[str, Any]) -> str:
    """The configured source of the same device, whose privacy then counts; empty = none."""
    device = table.get("device") or table.get("url") or table.get("path")
    for name, source in loaded.config.sources.items() if loaded and device else ():
        its = [getattr(source, key, "") for key in ("device", "url", "path")]
        if any(_same(one, str(device)) for one in its if one):
            return name
    return ""


def told_by_agent(
    here: Sequence[Attached], config: Path | None, data: Path | None
) -> list[Attached]:
    """What is attached, with what the running agent says of those that it has open."""
    loaded = loaded_or_none(config, data)
    if loaded is None:
        return list(here)
    try:
        running = options.control(config, data).status().get("sources", {})
    except (Unavailable, NotPermitted):
        running = {}
    found = []
    for its in here:
        name = configured_as(loaded, {"device": its.path})
        if name:
            state = running.get(name)
            said = "configured, not running" if state is None else f"agent: {state['state']}"
            if state is not None and state.get("fps"):
                said += f", {state['fps']:g} a second"
            its = replace(its, used_by=(f"source {name} ({said})", *its.used_by))
        found.append(its)
    return found


def by_agent(
    config: Path | None, data: Path | None, name: str, seconds: float, picture: bool
) -> dict[str, Any] | None:
    """The report of the running agent; None where none runs, or it has no such source open."""
    client = options.control(config, data)
    try:
        if name not in client.status().get("sources", {}):
            return None
        arguments = {"source": name, "seconds": seconds, "picture": picture}
        return client.ask({"type": "look", "arguments": arguments})
    except (Unavailable, NotPermitted) as problem:
        if isinstance(problem, NotPermitted):
            render.note(f"{problem}. {problem.remedy}")
        return None


def looked(text: str, config: Path | None, data: Path | None, seconds: float) -> dict[str, Any]:
    """The report on a source with its picture, by whoever has it open. Raises EdgeAgentError."""
    loaded = loaded_or_none(config, data)
    name, its, _ = resolve(text, loaded, None)
    report = by_agent(config, data, name, seconds, True)
    if report is None:
        folder = options.data_folder(config, data)
        report = alone(loaded, folder, name, its, seconds, True, teller(None))
    return report


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """What goes wrong meanwhile is in the report."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def alone(
    loaded: Loaded | None, data: Path, name: str, source: SourceConfig, seconds: float,
    picture: bool, tell: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:  # fmt: skip
    """Open the source and look at it.

    Raises:
        EdgeAgentError: it can't be opened, or nothing came; the class says why.
    """
    from edgeagent.agent.build import make_source
    from edgeagent.agent.trial import look_alone
    from edgeagent.capture.unit import CaptureUnit
    from edgeagent.supervisor import Supervisor

    broker = _broker(loaded, source)
    unit = CaptureUnit(name, make_source(name, source, _wanted(source), broker), source)
    mailbox = unit.subscribe(_QUEUE)
    supervisor = Supervisor()
    report: dict[str, Any] = {}
    looked = look_alone(_around(loaded, data), unit, mailbox, seconds, picture=picture)
    supervisor.start(unit)
    try:
        with _quiet("edgeagent.capture"):
            for report in looked:
                tell(report)
    finally:
        looked.close()
        supervisor.stop(2.0)
        if broker is not None:
            broker.close()
    if not report.get("samples"):
        raise _nothing(name, unit)
    return {"by": "itself", **report}


def save(report: dict[str, Any], file: Path) -> None:
    """Write the picture of a report. Raises EdgeAgentError where there is none."""
    from edgeagent.errors import unwritable

    picture = report.pop("picture", None)
    if picture is None:
        raise UsageError(f"{report['source']} gives no pictures that could be saved")
    if "withheld" in picture:
        raise NotPermitted(f"no picture of {report['source']}: {picture['withheld']}")
    try:
        file.write_bytes(base64.b64decode(picture["data"]))
    except OSError as error:
        raise unwritable(file, error) from error
    report["picture"] = str(file)


def teller(draw: Callable[[str], None] | None) -> Callable[[dict[str, Any]], None]:
    """Shows how it goes, on one line that is drawn over and over; nothing without a terminal."""

    def tell(report: dict[str, Any]) -> None:
        if draw is None:
            return
        rate = report.get("rate_hz")
        said = [f"{report['samples']} samples", f"{rate:.4g} a second" if rate else "waiting"]
        if "level_db" in report:
            said.append(level(report["level_db"]))
        for name, its in list(report.get("channels", {}).items())[:2]:
            said.append(f"{name} {drawing(its['trace'][-30:])}")
        draw("  ".join(said))

    return tell


def finished(
    report: dict[str, Any], source: SourceConfig, lines: tuple[str, ...], file: Path | None
) -> dict[str, Any]:
    """A report with what is known besides, its picture written to ``file``."""
    from edgeagent.agent.trial import UNVERIFIED

    report.pop("final", None)
    kind = str(source.__struct_config__.tag)
    whole = {"kind": kind, "verified": kind not in UNVERIFIED, **report}
    if lines:
        whole["heard"] = list(lines)
    if file is not None:
        save(whole, file)
    else:
        whole.pop("picture", None)  # It was only to be drawn.
    return whole


def something_came(report: dict[str, Any]) -> None:
    """Exits 69 where a source that the agent has open gave nothing."""
    if not report.get("samples", 1):
        raise typer.Exit(Unavailable.exit_code)


def drawing(values: list[float]) -> str:
    """Values as a line of bars."""
    low, high = min(values), max(values)
    span = high - low or 1.0
    return "".join(_BARS[min(7, int((value - low) / span * 8))] for value in values)


def level(db: float, width: int = 30) -> str:
    """dBFS as a bar from −60 to 0."""
    full = max(0, min(width, round((db + 60) / 60 * width)))
    return "█" * full + "░" * (width - full)


class _OwnBroker(Exchange):
    """A link of our own, for topics of other devices."""

    def __init__(self, loaded: Loaded) -> None:
        from edgeagent.device.identity import device_id
        from edgeagent.sync.endpoint import LinkSettings
        from edgeagent.sync.link import Link
        from edgeagent.sync.topics import Topics

        super().__init__()
        config = loaded.config
        topics = Topics(config.mqtt.prefix, device_id(config.device.id))
        self.own = Link(LinkSettings.of(config.mqtt, f"{topics.client_id}-try"), topics.echo)
        self.bind(self.own)
        self.own.start()

    def close(self) -> None:
        self.own.stop(1.0)


def _broker(loaded: Loaded | None, source: SourceConfig) -> _OwnBroker | None:
    """For a source that wants one; None for all others."""
    from edgeagent.config.model import MqttConfig

    if loaded is None or not isinstance(source, MqttConfig) or not loaded.config.mqtt.host:
        return None
    return _OwnBroker(loaded)


def _around(loaded: Loaded | None, data: Path) -> Surroundings:
    """Surroundings of a source outside of an agent."""
    from edgeagent.agent.build import Surroundings
    from edgeagent.config.model import Config
    from edgeagent.update.library import Library, default_folders

    config = loaded.config if loaded else Config()
    library = Library(default_folders(data, config.models.path))
    return Surroundings(config, "", library, _Nowhere())


class _Nowhere:
    """Where records of a trial go: it makes none, it only looks."""

    def append(self, draft: Draft) -> Numbered:
        raise UsageError(f"a trial keeps no records ({draft.kind})")


def _wanted(source: SourceConfig) -> Any:
    """Small pieces, so that what is measured is the source and not our patience."""
    from edgeagent.capture.source import PICTURES, Wanted
    from edgeagent.config.model import AudioConfig, SensorKeys

    if isinstance(source, AudioConfig):
        rate = float(source.rate_hz or 16_000)
        return Wanted(rate_hz=rate, length=round(rate / 10)) if source.device else PICTURES
    if isinstance(source, SensorKeys):
        return Wanted(rate_hz=source.rate_hz or 10.0, length=1)
    return PICTURES


def _nothing(name: str, unit: Any) -> EdgeAgentError:
    """Why no sample came."""
    if unit.error is not None:
        problem: EdgeAgentError = unit.error
        return problem
    health = unit.health()
    said = health.detail.get("last_error") or health.reason or "nothing came"
    return Unavailable(f"{name} gives nothing: {said}", remedy="Check cable, address and power.")


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    paths = Path(one), Path(other)
    return all(its.exists() for its in paths) and paths[0].samefile(paths[1])


def resolve(
    text: str, loaded: Loaded | None, baud: int | None
) -> tuple[str, SourceConfig, tuple[str, ...]]:
    """Name, source and (of a serial line) some of its lines. Raises NotFound and others."""
    if loaded is not None and text in loaded.config.sources:
        return text, loaded.config.sources[text], ()
    from edgeagent.cli.attached import attached

    try:
        table = meant.table_of(text, attached())
    except NotFound as problem:
        known = list(loaded.config.sources) if loaded else []
        from edgeagent.config.words import close_to

        close = close_to(text, known)
        if close:
            raise NotFound(str(problem), remedy=f"Did you mean the source {close}?") from problem
        raise
    lines: tuple[str, ...] = ()
    name = configured_as(loaded, table)
    if name and loaded is not None:
        return name, loaded.config.sources[name], ()
    if table["kind"] == "serial":
        table, lines = meant.heard(table, baud)
    return text, meant.config_of(table, text), lines


def shown(report: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """A report as facts for people."""
    jitter, age = report.get("jitter_ms"), report.get("age_ms")
    rate = report.get("rate_hz")
    yield "source", report["source"] + (" (told by the agent, which has it open)"
                                        if report.get("by") == "agent" else "")  # fmt: skip
    yield "state", report["state"]
    yield "reason", report["reason"]
    if report.get("verified") is False:
        yield "verified", "no: this kind was not tried on real hardware, only up to system calls"
    yield "gives", report["note"]
    size = report.get("size")
    yield "picture", f"{size[0]} × {size[1]}" if size else ""
    live = report["live"]
    pace = f", {rate:.4g} a second" if rate and live else ""
    yield "samples", f"{report['samples']:,}{pace}"
    yield "first after", f"{report['first_s']:.2f} s" if report.get("first_s") is not None else ""
    if jitter and live:
        off = f"jitter {jitter['p50']:.3g} ms (p95 {jitter['p95']:.3g})"
        yield "interval", f"{report['interval_ms']:.4g} ms, {off}"
    yield "age", f"{age['p50']:.0f} ms (p95 {age['p95']:.0f})" if age and live else ""
    for key in ("dropped", "corrupt", "lost", "unused", "xruns", "quiet"):
        yield key, report.get(key, "")
    if "level_db" in report:
        yield "level", f"{level(report['level_db'])} {report['level_db']:.0f} dBFS"


def values(report: dict[str, Any]) -> list[tuple[object, ...]]:
    """A row for each channel: name, value, unit, extent and a drawing."""
    return [
        (name, its.get("value"), its.get("unit", ""), its["min"], its["max"], drawing(its["trace"]))
        for name, its in report.get("channels", {}).items()
    ]
