"""What is attached to this device: cameras as capture sees them, the rest from the kernel's
files. Asking a camera its name does not disturb who is using it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeagent.capture.devices import Devices
from edgeagent.errors import EdgeAgentError

_VALUES = 6
"""Values of one sensor that are listed."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A thing that can be a source."""

    kind: str
    """As in the configuration: camera, audio, serial, iio, hwmon, thermal, power_supply, w1."""
    path: str
    """What to write as ``device``: stable over restarts where there is such a name."""
    name: str
    detail: str = ""
    """Formats of a camera, values of a sensor."""
    used_by: tuple[str, ...] = ()
    """Who has it open, as far as this user may see."""
    verified: bool = True
    """Whether this kind was tried on real hardware; cameras are tested up to the system calls."""


def attached(root: Path = Path("/"), devices: Devices | None = None) -> list[Attached]:
    """Cameras, microphones, serial lines and sensors.

    Args:
        root: of the file system; another one for tests.
        devices: the video devices there.
    """
    return [
        *_cameras(devices or Devices(str(root)), root),
        *_microphones(root),
        *_serial(root),
        *_sensors(root),
    ]


def _cameras(devices: Devices, root: Path) -> Iterator[Attached]:
    """By the name that stays: numbers change when a camera is plugged in anew."""
    nodes = [node.name for node in root.glob("dev/video[0-9]*") if node.name[5:].isdigit()]
    for name in sorted(nodes, key=lambda its: int(its[5:])):
        node = f"/dev/{name}"
        try:
            camera = devices.ask(node)
        except EdgeAgentError as problem:
            # It is told: who looks for a camera must learn that one is there.
            yield Attached("camera", node, str(problem), verified=False)
            continue
        if camera is not None:
            yield Attached(
                "camera", camera.name, camera.card, ", ".join(camera.formats),
                tuple(devices.holders(node)), verified=False,
            )  # fmt: skip


def _microphones(root: Path) -> Iterator[Attached]:
    for file in sorted(root.glob("proc/asound/card[0-9]*/id")):
        name = _text(file)
        streams = list(file.parent.glob("pcm*"))
        records = [its for its in streams if its.name.endswith("c")]
        if name and (records or not streams):
            first = _text(records[0] / "info") if records else ""
            title = next((line[6:] for line in first.splitlines() if line.startswith("name: ")), "")
            yield Attached("audio", f"hw:CARD={name}", title or name)


def _serial(root: Path) -> Iterator[Attached]:
    linked = set()
    for path in sorted(root.glob("dev/serial/by-id/*")):
        linked.add(path.resolve().name)
        yield Attached("serial", "/" + str(path.relative_to(root)), path.name)
    for pattern in ("dev/ttyUSB*", "dev/ttyACM*", "dev/ttyAMA*"):
        for path in sorted(root.glob(pattern)):
            if path.name not in linked:
                yield Attached("serial", "/" + str(path.relative_to(root)), path.name)


def _sensors(root: Path) -> Iterator[Attached]:
    from edgeagent.capture.sensor.attributes import attributes
    from edgeagent.capture.sensor.sysfs import FOLDERS, devices

    for kind in FOLDERS:
        for its in devices(kind, root / "sys"):
            try:
                found = attributes(kind, its.folder)
            except (OSError, ValueError):
                found = {}
            plain = [(name, one) for name, one in found.items() if name == one.name]
            said = []
            # A 1-wire thermometer takes most of a second to answer.
            for name, one in plain[:_VALUES] if kind != "w1" else ():
                try:
                    value = one.value(_text(its.folder / one.file))
                except ValueError:
                    said.append(f"{name} –")
                    continue
                said.append(f"{name} {value:.4g} {one.unit}".rstrip())
            more = len(plain) - _VALUES
            detail = ", ".join(said) + (f" and {more} more" if said and more > 0 else "")
            yield Attached(kind, its.name, its.name, detail)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
