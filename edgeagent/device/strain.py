"""What strains a board now, as the governor wants to know it: one look at the kernel's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from edgeagent.device import health

_HELD_BACK = 0.95
"""A processor that may run at less of its frequency than that is held back."""


class Strain(Struct, frozen=True):
    """None or empty = this board does not tell."""

    degrees: float | None = None
    zone: str = ""
    """Which thermal zone that is."""
    slowed: tuple[str, ...] = ()
    """Why the board makes its processor slower now."""
    frequency: float | None = None
    """Share of its highest frequency that the processor may use."""
    cpu: float | None = None
    """% of the last 10 s in which something waited for a processor."""
    memory: float | None = None
    """% of the last 10 s in which something waited for memory."""
    free: float | None = None
    """Part of the memory that could be had, 0..1."""

    def sentence(self, limit_c: float) -> str:
        """The heat, and what the board does about it, for people."""
        said = []
        if self.degrees is not None:
            said.append(f"{self.zone} is at {self.degrees:.0f} °C (limit {limit_c:g} °C)")
        if self.slowed:
            said.append(f"the board slows down: {', '.join(self.slowed)}")
        if self.slowed and self.frequency is not None and self.frequency < _HELD_BACK:
            said.append(f"its processor may use {self.frequency:.0%} of its frequency")
        return ", ".join(said)


def look(zones: Sequence[str] = (), root: Path = health.ROOT) -> Strain:
    """The strain now.

    Args:
        zones: types of thermal zones that count, the most telling first.
        root: of the file system; another one for tests.
    """
    hot = health.temperature(zones, root)
    slow = health.throttle(root)
    pressure = health.pressure(root)
    return Strain(
        degrees=hot[1] if hot else None,
        zone=hot[0] if hot else "",
        slowed=slow.now if slow else (),
        frequency=health.frequency(root),
        cpu=pressure.get("cpu"),
        memory=pressure.get("memory"),
        free=health.free_share(root),
    )
