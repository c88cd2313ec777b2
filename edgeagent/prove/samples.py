"""Samples from files, cut as a model wants them: what a source would give a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from edgeagent import plugins
from edgeagent.capture.pictures import SUFFIXES
from edgeagent.capture.source import PICTURES, Source, Timed, Wanted
from edgeagent.config.model import (
    AudioConfig,
    CsvConfig,
    ImagesConfig,
    ReplayConfig,
    SensorKeys,
    SourceConfig,
    SyntheticConfig,
    VideoConfig,
)
from edgeagent.errors import InputError, SourceEnded
from edgeagent.manifest import InputSpec, Package
from edgeagent.types import Frame, Joint, Sample, Window

_VIDEO = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".h264", ".mjpeg")
_RECORDINGS = (".csv", ".jsonl", ".wav", ".flac")


PICTURE, VALUES = "pictures", "windows of values"
_GIVES = {
    "images": PICTURE, "video": PICTURE, "camera": PICTURE, "rtsp": PICTURE, "mjpeg": PICTURE,
    "snapshot": PICTURE, "command": PICTURE, "folder": PICTURE,
    "jsonl": VALUES, "csv": VALUES, "audio": VALUES,
}  # fmt: skip


def gives(config: SourceConfig) -> str:
    """What a source gives: `PICTURE` or `VALUES`; empty = unknown (a plugin)."""
    if isinstance(config, SyntheticConfig):
        return PICTURE if config.scene == "belt" else VALUES
    if isinstance(config, SensorKeys):
        return VALUES
    return _GIVES.get(str(type(config).__struct_config__.tag), "")


def takes(package: Package, input_: str = "") -> str:
    """What a model, or one of its inputs, takes, likewise; empty = tensors of any sort."""
    kinds = {
        spec.kind
        for spec in package.manifest.input
        if spec.value is None and input_ in ("", spec.name)
    }
    if "image" in kinds:
        return PICTURE
    return VALUES if kinds & {"window", "audio"} else ""


def wanted_by(package: Package, input_: str = "") -> Wanted:
    """The windows that an input takes; without a name the first sensor or sound input."""
    for spec in package.manifest.input:
        if spec.kind == "image" or spec.value is not None or input_ not in ("", spec.name):
            continue
        return Wanted(
            channels=tuple(spec.channels) or None,
            rate_hz=spec.rate_hz or None,
            length=spec.rows or None,
            hop=spec.step or None,
        )
    return PICTURES


def read_samples(path: Path, package: Package) -> Iterator[Sample]:
    """All samples of a file: a picture is one, a recording has one for each hop.

    Raises:
        NotFound, NotPermitted: there is no such file; it may not be read.
        InputError: it can't be read, or nothing is known of such files.
    """
    source = _source(path, package)
    source.open()
    timed = source if isinstance(source, Timed) else None
    try:
        while True:
            sample = source.read()
            if timed is not None:
                sample = replace(sample, stream_ms=timed.position_s * 1e3)
            yield sample
    except SourceEnded:
        return
    finally:
        source.close()


def first_sample(path: Path, package: Package) -> Sample:
    """The first sample of a file. Raises as `read_samples`, and InputError without any."""
    for sample in read_samples(path, package):
        return sample
    raise InputError(f"{path}: holds no whole window for {package.name}")


def made_up(package: Package) -> Sample | Joint:
    """Noise of the form that a model takes: it shows time and memory, and nothing else."""
    parts = {spec.name: _noise(spec) for spec in package.manifest.input if spec.value is None}
    return (
        next(iter(parts.values())) if len(parts) == 1 else Joint(next(iter(parts.values())), parts)
    )


def _noise(spec: InputSpec) -> Sample:
    import numpy as np

    rng = np.random.default_rng(7)
    if spec.kind == "image":
        width, height = spec.size or (320, 240)
        return Frame("noise", 1, rng.integers(0, 256, (height, width, 3), np.uint8), 0, 0.0)
    channels = tuple(spec.channels) or ("x",)
    values = rng.standard_normal((spec.rows or 1024, len(channels))).astype(np.float32)
    return Window("noise", 1, values, spec.rate_hz or 1000.0, channels, 0, 0.0)


def readable(path: Path) -> bool:
    """Whether files with this ending can be samples."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or suffix in _VIDEO or suffix in _RECORDINGS


def is_video(path: Path) -> bool:
    """Whether the samples of a file follow one another as those of a camera do."""
    return path.suffix.lower() in _VIDEO


def _source(path: Path, package: Package) -> Source:
    wanted = wanted_by(package)
    config = file_source(path, wanted)
    kind = str(config.__struct_config__.tag)
    source: Source = plugins.find("source", kind)(path.name, config, wanted)
    return source


def file_source(path: Path, wanted: Wanted) -> SourceConfig:
    """The source that reads a recording: by its ending; a folder or a glob has pictures.

    Raises InputError where nothing is known of such files.
    """
    name, suffix = str(path), path.suffix.lower()
    if path.is_dir() or any(sign in name for sign in "*?["):
        return ImagesConfig(path=name)
    if suffix in _VIDEO:
        return VideoConfig(path=name)
    if suffix in (".wav", ".flac"):
        return AudioConfig(path=name)
    if suffix == ".csv":
        return CsvConfig(path=name, rate_hz=wanted.rate_hz)
    if suffix == ".jsonl":
        return ReplayConfig(path=name, rate_hz=wanted.rate_hz)
    if suffix in SUFFIXES:
        return ImagesConfig(path=name)
    raise InputError(
        f"{path}: files ending in {suffix or 'nothing'} are no samples",
        remedy="Give pictures, a video, WAV, FLAC, CSV or JSON lines.",
    )
