"""Pipelines in the configuration: places, rules, privacy, second models, runtimes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from edgeagent.config.drift import Drift, Pool
from edgeagent.config.units import Duration, Size
from edgeagent.config.values import (
    Id,
    Pixels,
    Point,
    Polygon,
    QuietWindow,
    Unit,
)


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
    """What to do while it holds: event, snapshot, clip (both ask for an event too), state, or an
    action that a plugin offers: it is told when the event begins and when it ends."""
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


class Motion(Struct, forbid_unknown_fields=True):
    """Only samples in which something moves."""

    zones: list[Id] = field(default_factory=list)
    """Zones of the pipeline in which movement counts; empty = all of the picture."""
    area: Annotated[float, Meta(gt=0, lt=1)] = 0.0015
    """Share of the picture that must have changed."""
    contrast: Annotated[float, Meta(ge=2, le=128)] = 10.0
    """Levels (of 255) by which something must differ from what was there before."""
    hold: Duration = "2 s"
    """How long samples go on passing once nothing moves any more; long enough for events to end."""


class Trigger(Struct, forbid_unknown_fields=True):
    """Only while another pipeline has an open event."""

    pipeline: Id
    labels: list[str] = field(default_factory=list)
    """Labels of that event; empty = any."""
    zones: list[str] = field(default_factory=list)
    """Zones that it must be in; empty = any place."""
    hold: Duration = "5 s"
    """How long after its end."""


class Gate(Struct, forbid_unknown_fields=True):
    """Which samples are worth an inference. All that is given must agree."""

    motion: Motion | None = None
    min_fps: Annotated[float, Meta(ge=0, le=1000)] = 0.1
    """Samples a second that pass although nothing moves."""
    max_fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    """Samples a second that pass at most."""
    schedule: list[QuietWindow] = field(default_factory=list)
    """Times (of ``device.timezone``) in which samples pass; empty = always. While the time is not
    known they do."""
    trigger: Trigger | None = None


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


class Expect(Struct, forbid_unknown_fields=True):
    """What a new version of the model must keep to, whatever the old one did."""

    events_per_hour: tuple[Annotated[float, Meta(ge=0)], Annotated[float, Meta(ge=0)]] | None = None
    """The least and the most that begin in an hour."""
    p95_ms: Annotated[float, Meta(gt=0)] | None = None
    """One sample in 20 may take longer."""


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
    """In place of `source`, for a model with several inputs: input → source. The first one leads:
    there is one result for each of its samples."""
    within: Duration = "1 s"
    """How far apart in time the samples of `sources` may be; without a partner that is so near, one
    is skipped and counted."""
    channels: dict[str, str] = field(default_factory=dict)
    """Names of the model's channels → those of the source, where they differ."""
    threshold: Annotated[float, Meta(ge=0)] | None = None
    """In place of the model's own: a score (0..1), or the score of an anomaly."""
    version: str = ""
    """Version of the model; empty = the newest that is committed on this device."""
    enabled: bool = True
    record: RecordWhat = field(default_factory=RecordWhat)
    zones: dict[str, Zone] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options of the rules and actions of plugins, by their names."""
    clip: Clip | None = None
    limit: Limit = field(default_factory=Limit)
    gate: Gate | None = None
    """Which samples are worth an inference; absent = all."""
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
    drift: Drift | bool = True
    """Whether what it sees and says is still as usual; `false` = nobody looks."""
    pool: Pool | None = None
    """Which samples are kept to be labelled; absent = none."""
    expect: Expect | None = None
    """What is rolled back if a new version of the model does not keep to it."""
    unload_after: Duration | None = None
    """Its model is unloaded when no sample was worth an inference for so long, and loaded again at
    the next that is. Absent = never. With a `gate`, set `min_fps = 0`."""
    live: bool = False
    """Publish what is found in every sample on `live/{pipeline}`, for people who watch: not kept,
    not counted."""
    image: bool = False
    """Publish the last picture of an event (redacted, see `snapshot`), retained."""
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    """When the outbox is full, each step keeps twice as many of its results; of a session that is
    shared it gets twice the time; the lowest rests first when the device can't do all."""
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """When the outbox is full: the part of it that this pipeline's results may take; with twice
    as much half of them are kept."""
