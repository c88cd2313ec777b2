"""How long to wait before the next connection.

Exponential with jitter, so that a fleet does not return to a restarted broker at one instant.
A refusal that only a person can cure waits longer than a lost network, and a lost fight over
a client id longest: two devices with one id would otherwise throw each other out once a
second for ever. The count is forgotten only after a connection that held for a while, so a
broker that accepts and hangs up at once is not hammered either.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from msgspec import Struct, field

from edgeagent.sync.reasons import Kind

Range = tuple[float, float]

RANGES: Mapping[str, Range] = {
    "network": (0.5, 30.0),
    "protocol": (0.5, 30.0),
    "size": (0.5, 30.0),
    "payload": (2.0, 60.0),
    "retain": (0.5, 30.0),
    "version": (0.5, 60.0),
    "busy": (5.0, 120.0),
    "denied": (10.0, 300.0),
    "taken": (60.0, 900.0),
}
"""First and longest wait in seconds, by kind of reason."""


class Backoff(Struct):
    """Waits between connections."""

    ranges: Mapping[str, Range] = field(default_factory=lambda: RANGES)
    stable_s: float = 10.0
    """A connection that held this long ends a row of failures (for a lost fight over the
    client id, four times its last wait)."""
    source: random.Random = field(default_factory=random.Random)
    _kind: Kind = "network"
    _row: int = 0
    _last: float = 0.0

    def held(self, seconds: float) -> None:
        """A connection has ended that was up for so long."""
        needed = self.stable_s
        if self._kind == "taken":
            needed = max(needed, 4 * self._last)
        if seconds >= needed:
            self._row = 0

    @property
    def settled(self) -> bool:
        """Whether no failure is remembered."""
        return self._row == 0

    def next(self, kind: Kind) -> float:
        """Seconds to wait, between 1/5 and all of the present step."""
        if kind != self._kind:
            self._kind, self._row = kind, 0
        first, longest = self.ranges[kind]
        step = min(longest, first * 2.0 ** min(self._row, 32))
        self._row += 1
        self._last = self.source.uniform(step / 5, step)
        return self._last
