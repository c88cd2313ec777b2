"""What was thought of one thing in one sample, and by which settings: for people who ask why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from edgeagent.decide.rules import Facts
    from edgeagent.types import Prediction


class Thought(Struct):
    """Of a candidate for an event. Made for each in each sample, so it holds references only."""

    prediction: Prediction | None
    """None = it was missed, and its event ends."""
    facts: Facts
    wanted: bool = False
    """Some rule holds for it, or there are no rules."""
    phase: str = ""
    """new, update or end, where a record tells it."""
    event: str = ""
    """Key of its event, while that lasts."""
    hits: int = 0
    """Samples in a row that wanted it."""
    median: float = -1.0
    """Of its last scores, where that is what was not enough."""
    refused: bool = False
    """The limit keeps it from being an event."""


class Setup(Struct, omit_defaults=True):
    """By what a pipeline decides."""

    model: str = ""
    config: str = ""
    """Hash of the configuration."""
    threshold: float = 0.0
    on: int = 1
    off: int = 1
    limit: str = ""
    """``120 in 1 min``"""
    events: bool = True
    """Whether events are recorded at all."""
    every: int = 0
    """Each so manieth result is recorded."""
    rules: list[tuple[str, str, bool]] = field(default_factory=list)
    """Name, ``when``, and whether it makes events."""
