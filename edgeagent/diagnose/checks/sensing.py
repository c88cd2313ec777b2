"""Is there anything behind the configured sensors? Files are looked at, ports are connected to;
nothing is read that would disturb a device."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeagent.config.model import (
    AudioConfig,
    ModbusConfig,
    MqttConfig,
    SerialConfig,
    SysfsConfig,
)
from edgeagent.diagnose.checks.net import NotReached, connect
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding
from edgeagent.errors import EdgeAgentError
from edgeagent.plugins import to_install

KINDS = (SysfsConfig, SerialConfig, ModbusConfig, MqttConfig)


def sensor(context: Context, name: str, source: Any) -> Iterator[Finding]:
    """One source of values, as far as the system tells."""
    if isinstance(source, SysfsConfig):
        yield from _sysfs(context, name, source)
    elif isinstance(source, MqttConfig):
        topics = sorted({its.topic or source.topic for its in source.channels.values()})
        yield Finding("sources", "ok", f"{name}: listens to {', '.join(topics)}", "mqtt")
    elif isinstance(source, ModbusConfig) and source.host:
        yield from _package(name, "pymodbus", "modbus")
        yield _reached(name, source.host, source.port)
    else:
        package = ("pymodbus", "modbus") if isinstance(source, ModbusConfig) else ("serial",) * 2
        yield from _package(name, *package)
        yield _line(context, name, source.device)


def microphone(context: Context, name: str, source: AudioConfig) -> Iterator[Finding]:
    """A device that records by arecord."""
    if shutil.which("arecord") is None:
        yield Finding("sources", "failed", f"{name}: the program arecord is not installed",
                      "PATH", "sudo apt install alsa-utils")  # fmt: skip
        return
    cards = sorted(its.name for its in context.root.glob("proc/asound/card[0-9]*"))
    card = source.device.partition("CARD=")[2].partition(",")[0]
    known = [_text(context.root / "proc/asound" / its / "id") for its in cards]
    if card and card not in known and not card.isdigit():
        yield Finding(
            "sources", "failed", f"{name}: there is no sound card {card}",
            f"/proc/asound: {', '.join(known) or 'no card'}", "See: edgeagent devices list",
        )  # fmt: skip
        return
    yield Finding("sources", "ok", f"{name}: records {source.device} by arecord", "PATH")


def _sysfs(context: Context, name: str, source: SysfsConfig) -> Iterator[Finding]:
    from edgeagent.capture.sensor.attributes import attributes
    from edgeagent.capture.sensor.sysfs import find

    kind = str(source.__struct_config__.tag)
    root = Path(source.root) if source.root != "/sys" else context.root / "sys"
    wanted: dict[str, list[tuple[str, str]]] = {}
    for channel, its in source.channels.items():
        wanted.setdefault(its.device or source.device, []).append((channel, its.read or channel))
    for device, reads in (wanted or {source.device: []}).items():
        try:
            found = find(kind, root, device, f"sources.{name}.device")
            offered = attributes(kind, found.folder)
        except (EdgeAgentError, OSError) as error:
            remedy = getattr(error, "remedy", "") or "See: edgeagent devices list"
            yield Finding("sources", "failed", f"{name}: {error}", str(root), remedy)
            continue
        absent = [read for _, read in reads if read not in offered]
        if absent:
            said = f"{name}: {found.name} has no {', '.join(absent)}"
            yield Finding("sources", "failed", said, str(found.folder),
                          f"It has {', '.join(offered) or 'nothing that can be read'}")  # fmt: skip
        else:
            yield Finding("sources", "ok", f"{name}: {kind} {found.name} is there",
                          str(found.folder))  # fmt: skip


def _package(name: str, module: str, extra: str) -> Iterator[Finding]:
    if find_spec(module) is None:
        yield Finding("sources", "failed", f"{name}: the Python package {module} is not installed",
                      "import", to_install(extra))  # fmt: skip


def _reached(name: str, host: str, port: int) -> Finding:
    try:
        said = connect(host, port)
    except NotReached as error:
        return Finding("sources", "failed", f"{name}: {error}", error.how, error.remedy)
    return Finding("sources", "ok", f"{name}: {host}:{port} answers", said)


def _line(context: Context, name: str, device: str) -> Finding:
    if "://" in device:
        return Finding("sources", "ok", f"{name}: {device} is connected to when it runs", "url")
    path = Path(device)
    here = path if path.is_relative_to(context.root) else context.root / device.lstrip("/")
    if not here.exists():
        return Finding("sources", "failed", f"{name}: {device} is not connected", "stat(2)",
                       "See what is there: edgeagent devices list")  # fmt: skip
    if not os.access(here, os.R_OK | os.W_OK, effective_ids=True):
        return Finding("sources", "failed", f"{name}: {device} may not be opened by this user",
                       "access(2)", "sudo usermod -aG dialout USER, then log in anew")  # fmt: skip
    lasting = "by-id" in device or "by-path" in device
    rivals = len(list(context.root.glob("dev/ttyUSB*")) + list(context.root.glob("dev/ttyACM*")))
    if not lasting and rivals > 1 and path.name.startswith(("ttyUSB", "ttyACM")):
        return Finding(
            "sources", "problem", f"{name}: {device} may be another device after the next start",
            f"{rivals} serial devices", "Name it by a path that stays: ls /dev/serial/by-id",
        )  # fmt: skip
    return Finding("sources", "ok", f"{name}: {device} is there and may be opened", "access(2)")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
