"""What is attached to this device: cameras as capture sees them, the rest from the kernel's
files. Asking a camera its name does not disturb who is using it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeagent.capture.devices import Devices
from edgeagent.errors import EdgeAgentError


@dataclass(frozen=True, slots=True)
class Attached:
    """A thing that can be a source."""

    kind: str
    """camera | audio | serial | iio | hwmon | 1-wire"""
    path: str
    """What to write into the configuration: stable over restarts where there is such a name."""
    name: str


def attached(root: Path = Path("/"), devices: Devices | None = None) -> list[Attached]:
    """Cameras, sound cards, serial lines and sensors.

    Args:
        root: of the file system; another one for tests.
        devices: the video devices there.
    """
    return [
        *_cameras(devices or Devices(str(root)), root),
        *_named(root, "audio", "proc/asound/card[0-9]*/id", lambda text: f"hw:CARD={text}"),
        *_by_id(root, "serial", "dev/serial/by-id/*"),
        *_named(root, "iio", "sys/bus/iio/devices/iio:device*/name", lambda text: text),
        *_named(root, "hwmon", "sys/class/hwmon/hwmon*/name", lambda text: text),
        *_by_id(root, "1-wire", "sys/bus/w1/devices/28-*"),
    ]


def _cameras(devices: Devices, root: Path) -> Iterator[Attached]:
    """By the name that stays: numbers change when a camera is plugged in anew."""
    nodes = [node.name for node in root.glob("dev/video[0-9]*") if node.name[5:].isdigit()]
    for name in sorted(nodes, key=lambda its: int(its[5:])):
        try:
            camera = devices.ask(f"/dev/{name}")
        except EdgeAgentError as problem:
            # It is told: who looks for a camera must learn that one is there.
            yield Attached("camera", f"/dev/{name}", str(problem))
            continue
        if camera is not None:
            yield Attached("camera", camera.name, camera.card)


def _by_id(root: Path, kind: str, pattern: str) -> Iterator[Attached]:
    for path in sorted(root.glob(pattern)):
        yield Attached(kind, _seen(root, path), path.name)


def _named(root: Path, kind: str, pattern: str, path: Callable[[str], str]) -> Iterator[Attached]:
    for file in sorted(root.glob(pattern)):
        text = _text(file)
        if text:
            yield Attached(kind, path(text), text)


def _seen(root: Path, path: Path) -> str:
    """The path as the device itself calls it."""
    return "/" + str(path.relative_to(root))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
