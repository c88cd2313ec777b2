"""The newest values of all pipelines and sensors, for rules that look beyond their own.

Written by the pipelines' threads, read by any.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable

STALE_S = 60.0
"""A value that is older is not known any more."""


class Readings:
    """Values by name: ``motor``, ``motor.rms`` (a pipeline), ``imu.x`` (a source's channel).

    Only what some rule asks for is kept.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._values: dict[str, tuple[float, float]] = {}
        self.wanted: frozenset[str] = frozenset()

    def want(self, names: Iterable[str]) -> None:
        """From now on keep these too."""
        with self._lock:
            self.wanted = self.wanted | frozenset(names)

    def note(self, name: str, value: float) -> None:
        """A new value, which is kept if somebody wants it."""
        if name in self.wanted:
            self._values[name] = value, self._now()

    def get(self, name: str) -> float:
        """The newest value; NaN where there is none or it is stale."""
        value, at = self._values.get(name, (math.nan, -math.inf))
        return value if self._now() - at <= STALE_S else math.nan
