"""Decisions as they are kept: what was seen in each sample, and what became of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from edgeagent.decide.thought import Setup

if TYPE_CHECKING:
    from edgeagent.decide.rules import Facts


class Seen(Struct, omit_defaults=True):
    """One thing in one sample, and what became of it.

    ``verdict``: low (below the threshold) · rule (none holds) · few (not often enough yet) ·
    median (of its last scores, too low) · limit (too many events) · event (it is one) · twin
    (another of its label stands for it) · unrecorded (events are off).
    """

    label: str = ""
    score: float = 0.0
    verdict: str = "event"
    phase: str = ""
    event: str = ""
    hits: int = 0
    median: float = -1.0
    threshold: float | None = None
    """An anomaly's own."""
    zones: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    age: float = 0.0
    track: int = 0
    count: int = 1
    speed: float = 0.0
    value: float | None = None
    refined: str = ""
    still: float = 0.0
    dwell: dict[str, float] = field(default_factory=dict)
    plugged: dict[str, float] = field(default_factory=dict)
    scene: dict[str, Any] = field(default_factory=dict)
    """What else rules could ask."""

    def facts(self, pipeline: str) -> Facts:
        """As a rule was asked about it."""
        from edgeagent.decide.rules import Facts, Scene  # who only keeps blocks needs no rules

        its = self.scene
        scene = Scene(
            its.get("counts", {}), its.get("inside", {}), its.get("crossed", {}),
            its.get("values", {}), its.get("time", math.nan), its.get("day", ""),
            its.get("clock", "unsynced"),
        )  # fmt: skip
        value = math.nan if self.value is None else self.value
        return Facts(
            self.label, self.score, pipeline, self.zones, self.age, self.track, self.count,
            self.speed, value, self.refined, self.lines, self.still, self.dwell, scene,
            dict(self.plugged),
        )  # fmt: skip


class Step(Struct, omit_defaults=True):
    """One sample, or several alike in a row."""

    ms: float
    """CLOCK_BOOTTIME."""
    frame: int = 0
    seen: list[Seen] = field(default_factory=list)
    held: str = ""
    """Why there was no inference: ``gate: still``, ``paused``, ``skipped: …``, ``failed: …``"""
    count: int = 1
    last_ms: float = 0.0
    """Of the last of several."""


class State(Struct, omit_defaults=True):
    """How the agent was from then on."""

    ms: float
    state: str
    reasons: tuple[str, ...] = ()
    """``unit: what is wrong with it``"""
    link: tuple[str, ...] = ()
    """What keeps records from being sent."""


class Block(Struct, omit_defaults=True):
    """What is kept together: some time of one pipeline, or of the agent (no pipeline)."""

    pipeline: str
    boot: str
    session: str
    """Keys of events are those of one run of the agent."""
    ahead_ms: float
    """Wall clock less CLOCK_BOOTTIME."""
    synced: bool = False
    """Whether the wall clock could be trusted."""
    setup: Setup = field(default_factory=Setup)
    source: str = ""
    steps: list[Step] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)
    """Key of an event → seq of its first record."""
    lost: int = 0
    """Samples that were not noted, because nobody took them in time."""
    states: list[State] = field(default_factory=list)
    until_ms: float = 0.0
    """CLOCK_BOOTTIME when it was made: until then the agent has run."""
    losses: dict[str, dict[str, int]] = field(default_factory=dict)
    """Source → samples dropped, stale, corrupt … since it began."""
