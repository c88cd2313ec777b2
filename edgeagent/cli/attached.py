"""What is attached to this device, read from the kernel's files; nothing is opened."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_RUNTIMES = {
    "ai-edge-litert": "litert",
    "tflite-runtime": "litert",
    "onnxruntime": "onnx",
    "onnxruntime-gpu": "onnx",
    "onnxruntime-openvino": "onnx",
    "onnxruntime-qnn": "onnx",
}
"""Distribution → runtime that it gives."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A thing that can be a source."""

    kind: str
    """camera | audio | serial | iio | hwmon | 1-wire"""
    path: str
    """What to write into the configuration: stable over restarts where there is such a name."""
    name: str


def runtimes() -> dict[str, str]:
    """Installed distributions of runtimes → version; they are not imported."""
    found = {}
    for distribution in _RUNTIMES:
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def attached(root: Path = Path("/")) -> list[Attached]:
    """Cameras, sound cards, serial lines and sensors.

    Args:
        root: of the file system; another one for tests.
    """
    return [
        *_cameras(root),
        *_named(root, "audio", "proc/asound/card[0-9]*/id", lambda text: f"hw:CARD={text}"),
        *_by_id(root, "serial", "dev/serial/by-id/*"),
        *_named(root, "iio", "sys/bus/iio/devices/iio:device*/name", lambda text: text),
        *_named(root, "hwmon", "sys/class/hwmon/hwmon*/name", lambda text: text),
        *_by_id(root, "1-wire", "sys/bus/w1/devices/28-*"),
    ]


def _cameras(root: Path) -> Iterator[Attached]:
    """Names by id first: numbers change when a camera is plugged in anew."""
    known: set[Path] = set()
    for link in sorted(root.glob("dev/v4l/by-id/*-index0")):
        known.add(link.resolve())
        yield Attached("camera", _seen(root, link), _video_name(root, link.resolve()))
    for node in sorted(root.glob("dev/video[0-9]*")):
        index = _text(root / "sys/class/video4linux" / node.name / "index")
        # Cameras show several nodes; only the first gives pictures.
        if node.resolve() not in known and index in ("0", ""):
            yield Attached("camera", _seen(root, node), _video_name(root, node))


def _video_name(root: Path, node: Path) -> str:
    return _text(root / "sys/class/video4linux" / node.name / "name")


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
