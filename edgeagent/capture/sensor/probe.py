"""The port that every kind of sensor implements: open, read readings, close."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from msgspec import Struct, field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Batch(Struct, frozen=True):
    """Readings of all channels of a probe at common times."""

    times: Floats
    """(n,), seconds of time.monotonic(), later than those of the batch before."""
    values: Floats
    """(n, channels) as they were read; NaN = there is none."""
    hole: bool = False
    """Whether readings are missing before the first one, nobody knows how many."""


class Faults(Struct):
    """What a probe could not use, for people."""

    count: int = 0
    last: str = ""
    since: dict[str, float] = field(default_factory=dict)
    """Channel → monotonic time since which it has failed in a row."""

    def add(self, text: str, channel: str = "") -> None:
        """Count one; ``channel`` = whose reading it was."""
        self.count += 1
        self.last = text
        if channel:
            self.since.setdefault(channel, time.monotonic())

    def well(self, channel: str) -> None:
        """A channel could be read."""
        self.since.pop(channel, None)


@runtime_checkable
class Probe(Protocol):
    """One device that is asked, or one that sends by itself."""

    name: str
    """For people: ``iio adxl345``."""
    faults: Faults

    @property
    def channels(self) -> tuple[str, ...]:
        """Known after `open`, or (a stream without configured channels) after the first batch."""
        ...

    def open(self) -> None:
        """Get ready. Raises SourceLost, NotPermitted, Busy, ConfigError."""

    def read(self, until: float) -> Batch | None:
        """Readings that came before ``until`` (monotonic seconds); None = none did. Returns
        soon after the first ones, with all that are there.

        Raises:
            SourceLost: the device is gone, or gives nothing that can be used.
            SourceEnded: a stream is at its end.
        """

    def close(self) -> None:
        """Let go of everything; may be called twice."""


def batch(times: list[float], rows: list[list[float]], hole: bool = False) -> Batch:
    """Readings as arrays."""
    return Batch(np.array(times, np.float64), np.array(rows, np.float64), hole)
