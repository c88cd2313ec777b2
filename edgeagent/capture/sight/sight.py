"""The sight of one source: when to look, how long a fault must last, what is told of it.

    learning → seeing → (fault begins → fault ends) …

Looks are seldom (`every`), so that a camera costs a few thousandths of a core.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeagent import clock
from edgeagent.capture.sight.judge import judge
from edgeagent.capture.sight.still import Still
from edgeagent.capture.sight.view import adapted, learn, load, save
from edgeagent.errors import EdgeAgentError, InputError
from edgeagent.types import Draft, Frame

if TYPE_CHECKING:
    from edgeagent.capture.sight.glance import Glance
    from edgeagent.capture.sight.judge import Fault
    from edgeagent.capture.sight.view import View

log = logging.getLogger(__name__)

REASONS: dict[str, str] = {
    "dark": "sees nothing: the picture is dark",
    "bright": "is blinded: the picture is blown out",
    "blurred": "is out of focus, or its glass is wet or dirty",
    "frozen": "repeats the same picture",
    "covered": "is covered",
    "moved": "looks somewhere else than when it was set up",
    "garbage": "gives broken pictures: grey areas, smears or blocks",
}
_PATIENCE = {"moved": 3.0, "garbage": 0.5}
"""How much longer than `after` these must last: somebody who stands before the lens for a moment
changes the view as well, and garbage has no innocent cause."""
_ADAPT_S = 1800.0
_KEEP_EVERY_S = 86400.0
_STILL_LOOKS_PER_GLANCE = 2
_FORGET_LOOKS = 4
_SOUND_GLANCES, _SOUND_LEVELS = 4.0, 8.0
"""Only every fourth glance is taken while no block of the picture differs by so many levels from
what it was when it was sound."""
REOPEN_EVERY_S = 300.0


class SightSettings(Struct, frozen=True):
    """As configured (`sources.X.sight`)."""

    faults: tuple[str, ...] = tuple(REASONS)
    every_s: float = 1.0
    after_s: float = 3.0
    frozen_after_s: float = 4.0
    looks: int = 20
    """Pictures from which the view is learned."""


class Sight:
    """Looks at pictures that pass by, by one thread; asked by any.

    Args:
        source: name of the source.
        settings: what to look for.
        file: where the view is kept; None = nowhere, it is learned at every start. Removed by
            somebody else = learn anew.
        identity: what the view belongs to: another address or mask has another view.
        tell: gets a ``health`` record at the beginning and the end of a fault.
    """

    def __init__(
        self,
        source: str,
        settings: SightSettings,
        *,
        file: Path | None = None,
        identity: str = "",
        tell: Callable[[Draft], object] = lambda _draft: None,
    ) -> None:
        self.source = source
        self.fault: Fault | None = None
        self._began_ms = 0.0
        self._began_ns = 0
        self._settings = settings
        self._file = file
        self._identity = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self._tell = tell
        self._view: View | None = None
        self._loaded = False
        self._lessons: list[Glance] = []
        self._stirs: list[float] = []
        self._sound: Any = None
        """Blocks of the last picture in which nothing was wrong."""
        self._still = Still(settings.frozen_after_s)
        self._longest_s = 0.0
        self._suspect: Fault | None = None
        self._suspect_ms = 0.0
        self._looked_ms = -1e12
        self._glanced_ms = -1e12
        self._kept_ms = 0.0
        self._last_ms = 0.0
        self._looks = 0
        self._reopened_ms = -1e12

    # --- for the unit ----------------------------------------------------------------------

    def look(self, frame: Frame) -> None:
        """See a picture if it is time to."""
        now = frame.when_ms
        every_ms = 1e3 * self._settings.every_s
        if now - self._looked_ms < every_ms / _STILL_LOOKS_PER_GLANCE:
            return
        self._looked_ms = self._last_ms = now
        if not self._loaded:
            self._load()
        stir = self._still.see(frame.pixels, now / 1e3)
        found: Fault | None = "frozen" if self._view and self._still.frozen else None
        if found is None and not self._worth_a_glance(now, every_ms):
            if self.fault == "frozen" or self._suspect == "frozen":
                self._consider(None, frame)
            return
        if found is None:
            from edgeagent.capture.sight.glance import glance

            passed_ms, self._glanced_ms = now - self._glanced_ms, now
            seen = glance(frame.pixels)
            found = judge(seen, self._view)
            self._sound = self._still.blocks if found is None else None
            self._learn(seen, stir, found, now, passed_ms)
        self._consider(found, frame)

    def _worth_a_glance(self, now: float, every_ms: float) -> bool:
        """Whether it is time for one; later where all looks as it did when it was sound."""
        passed_ms = now - self._glanced_ms
        if passed_ms < every_ms:
            return False
        if self._view is None or self._sound is None or self.fault or self._suspect:
            return True
        if passed_ms >= _SOUND_GLANCES * every_ms:
            return True
        return bool(abs(self._still.blocks - self._sound).max() > _SOUND_LEVELS)

    def pause(self) -> None:
        """The source was lost: what comes next may be long after."""
        self._still.pause()

    def wants_reopening(self) -> bool:
        """Whether opening the source anew may end the fault; true once, then seldom."""
        if self.fault != "frozen" or self._last_ms - self._reopened_ms < 1e3 * REOPEN_EVERY_S:
            return False
        self._reopened_ms = self._last_ms
        return True

    # --- for people ------------------------------------------------------------------------

    @property
    def reason(self) -> str:
        """What is wrong, in plain words; empty = nothing."""
        if self.fault is None:
            return ""
        return f"{REASONS[self.fault]} (since {clock.rfc3339(self._began_ns)})"

    def detail(self) -> dict[str, Any]:
        """For status and metrics."""
        wanted = self._settings.looks
        learned = "learned" if self._view else f"learning: {len(self._lessons)} of {wanted}"
        return {"fault": self.fault or "", "view": learned}

    # --- learning --------------------------------------------------------------------------

    def _load(self) -> None:
        self._loaded = True
        if self._file is None:
            return
        try:
            kept = load(self._file, self._identity)
        except InputError as error:
            log.warning("source %s: %s; it is learned anew", self.source, error)
            return
        if kept is not None:
            self._take(kept)

    def _take(self, view: View) -> None:
        self._view = view
        self._still.usual_s, self._still.usual_stir = view.still_s, view.stir
        self._lessons, self._stirs = [], []

    def _learn(
        self, seen: Glance, stir: float | None, found: Fault | None, now: float, passed_ms: float
    ) -> None:
        if self._view is not None:
            self._refresh(seen, found, now, passed_ms)
            return
        if found is not None:
            return  # nobody sets a camera up to see this
        self._lessons.append(seen)
        self._longest_s = max(self._longest_s, self._still.same_s)
        if stir is not None:
            self._stirs.append(stir)
        if len(self._lessons) < self._settings.looks:
            return
        span_s = self._settings.looks * self._settings.every_s
        longest_s = float("inf") if self._longest_s > 0.7 * span_s else self._longest_s
        stirs = sorted(self._stirs)
        least = stirs[len(stirs) // 10] if stirs else 0.0
        self._take(learn(self._lessons, still_s=longest_s, stir=least))
        self._kept_ms = now
        self._keep()
        log.info("source %s: its view is learned", self.source)

    def _refresh(self, seen: Glance, found: Fault | None, now: float, passed_ms: float) -> None:
        assert self._view is not None
        self._looks += 1
        if self._looks % _FORGET_LOOKS == 0 and self._file is not None and not self._file.exists():
            log.info("source %s: its view is to be learned anew", self.source)
            self._view, self._longest_s = None, 0.0
            self._still.usual_s = self._still.usual_stir = 0.0
            return
        if found is None and self.fault is None and self._suspect is None:
            share = min(0.1, passed_ms / 1e3 / _ADAPT_S)
            self._view = adapted(self._view, seen, share)
            if now - self._kept_ms > 1e3 * _KEEP_EVERY_S:
                self._kept_ms = now
                self._keep()

    def _keep(self) -> None:
        if self._file is None or self._view is None:
            return
        try:
            save(self._view, self._file, self._identity)
        except EdgeAgentError as error:
            log.warning("source %s: its view can't be kept: %s", self.source, error)
            self._file = None

    # --- faults ----------------------------------------------------------------------------

    def _consider(self, found: Fault | None, frame: Frame) -> None:
        """Let a fault begin or end once it was (not) there for long enough."""
        if found is not None and found not in self._settings.faults:
            found = None
        if found == self.fault:
            self._suspect = found
            return
        now = frame.when_ms
        if found != self._suspect:
            self._suspect, self._suspect_ms = found, now
        if now - self._suspect_ms < 1e3 * self._needed_s(found):
            return
        if self.fault is not None:
            self._record("end", self.fault, frame)
            log.info("source %s sees again: no longer %s", self.source, self.fault)
        self.fault, self._began_ms = found, self._suspect_ms
        self._began_ns = frame.at_ns - int(1e6 * (now - self._suspect_ms))
        if found is not None:
            self._record("new", found, frame)
            log.warning("source %s %s", self.source, REASONS[found])

    def _needed_s(self, found: Fault | None) -> float:
        if found == "frozen":
            return 0.0  # it has lasted already
        if found is None and self.fault == "frozen":
            return 0.0
        return self._settings.after_s * _PATIENCE.get(found or "", 1.0)

    def _record(self, phase: str, fault: Fault, frame: Frame) -> None:
        lasted_s = max(0.0, frame.when_ms - self._began_ms) / 1e3 if phase == "end" else 0.0
        data: dict[str, Any] = {
            "unit": self.source,
            "phase": phase,
            "fault": fault,
            "reason": REASONS[fault],
        }
        if phase == "end":
            data["lasted_s"] = round(lasted_s, 1)
        self._tell(
            Draft(
                "health", at_ns=frame.at_ns, mono_ms=frame.mono_ms, data=data,
                source=self.source, frame=frame.number,
            )
        )  # fmt: skip
