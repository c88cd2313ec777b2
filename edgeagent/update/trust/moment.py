"""What time it is at least: signed metadata expires, and a board may wake in 1970.

The floor is the newest of: when this agent was built, the last time at which metadata was found
valid by a trusted clock, and the system's clock where it is synchronised. Because a time is
stored only after a refresh that held at that time, a clock that was once wrong (2040) can't lock
the device out: nobody has signed metadata that is valid then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from edgeagent import clock as system_clock
from edgeagent.clock import BUILD_TIME_S, rfc3339
from edgeagent.durable import replace

_NS = 1_000_000_000


class Clock(Protocol):
    def wall_ns(self) -> int: ...
    def synced(self) -> bool: ...


class _Stored(Struct):
    trusted_ns: int = 0


class Moment:
    """The floor, kept in a small file."""

    def __init__(self, file: Path, clock: Clock = system_clock) -> None:
        self._file = file
        self._clock = clock

    def floor_ns(self) -> int:
        """Nanoseconds since 1970 that have passed for certain."""
        now = self._clock.wall_ns() if self._clock.synced() else 0
        return max(BUILD_TIME_S * _NS, self._stored(), now)

    def reference(self) -> str:
        """The floor, RFC 3339."""
        return rfc3339(self.floor_ns()).replace("Z", "+00:00")

    def held(self) -> None:
        """Metadata was valid at the floor: nothing before it is ever believed again.

        Raises StoreError and its kinds.
        """
        floor = self.floor_ns()
        if floor > self._stored():
            replace(self._file, msgspec.json.encode(_Stored(floor)))

    def _stored(self) -> int:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Stored).trusted_ns
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return 0  # Gone or damaged: the other two still hold.
