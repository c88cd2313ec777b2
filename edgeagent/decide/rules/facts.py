"""What a rule can ask, and what is known when it asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct, field

Kind = Literal["text", "zones", "lines", "number", "duration", "time", "list", "span"]

NAMES: dict[str, Kind] = {
    "label": "text",
    "pipeline": "text",
    "zone": "zones",
    "zones": "zones",
    "line": "lines",
    "lines": "lines",
    "score": "number",
    "age": "duration",
    "still": "duration",
    "track": "number",
    "count": "number",
    "speed": "number",
    "value": "number",
    "time": "time",
    "day": "text",
    "clock": "text",
    "refined": "text",
}
"""Names and their kinds. ``age``: since it was first seen; ``still``: since it last moved;
``count``: things of this label in this sample; ``speed``: of its foot, in frame sizes a second;
``value``: a regression's value or an anomaly's score; ``time``, ``day``: local, by
``device.timezone``; ``clock``: synced or unsynced; ``refined``: what the first second model that
has an answer calls it."""

CALLS: dict[str, tuple[Kind, str]] = {
    "count": ("number", "label"),
    "inside": ("number", "zone"),
    "dwell": ("duration", "zone"),
    "crossed": ("number", "line"),
    "value": ("number", "reading"),
    "plugin": ("number", "rule"),
}
"""Names that are asked about something: what they give, and what stands in their brackets.
``count('person')``: such things in this sample; ``inside('door')``: things that stand in that
zone; ``dwell('door')``: how long this one has stood in it; ``crossed('gate')``,
``crossed('gate:in')``: crossings since the pipeline began; ``value('motor')``,
``value('motor.rms')``, ``value('imu.x')``: the newest value of another pipeline or of a source's
channel, unless it is older than a minute. ``plugin('queue')``: what an installed rule says of this
one."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WORDS_OF = {"day": DAYS, "clock": ("synced", "unsynced")}
"""The only texts that these names can equal."""


def unasked(_facts: Facts) -> float:
    """What a rule would say that was not asked then."""
    return math.nan


class Scene(Struct, eq=False):
    """What is the same for all things of one sample."""

    counts: Mapping[str, int] = field(default_factory=dict)
    inside: Mapping[str, int] = field(default_factory=dict)
    crossed: Mapping[str, int] = field(default_factory=dict)
    """By line and by ``line:way``."""
    values: Mapping[str, float] = field(default_factory=dict)
    """By reading; what is not there is not known."""
    time: float = math.nan
    """Seconds since the local midnight as a wall clock shows it; NaN = not to be trusted."""
    day: str = ""
    clock: str = "unsynced"
    plugins: Mapping[str, Callable[[Facts], float]] = field(default_factory=dict)
    """Rules of plugins that are asked, by name."""


NOWHERE = Scene()


class Facts(Struct):
    """What is known of one thing in one sample; what a rule is asked about."""

    label: str
    score: float
    pipeline: str = ""
    zones: tuple[str, ...] = ()
    age: float = 0.0
    """Seconds."""
    track: int = 0
    count: int = 1
    speed: float = 0.0
    value: float = math.nan
    refined: str = ""
    lines: tuple[str, ...] = ()
    """Lines that it has crossed, each also with the way of the last time: gate, gate:in."""
    still: float = 0.0
    """Seconds."""
    dwell: Mapping[str, float] = field(default_factory=dict)
    """Seconds in the zones that it stands in."""
    scene: Scene = field(default_factory=lambda: NOWHERE)
    plugged: dict[str, float] = field(default_factory=dict)
    """What plugins' rules have said of it, as far as they were asked."""
