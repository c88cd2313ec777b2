"""The configuration as Structs (contract §10). Every key has a default except names.

The Structs say what may be written; `check` finds all faults of a file at once, `load` merges
the layers. Docstrings of fields become the reference page and the JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta, Struct, field

from edgeagent.config.units import Duration, Size

_NAME = "a name of letters, digits, _ and - (at most 64)"
_END = r"$(?!\n)"
"""``$`` alone would let a line end pass behind the last character."""
Id = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]{1,64}" + _END,
        description=_NAME,
    ),
]
Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Share = Annotated[
    float, Meta(ge=0.0, le=1.0, description="a share of the picture's width or height from 0 to 1")
]
Point = Annotated[tuple[Share, Share], Meta(description="a point [x, y]")]
Polygon = Annotated[
    list[Point], Meta(min_length=3, description="a polygon of at least 3 points [x, y] in 0..1")
]
Prefix = Annotated[
    str,
    Meta(
        pattern=r"^[^#+$\s/]([^#+\s]*[^#+\s/])?" + _END,
        description="the beginning of topics, without #, +, blanks, a / at either end or a $ first",
    ),
]
Pixels = Annotated[int, Meta(ge=1, le=16384)]
Positive = Annotated[float, Meta(gt=0)]


class Device(Struct, forbid_unknown_fields=True):
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}" + _END, description=_NAME)] = ""
    """Id in topics; empty = hostname + 4 hex digits of a hash of machine-id."""
    name: str = ""
    site: str = ""
    groups: list[Id] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    timezone: str = "UTC"
    profile: str = "auto"


class Tls(Struct, forbid_unknown_fields=True):
    ca: str = ""
    cert: str = ""
    key: str = ""
    insecure: bool = False
    """Do not check the broker's certificate. For tests only; doctor complains."""


class Mqtt(Struct, forbid_unknown_fields=True):
    host: str = ""
    """Empty = no link: the agent works offline and keeps its records. Several, separated by
    commas and each with its own ``:port`` if need be, are tried in this order."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    username: str = ""
    password_file: str = ""
    prefix: Prefix = "edgeagent"
    tls: Tls | None = None
    keepalive: Duration = "20 s"
    version: Literal["auto", "5", "3.1.1"] = "auto"
    session_expiry: Duration = "7 d"


class Storage(Struct, forbid_unknown_fields=True):
    max: Size = "512 MiB"
    """Everything that the agent writes: the outbox (and as much again for a database that was set
    aside), evidence, models. Where it leaves too little, `outbox.max` and `outbox.blobs` are
    scaled down."""
    max_written_per_day: Size | None = None
    """What the agent may put on the medium a day, to spare flash; beyond it results get coarser
    (a gap tells). Absent = without limit."""
    data_dir: str = ""
    """Empty = /var/lib/edgeagent for the service, ~/.local/share/edgeagent else."""


class Durability(Struct, forbid_unknown_fields=True):
    events: Duration = "50 ms"
    results: Duration = "1 s"


class Outbox(Struct, forbid_unknown_fields=True):
    max: Size = "64 MiB"
    """Database and write-ahead log together; never above."""
    when_full: Literal["thin", "drop-oldest", "drop-newest"] = "thin"
    durability: Durability = field(default_factory=Durability)
    keep_sent: Duration = "1 h"
    blobs: Size = "64 MiB"
    queue: Annotated[int, Meta(ge=16)] = 4096
    """Records that may wait for the writing thread before a gap is recorded."""


_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_DAY = "(mon|tue|wed|thu|fri|sat|sun)"
QuietWindow = Annotated[
    str,
    Meta(
        pattern=rf"^({_DAY}(-{_DAY})? )?{_TIME}-{_TIME}" + _END,
        description='a time of the day such as "22:00-06:00" or "mon-fri 08:00-18:00"',
    ),
]


class Allowance(Struct, forbid_unknown_fields=True):
    """Bytes sent and received; what is left out is not limited."""

    hour: Size | None = None
    day: Size | None = None
    month: Size | None = None


class Budget(Struct, forbid_unknown_fields=True):
    """Bytes on a metered link: what has no budget left waits, status and answers only count."""

    total: Allowance | None = None
    events: Allowance | None = None
    """Events, deployments and gaps."""
    results: Allowance | None = None
    """All other records."""
    evidence: Allowance | None = None
    updates: Allowance | None = None
    state: Allowance | None = None
    """What is retained for automations, and pictures for people."""
    metrics: Allowance | None = None
    quiet: list[QuietWindow] = field(default_factory=list)
    """Times (of ``device.timezone``) in which nothing but events, status and answers goes out."""
    month_begins: Annotated[int, Meta(ge=1, le=28)] = 1
    """Day on which the tariff's month begins."""


class Sync(Struct, forbid_unknown_fields=True):
    confirm: Literal["broker", "collector"] = "broker"
    collectors: list[Id] = field(default_factory=lambda: ["main"])
    max_message: Size = "64 KiB"
    encoding: Literal["json", "msgpack"] = "json"
    compression: Literal["zlib", "none"] = "zlib"
    resend_after: Duration = "30 s"
    window: Annotated[int, Meta(ge=1, le=100)] = 20
    linger: Duration = "200 ms"
    """How long a batch may wait to be filled."""
    budget: Budget = field(default_factory=Budget)


class Privacy(Struct, forbid_unknown_fields=True):
    pictures: Literal["never", "events", "asked"] = "events"


CommandType = Literal[
    "ping", "doctor", "config-get", "logs", "pipeline", "capture", "infer", "explain", "bench",
    "tune", "model-rollback", "model-hold", "model-unhold", "outbox", "support-bundle", "drill",
    "identify", "restart", "cancel",
]  # fmt: skip


class Commands(Struct, forbid_unknown_fields=True):
    allow: list[CommandType] = field(
        default_factory=lambda: [
            "ping", "doctor", "config-get", "pipeline", "outbox", "bench", "logs",
            "model-rollback", "cancel",
        ]
    )  # fmt: skip
    max_age: Duration = "7 d"


class Trust(Struct, forbid_unknown_fields=True):
    require_signature: Literal["never", "protected", "always"] = "protected"


class Metrics(Struct, forbid_unknown_fields=True):
    every: Duration = "60 s"


# --- sources -------------------------------------------------------------------------------


class SourceKeys(Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Keys that every source has."""

    fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    """Samples per second wanted; absent = the source's own rate."""
    mask: list[Polygon] = field(default_factory=list)
    """Polygons in 0..1 that are blackened before anything else sees the frame."""
    queue: Annotated[int, Meta(ge=1, le=256)] = 2
    """Newest samples kept for a slow pipeline (live) or read ahead (files)."""


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
    """JSON lines (one object a row) or a CSV with a header."""
    channels: list[str] = field(default_factory=list)
    """Columns to read, in order; empty = all but the time."""
    time: str = ""
    """Column of the time in seconds; empty = rows are `rate_hz` apart."""
    rate_hz: Positive | None = None
    pace: Literal["true", "max"] = "max"
    loop: bool = False


class CsvConfig(ReplayConfig, tag="csv", kw_only=True):
    pass


class AudioConfig(SourceKeys, tag="audio", kw_only=True):
    path: str
    """A WAV file."""
    channel: Annotated[int, Meta(ge=0)] = 0
    pace: Literal["true", "max"] = "max"
    loop: bool = False


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


class PluginConfig(SourceKeys, tag="plugin", kw_only=True):
    plugin: str
    options: dict[str, Any] = field(default_factory=dict)


SourceConfig = Union[
    CameraConfig, RtspConfig, MjpegConfig, ImagesConfig, VideoConfig, ReplayConfig, CsvConfig,
    AudioConfig, SyntheticConfig, PluginConfig,
]  # fmt: skip


# --- pipelines -----------------------------------------------------------------------------


class Zone(Struct, forbid_unknown_fields=True):
    polygon: Polygon


class Line(Struct, forbid_unknown_fields=True):
    """Counts what crosses it, by direction."""

    points: tuple[Point, Point]
    """Seen from the first point towards the second, what goes from left to right goes in."""
    anchor: Literal["foot", "middle"] = "foot"
    """Which point of a thing crosses: the middle of its box's lower edge, or of the box (for a
    camera that looks straight down)."""


class Rule(Struct, forbid_unknown_fields=True):
    when: str
    do: list[str] = field(default_factory=lambda: ["event"])
    """What to do while it holds: event, snapshot, clip (both ask for an event too), state."""
    name: str = ""
    """Under which `state` stands in the pipeline's state document; empty = `when` itself."""


class Clip(Struct, forbid_unknown_fields=True):
    """Moving pictures around the beginning of an event."""

    before: Duration = "5 s"
    after: Duration = "5 s"
    fps: Annotated[float, Meta(gt=0, le=30)] = 5.0
    width: Pixels = 640
    """Larger pictures are scaled down to it."""
    max: Size = "4 MiB"
    """Of memory for the pictures before an event, and of one clip; fewer pictures beyond."""


class Limit(Struct, forbid_unknown_fields=True):
    """How many events a pipeline may begin, whatever its detector sees."""

    events: Annotated[int, Meta(ge=1, le=100_000)] = 120
    per: Duration = "1 min"


class Redact(Struct, forbid_unknown_fields=True):
    labels: list[str] = field(default_factory=list)
    model: str = ""
    method: Literal["fill", "blur", "pixelate"] = "pixelate"
    margin: Annotated[float, Meta(ge=0, le=2)] = 0.15
    """Share of the box added on each side."""
    hold: Duration = "1 s"
    """How long a box goes on being hidden after its last detection."""


class RecordWhat(Struct, forbid_unknown_fields=True):
    events: bool = True
    every: Annotated[int, Meta(ge=0)] = 0
    """Record the result of every n-th sample as well; 0 = events only."""


class Runtime(Struct, forbid_unknown_fields=True):
    """How the model is run; absent = measured or default."""

    variant: str = ""
    """File name or runtime of the variant to use; empty = the first that works."""
    threads: Annotated[int, Meta(ge=1, le=64)] | None = None
    delegate: str = ""
    provider: str = ""
    require: bool = False
    """Refuse to fall back to the CPU."""
    options: dict[str, str] = field(default_factory=dict)


class Refine(Struct, forbid_unknown_fields=True):
    """A second model, asked about the parts of the frame where the first one found something."""

    model: str
    version: str = ""
    """Version of the model; empty = the newest that is committed on this device."""
    labels: list[str] = field(default_factory=list)
    """Of the first model, which it is asked about; empty = all."""
    threshold: Unit | None = None
    """In place of the model's own. A label below it is told as "unknown", a text is not told."""
    gallery: str = ""
    """A file of known vectors for a model that embeds, made by `models gallery`."""
    crop: Literal["auto", "box", "quad"] = "auto"
    """`quad` = the four points of a detection, straightened; `auto` = where it has four."""
    margin: Annotated[float, Meta(ge=0, le=2)] = 0.0
    """Share of the box added on each side."""
    at_most: Annotated[int, Meta(ge=1, le=256)] = 8
    """Parts of one frame."""
    budget: Duration = "100 ms"
    """Time in one frame; what does not fit is asked in the next. One part is always asked."""
    every: Annotated[int, Meta(ge=1, le=10000)] = 5
    """Frames after which a track is asked again …"""
    until: Annotated[float, Meta(ge=0, le=2)] = 0.8
    """… as long as its best score is below this. Above 1 = for ever; then the newest answer
    counts, not the best."""
    runtime: Runtime = field(default_factory=Runtime)


class Pipeline(Struct, forbid_unknown_fields=True):
    model: str
    source: str = ""
    sources: dict[str, str] = field(default_factory=dict)
    threshold: Annotated[float, Meta(ge=0)] | None = None
    """In place of the model's own: a score (0..1), or the score of an anomaly."""
    version: str = ""
    """Version of the model; empty = the newest that is committed on this device."""
    enabled: bool = True
    record: RecordWhat = field(default_factory=RecordWhat)
    zones: dict[str, Zone] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    clip: Clip | None = None
    limit: Limit = field(default_factory=Limit)
    redact: Redact | None = None
    refine: dict[Id, Refine] = field(default_factory=dict)
    """Second models, by the name under which their answers stand in records."""
    runtime: Runtime = field(default_factory=Runtime)
    snapshot: bool = False
    """Keep a (redacted) picture with each new event."""
    on: Annotated[int, Meta(ge=1, le=100)] = 2
    """Samples in a row that must say so before an event starts."""
    off: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Samples in a row without it before the event ends."""
    live: bool = False
    image: bool = False
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    """When the outbox is full: each step keeps twice as many of its results."""
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """When the outbox is full: the part of it that this pipeline's results may take; with twice
    as much half of them are kept."""


class Serve(Struct, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:8000"


class Models(Struct, forbid_unknown_fields=True):
    path: list[str] = field(default_factory=list)
    """Further folders with model packages, searched before those that are shipped."""


class Config(Struct, forbid_unknown_fields=True):
    """All of agent.toml."""

    device: Device = field(default_factory=Device)
    mqtt: Mqtt = field(default_factory=Mqtt)
    storage: Storage = field(default_factory=Storage)
    outbox: Outbox = field(default_factory=Outbox)
    sync: Sync = field(default_factory=Sync)
    privacy: Privacy = field(default_factory=Privacy)
    commands: Commands = field(default_factory=Commands)
    trust: Trust = field(default_factory=Trust)
    metrics: Metrics = field(default_factory=Metrics)
    sources: dict[Id, SourceConfig] = field(default_factory=dict)
    pipelines: dict[Id, Pipeline] = field(default_factory=dict)
    serve: Serve | None = None
    models: Models = field(default_factory=Models)


def to_builtins(config: Config) -> dict[str, Any]:
    """The configuration as plain tables, as it would stand in TOML."""
    # By way of JSON: msgspec.to_builtins would keep tuples.
    tables: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    return tables
