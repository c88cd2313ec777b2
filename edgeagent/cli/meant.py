"""What a person means by a source: a name in the configuration, or a device, a URL, a file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.errors import NotFound, UsageError

if TYPE_CHECKING:
    from edgeagent.cli.attached import Attached
    from edgeagent.config.model import SourceConfig

SYSFS = ("iio", "hwmon", "thermal", "power_supply", "w1")
_CAMERA = re.compile(r"^(/dev/video\d+|/dev/v4l/.+)$")
_SERIAL = re.compile(r"^(/dev/(serial/.+|tty.+|pts/\d+)|socket://.+|rfc2217://.+)$")
_ALSA = re.compile(r"^(plug|dsnoop|sysdefault|hw|plughw|default|pulse)\b")
_EXAMPLES = "/dev/video0, hw:CARD=Mic, iio:adxl345, /dev/ttyUSB0, rtsp://…, clip.mp4"


def table_of(text: str, here: Iterable[Attached]) -> dict[str, Any]:
    """The table of a configuration for a device, a URL or a file.

    Raises:
        NotFound: it is none of these.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind in SYSFS:
        return {"kind": kind, "device": rest}
    for its in here:
        if text in (its.path, its.name):
            return {"kind": its.kind, "device": its.path}
    if _CAMERA.match(text):
        return {"kind": "camera", "device": text}
    if text.startswith(("rtsp://", "rtsps://")):
        return {"kind": "rtsp", "url": text}
    if text.startswith(("http://", "https://")):
        return {"kind": "mjpeg", "url": text}
    if _SERIAL.match(text):
        return {"kind": "serial", "device": text}
    if _ALSA.match(text) and not Path(text).exists():
        return {"kind": "audio", "device": text}
    if Path(text).exists():
        return _file(Path(text))
    raise NotFound(
        f"{text!r} is no source of the configuration, no attached device and no file",
        remedy=f"See: edgeagent devices list. Devices are named like {_EXAMPLES}",
    )


def _file(path: Path) -> dict[str, Any]:
    from edgeagent.capture.source import PICTURES
    from edgeagent.prove.samples import file_source

    place = str(path.absolute())
    if path.is_fifo():
        return {"kind": "jsonl", "path": place}
    return {"kind": str(file_source(path, PICTURES).__struct_config__.tag), "path": place}


def config_of(table: dict[str, Any], name: str) -> SourceConfig:
    """The source of a table. Raises UsageError where the table is none."""
    import msgspec

    from edgeagent.config.model import SourceConfig

    try:
        made: SourceConfig = msgspec.convert(table, SourceConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"{name}: {error}") from error
    return made


def heard(table: dict[str, Any], baud: int | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The table of a serial line with what it was heard to speak, and some of its lines.

    Raises SourceLost, NotPermitted, Busy; RuntimeMissing without pyserial.
    """
    from edgeagent import plugins
    from edgeagent.config.model import SerialConfig

    plugins.find("source", "serial")  # tells how to install what is missing
    from edgeagent.capture.sensor.serial import SerialPort
    from edgeagent.capture.sensor.sniff import BAUDS, listen

    lines: tuple[str, ...] = ()
    for speed in (baud,) if baud else BAUDS:
        config = SerialConfig(device=table["device"], baud=speed)
        found = listen(SerialPort(config), 2.0 if baud else 1.2)
        lines = found.lines or lines
        if found.format:
            channels = {_name(its): {"read": its} for its in found.channels}
            return {**table, "baud": speed, "format": found.format, "channels": channels}, lines
    return {**table, **({"baud": baud} if baud else {})}, lines


def _name(field: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", field)[:64]


def new_name(table: dict[str, Any], taken: Iterable[str]) -> str:
    """A name for a source that no other one has."""
    base = {"camera": "cam", "rtsp": "cam", "mjpeg": "cam", "audio": "mic"}.get(
        table["kind"], str(table["kind"])
    )
    if table["kind"] in SYSFS and table.get("device"):
        base = _name(str(table["device"]))
    numbered = base in ("cam", "mic")
    known = set(taken)
    names = (f"{base}{number if number or numbered else ''}" for number in count())
    return next(name for name in names if name not in known)
