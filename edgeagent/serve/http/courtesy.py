"""Cameras come first: the server's thread stands still while a pipeline works on a sample.

The interpreter is one for all. A server that is asked more than it can do takes it up again and
again, and a pipeline that needs it a dozen times for a sample waits each time; being nicer does not
help, because whoever is put aside while holding the interpreter holds up the others. Standing still
for the few milliseconds of a sample does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_S = 0.006
"""It stands still for so long at once …"""
SLICE_S = 0.002
"""… and works for so long before it does so again: pipelines that never rest leave it that."""
_LOOK_S = 0.0003


class Courtesy:
    """Called on the server's thread before each piece of work.

    ``ahead``: whether a pipeline is at work; it is asked often, so it must be cheap.
    """

    def __init__(self, ahead: Callable[[], bool]) -> None:
        self._ahead = ahead
        self._longest_s = LONGEST_S
        self._free_until = 0.0
        self.waited_s = 0.0

    def __call__(self) -> None:
        """Return when no pipeline is at work, or when it has stood still for long enough."""
        if not self._ahead():
            return
        began = now = time.perf_counter()
        if now < self._free_until:
            return
        while now - began < self._longest_s and self._ahead():
            time.sleep(_LOOK_S)
            now = time.perf_counter()
        if now - began >= self._longest_s:
            self._free_until = now + SLICE_S
        self.waited_s += now - began
