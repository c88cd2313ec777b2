"""The configuration as Structs (contract §10). Every key has a default except names.

The Structs say what may be written; `check` finds all faults of a file at once, `load` merges
the layers. Docstrings of fields become the reference page and the JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from edgeagent.config.governor import Governor
from edgeagent.config.pipelines import (
    Clip,
    Expect,
    Gate,
    Limit,
    Line,
    Motion,
    Pipeline,
    RecordWhat,
    Redact,
    Refine,
    Rule,
    Runtime,
    Trigger,
    Zone,
)
from edgeagent.config.privacy import Privacy, Retention
from edgeagent.config.sensors import (
    ModbusConfig,
    MqttConfig,
    SensorKeys,
    SerialConfig,
    SourceConfig,
    SysfsConfig,
)
from edgeagent.config.serving import Serve, ServedModel, ServeTls, Split
from edgeagent.config.sight import Sight
from edgeagent.config.sources import (
    AudioConfig,
    CameraConfig,
    CommandConfig,
    CsvConfig,
    FolderConfig,
    ImagesConfig,
    Mishap,
    MjpegConfig,
    PluginConfig,
    ReplayConfig,
    RtspConfig,
    SnapshotConfig,
    SourceKeys,
    SyntheticConfig,
    VideoConfig,
)
from edgeagent.config.units import Duration, Size
from edgeagent.config.values import (
    END,
    NAME,
    Id,
    Pixels,
    Point,
    Polygon,
    Positive,
    Prefix,
    QuietWindow,
    Share,
    Unit,
)

__all__ = [
    "Allowance",
    "AudioConfig",
    "Budget",
    "CameraConfig",
    "Clip",
    "CommandConfig",
    "CommandType",
    "Commands",
    "Config",
    "CsvConfig",
    "Device",
    "Durability",
    "FolderConfig",
    "Gate",
    "Governor",
    "ImagesConfig",
    "Limit",
    "Line",
    "Metrics",
    "Mishap",
    "MjpegConfig",
    "ModbusConfig",
    "Models",
    "Motion",
    "Mqtt",
    "MqttConfig",
    "Outbox",
    "Pipeline",
    "Pixels",
    "PluginConfig",
    "Plugins",
    "Point",
    "Polygon",
    "Positive",
    "Prefix",
    "Privacy",
    "QuietWindow",
    "RecordWhat",
    "Expect",
    "Redact",
    "Refine",
    "ReplayConfig",
    "Retention",
    "RtspConfig",
    "Rule",
    "Runtime",
    "SensorKeys",
    "SerialConfig",
    "Serve",
    "ServeTls",
    "ServedModel",
    "Share",
    "Sight",
    "SnapshotConfig",
    "SourceConfig",
    "SourceKeys",
    "Split",
    "Storage",
    "Sync",
    "SyntheticConfig",
    "SysfsConfig",
    "Tls",
    "Trigger",
    "Trust",
    "Unit",
    "VideoConfig",
    "Zone",
    "to_builtins",
]


class Device(Struct, forbid_unknown_fields=True):
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}" + END, description=NAME)] = ""
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
    home_assistant: bool = False
    """Describe this device to Home Assistant, by MQTT discovery."""


class Storage(Struct, forbid_unknown_fields=True):
    max: Size = "512 MiB"
    """Everything that the agent writes: the outbox (and as much again for a database that was set
    aside), evidence, models. Where it leaves too little, `outbox.max` and `outbox.blobs` are
    scaled down."""
    max_written_per_day: Size | None = None
    """What the agent may put on the medium a day, to spare flash; beyond it results get coarser
    (a gap tells). Absent = without limit."""
    decisions: Size = "4 MiB"
    """What was seen and decided lately, for `edgeagent why`; "0 B" = the last minutes only, in
    memory."""
    pool: Size = "64 MiB"
    """Samples that pipelines keep to be labelled (`pipelines.X.pool`), of all together."""
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


CommandType = Literal[
    "ping", "doctor", "why", "config-get", "logs", "pipeline", "capture", "infer", "explain",
    "bench", "tune", "model-rollback", "model-hold", "model-unhold", "outbox", "support-bundle",
    "drill", "identify", "restart", "drift", "pool", "privacy-report", "purge", "cancel",
]  # fmt: skip


class Commands(Struct, forbid_unknown_fields=True):
    allow: list[CommandType] = field(
        default_factory=lambda: [
            "ping", "doctor", "why", "config-get", "pipeline", "outbox", "bench", "logs",
            "model-rollback", "cancel",
        ]
    )  # fmt: skip
    max_age: Duration = "7 d"


class Trust(Struct, forbid_unknown_fields=True):
    require_signature: Literal["never", "protected", "always"] = "protected"
    """Which commands and desired states count only with an operator's signature."""
    operators: str = "/etc/edgeagent/operators"
    """Folder with the public keys of operators, ``{name}.pub``."""
    root: str = "/etc/edgeagent/root.json"
    """The fleet's first root metadata, by which models are trusted (`fleet init` writes it).
    Where there is no such file, models come by hand only."""
    repository: str = "mqtt"
    """Where models and their metadata come from: ``mqtt``, an http(s) URL or a folder; several,
    separated by commas, are tried in this order."""
    rate: Size | None = None
    """Bytes a second that a transfer may take at most. Absent = without limit."""


class Metrics(Struct, forbid_unknown_fields=True):
    every: Duration = "60 s"


class Models(Struct, forbid_unknown_fields=True):
    path: list[str] = field(default_factory=list)
    """Further folders with model packages, searched before those that are shipped."""
    keep: Annotated[int, Meta(ge=2, le=50)] = 2
    """Versions of a model that stay on the device: the one that runs, the one before it, …"""
    tuned: bool = True
    """Run models as `edgeagent tune` chose for this device, where a pipeline's `runtime` does not
    say otherwise."""
    retune: bool = True
    """Tune a model that was tuned here again when what was chosen does not hold any more (other
    cores, kernel, runtime or version of the model; or it has become slow): in a child process at
    the lowest priority, while nothing else is going on."""
    sessions: Annotated[int, Meta(ge=1, le=64)] | None = None
    """Sessions of one model, which all pipelines that run it in the same way share in turns by
    `priority`. Absent = one on an accelerator, else as many as there are processors for."""


class Plugins(Struct, forbid_unknown_fields=True):
    """Code that model packages bring (`handler.py`)."""

    packaged: bool = False
    """Run it, if it is signed: in a process of its own that reaches neither network nor files."""
    timeout: Duration = "1 s"
    """For one call; then its process is ended and started again."""
    memory: Size = "128 MiB"
    """What it may take beside Python and numpy."""


class Config(Struct, forbid_unknown_fields=True):
    """All of agent.toml."""

    device: Device = field(default_factory=Device)
    mqtt: Mqtt = field(default_factory=Mqtt)
    storage: Storage = field(default_factory=Storage)
    outbox: Outbox = field(default_factory=Outbox)
    sync: Sync = field(default_factory=Sync)
    privacy: Privacy = field(default_factory=Privacy)
    retention: Retention = field(default_factory=Retention)
    commands: Commands = field(default_factory=Commands)
    trust: Trust = field(default_factory=Trust)
    metrics: Metrics = field(default_factory=Metrics)
    sources: dict[Id, SourceConfig] = field(default_factory=dict)
    pipelines: dict[Id, Pipeline] = field(default_factory=dict)
    serve: Serve | None = None
    models: Models = field(default_factory=Models)
    plugins: Plugins = field(default_factory=Plugins)
    governor: Governor = field(default_factory=Governor)


def to_builtins(config: Config) -> dict[str, Any]:
    """The configuration as plain tables, as it would stand in TOML."""
    # By way of JSON: msgspec.to_builtins would keep tuples.
    tables: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    return tables
