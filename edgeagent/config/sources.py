"""Sources in the configuration: one Struct a kind, told apart by ``kind``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from msgspec import Meta, Struct, field

from edgeagent.config.channels import Channels
from edgeagent.config.sight import Sight
from edgeagent.config.units import Duration
from edgeagent.config.values import (
    Pixels,
    Polygon,
    Positive,
    Unit,
)


class SourceKeys(Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Keys that every source has."""

    fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    """Samples per second wanted; absent = the source's own rate."""
    mask: list[Polygon] = field(default_factory=list)
    """Polygons in 0..1 that are blackened before anything else sees the frame."""
    queue: Annotated[int, Meta(ge=1, le=256)] = 2
    """Newest samples kept for a slow pipeline (live) or read ahead (files)."""
    max_age: Duration = "2 s"
    """A live picture that is older is not looked at any more (slow cameras: three frame times)."""
    sight: Sight = field(default_factory=Sight)


class CameraConfig(SourceKeys, tag="camera", kw_only=True):
    device: str = ""
    """/dev/v4l/by-id/… or by-path. A bare index or /dev/videoN is refused where two exist."""
    size: tuple[Pixels, Pixels] | None = None
    format: Literal["auto", "MJPG", "YUYV"] = "auto"


class RtspConfig(SourceKeys, tag="rtsp", kw_only=True):
    url: Annotated[str, Meta(pattern=r"^rtsps?://", description="a URL rtsp://… or rtsps://…")]
    transport: Literal["tcp", "udp"] = "tcp"
    username: str = ""
    password_file: str = ""
    timeout: Duration = "5 s"


class MjpegConfig(SourceKeys, tag="mjpeg", kw_only=True):
    url: Annotated[str, Meta(pattern=r"^https?://", description="a URL http://… or https://…")]
    username: str = ""
    password_file: str = ""
    timeout: Duration = "5 s"
    ca: str = ""
    """File with certificates (PEM) to trust for https, in place of the system's."""


class SnapshotConfig(SourceKeys, tag="snapshot", kw_only=True):
    """Single pictures, asked for again and again."""

    url: Annotated[str, Meta(pattern=r"^https?://", description="a URL http://… or https://…")]
    every: Duration = "1 s"
    username: str = ""
    password_file: str = ""
    timeout: Duration = "5 s"
    ca: str = ""
    """As of `mjpeg`."""


class CommandConfig(SourceKeys, tag="command", kw_only=True):
    """A program that writes pictures to its standard output. Local only: nobody can have a device
    run a program from afar."""

    command: Annotated[list[str], Meta(min_length=1)]
    """The program and its arguments, without a shell: ``["rpicam-vid", "-t", "0", "--codec",
    "mjpeg", "-o", "-"]``."""
    format: Literal["mjpeg", "h264", "h265", "bgr24", "rgb24", "gray", "yuyv", "yuv420", "nv12"] = (
        "mjpeg"
    )
    """What it writes."""
    size: tuple[Pixels, Pixels] | None = None
    """Width and height of raw pictures; the others bring their own."""
    timeout: Duration = "10 s"
    """How long it may take to the first picture."""


class FolderConfig(SourceKeys, tag="folder", kw_only=True):
    """A folder into which somebody else puts pictures; each is read once."""

    path: str
    pattern: str = "*"
    """Of file names, such as ``cam1_*.jpg``."""
    recursive: bool = False
    """Folders below it too."""
    existing: bool = False
    """Also what is there at the start; else only what comes."""
    then: Literal["keep", "delete"] = "keep"
    """What becomes of a file that was read."""
    every: Duration = "500 ms"
    """How often to look."""


class ImagesConfig(SourceKeys, tag="images", kw_only=True):
    path: str
    """A picture, a folder, or a glob; read in the order of names."""
    loop: bool = False


class VideoConfig(SourceKeys, tag="video", kw_only=True):
    path: str
    loop: bool = False
    pace: Literal["true", "max"] = "max"
    """`true` = as fast as it was filmed, `max` = as fast as the pipeline takes it."""


class ReplayConfig(SourceKeys, tag="jsonl", kw_only=True):
    path: str
    """JSON lines (one object a row) or a CSV with a header; JSON lines may come through a FIFO, or
    ``-`` = standard input."""
    channels: Channels = field(default_factory=list)
    """Columns to read, in order, or a table for each; empty = all but the time."""
    time: str = ""
    """Column of the time in seconds; empty = rows are `rate_hz` apart."""
    rate_hz: Positive | None = None
    pace: Literal["true", "max"] = "max"
    loop: bool = False
    live: bool | None = None
    """Lines come as they happen: the newest count, none is waited for. Absent = a FIFO is live."""
    align: Literal["hold", "linear", "mean"] = "hold"
    """live: as other sensors' (see `serial`)."""
    gap: Duration | None = None
    """live: as other sensors'."""


class CsvConfig(ReplayConfig, tag="csv", kw_only=True):
    pass


class AudioConfig(SourceKeys, tag="audio", kw_only=True):
    path: str = ""
    """A WAV or FLAC file; or else `device`."""
    device: str = ""
    """An ALSA device: ``hw:CARD=Mic``, ``default`` (see `edgeagent devices list`)."""
    channel: Annotated[int, Meta(ge=0)] = 0
    channels: Annotated[int, Meta(ge=1, le=64)] | None = None
    """How many the device records; absent = as many as `channel` needs."""
    rate_hz: Annotated[int, Meta(ge=1000, le=768_000)] | None = None
    """At which the device records; absent = as the model wants, else 16000."""
    quiet: Annotated[float, Meta(ge=-120, le=0)] | None = None
    """Windows whose level (dBFS of the loudest tenth of a second) is below it are not looked at."""
    pace: Literal["true", "max"] = "max"
    loop: bool = False


class Mishap(Struct, forbid_unknown_fields=True):
    """What befalls the camera of a scene."""

    kind: Literal["covered", "frozen", "dark"]
    at_s: Annotated[float, Meta(ge=0)]
    """Seconds of the scene at which it begins."""
    for_s: Annotated[float, Meta(gt=0)]


class SyntheticConfig(SourceKeys, tag="synthetic", kw_only=True):
    scene: Literal["belt", "vibration"] = "belt"
    seed: int = 1
    count: Annotated[int, Meta(ge=0)] = 0
    """Samples before it ends; 0 = endless."""
    size: tuple[Pixels, Pixels] = (320, 240)
    pace: Literal["true", "max"] = "true"
    fault_rate: Unit = 0.25
    healthy_s: Annotated[float, Meta(ge=0)] = 20.0
    failing_s: Annotated[float, Meta(ge=0)] = 20.0
    mishaps: list[Mishap] = field(default_factory=list)
    """belt: what befalls its camera, for demonstrations and tests."""


class PluginConfig(SourceKeys, tag="plugin", kw_only=True):
    plugin: str
    options: dict[str, Any] = field(default_factory=dict)


SourceConfig = Union[
    CameraConfig, RtspConfig, MjpegConfig, SnapshotConfig, CommandConfig, FolderConfig,
    ImagesConfig, VideoConfig, ReplayConfig, CsvConfig, AudioConfig, SyntheticConfig, PluginConfig,
]  # fmt: skip
