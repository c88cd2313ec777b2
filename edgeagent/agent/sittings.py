"""Who looks at pictures by HTTP, from when to when: one sitting has a line at its beginning and one
at its end, not one for each picture."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from edgeagent import clock

IDLE_S = 30.0
"""Who asks for nothing for so long has gone."""
_MOST = 64
"""Sittings at a time; the one that has been idle longest ends for another."""
_NAMED = 10

Note = Callable[[str, str, dict[str, Any]], None]
"""(what, by, detail): keeps a line."""


class _Sitting(Struct):
    began: str
    last_s: float
    count: int = 0
    named: list[str] = field(default_factory=list)


class Sittings:
    """Those of one server. Any thread. Args: note: keeps a line."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._open: dict[tuple[str, str], _Sitting] = {}
        self._lock = threading.Lock()

    def looked(self, by: str, what: str, name: str = "") -> None:
        """Somebody is shown something; ``name`` = which picture, where it has a name. When it
        returns, that they look is on the medium."""
        now = time.monotonic()
        with self._lock:
            its = self._open.get((by, what))
            fresh = its is None
            if its is None:
                if len(self._open) >= _MOST:
                    self._end(min(self._open, key=lambda key: self._open[key].last_s))
                its = _Sitting(clock.rfc3339(clock.wall_ns()), now)
                self._open[by, what] = its
            its.last_s = now
            its.count += 1
            if name and name not in its.named and len(its.named) < _NAMED:
                its.named.append(name)
            if fresh:
                self._note(what, by, {"phase": "from", **({"first": name} if name else {})})

    def over(self) -> bool:
        """Whether some have ended. Never waits."""
        limit = time.monotonic() - IDLE_S
        return any(its.last_s < limit for its in list(self._open.values()))

    def tick(self) -> None:
        """Note the end of those that are over."""
        limit = time.monotonic() - IDLE_S
        with self._lock:
            for key in [key for key, its in self._open.items() if its.last_s < limit]:
                self._end(key)

    def stop(self) -> None:
        """End all."""
        with self._lock:
            for key in list(self._open):
                self._end(key)

    def _end(self, key: tuple[str, str]) -> None:
        by, what = key
        its = self._open.pop(key)
        detail: dict[str, Any] = {"named": its.named} if its.named else {}
        ago_s = round(time.monotonic() - its.last_s, 1)
        shown = {"phase": "to", "since": its.began, "idle_s": ago_s, "count": its.count}
        self._note(what, by, {**shown, **detail})
