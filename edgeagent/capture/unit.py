"""The unit that runs one source: a thread, patience, masks, pacing, counters, fan-out.

    open → read → … → lost → pause → open …        (until `stop`)
                    → ended

A source is naive (`capture.source`); everything that can be asked of any source is here, so
that plugins have it for free. What can hang in native code does so in a child process
(`capture.decoder`), hence `stop` is quick; a source that blocks in this process is left behind
by `stop` rather than waited for, and told by `health` and `beat` meanwhile.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from edgeagent import clock, crashes
from edgeagent.capture.mailbox import Mailbox
from edgeagent.capture.rhythm import (
    FRAMES_OF_SILENCE,
    Damage,
    Losses,
    Pace,
    Rhythm,
    Thinner,
    reopen_pause,
)
from edgeagent.capture.source import Counting, Interruptible, Living, Source, Tally, Timed
from edgeagent.config.units import seconds
from edgeagent.errors import EdgeAgentError, InputError, SourceEnded, SourceLost
from edgeagent.types import Frame, Health, Sample

if TYPE_CHECKING:
    from edgeagent.capture.mask import Mask
    from edgeagent.capture.sight.sight import Sight
    from edgeagent.config.model import SourceKeys

log = logging.getLogger(__name__)

OPEN_S = 60.0
"""How long opening may take before it counts as hanging (a child may have to start)."""


class CaptureUnit:
    """Runs ``source`` and hands its samples to all mailboxes.

    `run` is the loop, for a supervisor's thread; `start` gives it a thread of its own.

    Args:
        name: name of the source in the configuration.
        source: opened, read and closed by the unit's thread only.
        keys: ``fps``, ``mask``, ``queue`` and ``max_age`` of the source's configuration.
        sight: looks at pictures that pass by, and finds what is wrong with the camera.
    """

    def __init__(
        self, name: str, source: Source, keys: SourceKeys, sight: Sight | None = None
    ) -> None:
        self.name = name
        self.source = source
        self.error: EdgeAgentError | None = None
        """Why the source failed for good; None while it may still come back."""
        self.read = 0
        self.corrupt = 0
        self.late = 0
        self.thinned = 0
        self.reopened = 0
        """Times that the source came back, proven by a sample."""
        self.losses = Losses()
        self._queue = keys.queue
        self._network = bool(getattr(source, "network", False))
        self._timed = source if isinstance(source, Timed) else None
        self._living = source if isinstance(source, Living) else None
        self._tally = source.tally if isinstance(source, Counting) else Tally()
        thins = keys.fps is None or getattr(source, "thins", False)
        self._thinner = None if thins or keys.fps is None else Thinner(keys.fps)
        self._slow_s = 1.0 / keys.fps if keys.fps else 0.0
        self._mask = _mask(keys)
        self._max_age_s = seconds(keys.max_age)
        self._sight = sight
        self._camera = bool(getattr(source, "sees", False))
        self._rhythm = Rhythm()
        self._pace = Pace()
        self._damage = Damage()
        self._mailboxes: tuple[Mailbox, ...] = ()
        self._state = "new"
        self._last_error = ""
        self._lost_at: float | None = None
        self._last_sample: float | None = None
        self._progress = time.monotonic()
        self._excused = False
        self._start_of_pace: float | None = None
        self._stopping = threading.Event()
        self.deadline_s = OPEN_S
        """Seconds without a beat after which the source counts as hanging."""

    # --- for the agent -----------------------------------------------------------------

    def subscribe(self, size: int | None = None) -> Mailbox:
        """A mailbox that gets every sample from now on; ``size`` = ``queue`` of the source."""
        stale = self._is_stale if self.source.live else None
        mailbox = Mailbox(size or self._queue, live=self.source.live, stale=stale)
        self._mailboxes = (*self._mailboxes, mailbox)
        if self._state in ("ended", "failed", "stopped"):
            mailbox.end()
        return mailbox

    def unsubscribe(self, mailbox: Mailbox) -> None:
        """No longer give samples to a mailbox, and close it."""
        self._mailboxes = tuple(its for its in self._mailboxes if its is not mailbox)
        mailbox.close()

    def stop(self) -> None:
        """Ask it to end, and end what blocks it: a full mailbox, a pause, a child."""
        self._stopping.set()
        for mailbox in self._mailboxes:
            mailbox.end()
        if isinstance(self.source, Interruptible):
            self.source.interrupt()

    def failed(self, error: BaseException) -> None:
        """Told by a supervisor that `run` ended with an error."""
        self._state = "failed"
        self._last_error = str(error) if isinstance(error, EdgeAgentError) else repr(error)

    @property
    def state(self) -> str:
        """``new | opening | running | lost | ended | failed | stopped``"""
        return self._state

    @property
    def beat(self) -> float:
        """Monotonic time of the last progress. Waiting for a slow pipeline, for the next
        attempt or for nothing at all is no fault of the unit and counts as progress."""
        if self._excused:
            return time.monotonic()
        alive_at = self._living.alive_at if self._living else 0.0
        return max(self._progress, alive_at)

    @property
    def dropped(self) -> int:
        """Samples that a slow pipeline or the source's own ring replaced by newer ones."""
        return self._tally.dropped + sum(mailbox.dropped for mailbox in self._mailboxes)

    @property
    def age_s(self) -> float | None:
        """Seconds since the last sample; None = there was none."""
        return None if self._last_sample is None else time.monotonic() - self._last_sample

    def health(self) -> Health:
        """State, reason in plain words, and counters."""
        now = time.monotonic()
        state, reason = self._verdict(now)
        age = self.age_s
        detail: dict[str, Any] = {
            "read": self.read,
            "dropped": self.dropped,
            "stale": sum(mailbox.stale for mailbox in self._mailboxes),
            "corrupt": self.corrupt + self._tally.corrupt,
            "late": self.late,
            "thinned": self.thinned + self._tally.thinned,
            "lost": self.losses.total,
            "reopened": self.reopened,
            "fps": round(self._rhythm.measured_hz, 2),
            "age_s": None if age is None else round(age, 3),
            "flapping": self.losses.flapping(now),
            "note": self._tally.note,
            "last_error": self._last_error,
        }
        if self._tally.unused:
            detail["unused"] = self._tally.unused
        if not getattr(self.source, "verified", True):
            detail["verified"] = False
        if self._sight is not None:
            detail["sight"] = self._sight.detail()
        detail.update(self._tally.figures)
        return Health(self.name, state, reason, detail)

    def _verdict(self, now: float) -> tuple[str, str]:
        state = self._state
        if state in ("ended", "stopped"):
            return "ended", "stopped" if state == "stopped" else ""
        if state in ("lost", "failed"):
            return "down", self._last_error
        silent = now - self.beat
        if silent > self.deadline_s:
            return "down", f"hangs in {state} for {silent:.0f} s"
        if state != "running":
            return "degraded", self._last_error or "opening"
        if self.losses.flapping(now):
            count = self.losses.recent(now)
            return "degraded", f"flapping: lost {count} times in 10 min: {self._last_error}"
        complaint = self._complaint(now)
        return ("degraded", complaint) if complaint else ("ok", "")

    def _complaint(self, now: float) -> str:
        """What is wrong with samples that do come."""
        said = [
            self._sight.reason if self._sight is not None else "",
            self._tally.ailing,
            self._damage.complaint(now, self._rhythm.measured_hz),
            # What others give comes when it comes: windows that are not silent, rows of a meter.
            self._pace.complaint if self._camera else "",
        ]
        return "; ".join(its for its in said if its)

    def _is_stale(self, sample: Sample) -> bool:
        """Whether a picture shows what is long over, because nobody took it or none came since."""
        if not isinstance(sample, Frame) or not sample.mono_ms:
            return False
        age_s = (clock.mono_ms() - sample.mono_ms) / 1e3
        return age_s > max(self._max_age_s, 3 * self._rhythm.frame_s)

    # --- the thread --------------------------------------------------------------------

    def run(self) -> None:
        """Until stopped or at the end of a finite source.

        Raises:
            EdgeAgentError: the source can't be used at all (``retry = "never"``).
        """
        self._progress = time.monotonic()
        try:
            while not self._stopping.is_set():
                try:
                    self._read_until_lost()
                except SourceEnded:
                    self._state = "ended"
                    return
                except EdgeAgentError as error:
                    self._lost(error)
                except Exception as error:
                    # A plugin's bug ends one session, not capture; its place is told once.
                    if self._lost_at is None:
                        log.exception("source %s failed unexpectedly", self.name)
                        crashes.exception(f"source {self.name}", error)
                    self._lost(SourceLost(f"{type(error).__name__}: {error}"))
                self._close()
                self._pause()
            self._state = "stopped"
        finally:
            self._close()
            self._excused = True
            for mailbox in self._mailboxes:
                mailbox.end()

    def _read_until_lost(self) -> None:
        if self._state != "lost":
            self._state = "opening"
        self.deadline_s = OPEN_S
        self._progress = time.monotonic()
        self._excused = False
        self.source.open()
        self._progress = time.monotonic()
        if self._living is not None and self._lost_at is None:
            # Its first sample may take minutes, and nothing is wrong until it says so.
            self._state = "running"
        self._rhythm.promise(self._tally.rate_hz)
        while not self._stopping.is_set():
            try:
                sample = self.source.read()
            except InputError as error:
                self.corrupt += 1
                if self.corrupt == 1:
                    log.warning("source %s: %s; others are counted only", self.name, error)
                self._last_error = str(error)
                self._progress = time.monotonic()
                continue
            self._took()
            self._hand_over(sample)
            if self._camera and self._sight is not None and self._sight.wants_reopening():
                raise SourceLost("repeats the same picture: it is opened anew")

    def _took(self) -> None:
        """Counters and times of a sample; recovery is proven by it, not by an open."""
        now = time.monotonic()
        self._progress = self._last_sample = now
        self.read += 1
        interval = self._rhythm.tick(now)
        self._pace.tick(interval)
        self._damage.count(self.corrupt + self._tally.corrupt, now)
        if self.source.live and interval > max(2.0, 2.5 * self._rhythm.frame_s):
            self.late += 1
        if self._lost_at is not None:
            self.reopened += 1
            log.info("source %s is back after %.1f s", self.name, now - self._lost_at)
            self._lost_at = None
        self._state = "running"
        # A source with a limit of its own (a child) gets the chance to keep it.
        self.deadline_s = 2 * max(self._rhythm.silence_s, FRAMES_OF_SILENCE * self._slow_s)

    def _hand_over(self, sample: Sample) -> None:
        if self._timed is not None:
            if not self._in_time(self._timed):
                return
            if not self.source.live:
                sample = replace(sample, stream_ms=self._timed.position_s * 1e3)
        if self._thinner is not None:
            time_s = self._timed.position_s if self._timed else time.monotonic()
            if not self._thinner.takes(time_s):
                self.thinned += 1
                return
        if isinstance(sample, Frame):
            if self._mask is not None:
                sample = self._mask.blacken(sample)
            # Several pipelines look at the same pixels: nobody writes from here on.
            sample.pixels.flags.writeable = False
        self._excused = True
        for mailbox in self._mailboxes:
            mailbox.put(sample)
        self._excused = False
        # Afterwards: pipelines need not wait for it.
        if self._sight is not None and isinstance(sample, Frame):
            self._sight.look(sample)
        self._progress = time.monotonic()

    def _in_time(self, timed: Timed) -> bool:
        """Wait until the sample is due. False when stopped meanwhile."""
        if not timed.paced:
            return True
        now = time.monotonic()
        if self._start_of_pace is None:
            self._start_of_pace = now - timed.position_s
        wait = self._start_of_pace + timed.position_s - now
        if wait < -max(0.1, self._rhythm.frame_s):
            self.late += 1
        if wait <= 0:
            return True
        self._excused = True
        stopped = self._stopping.wait(wait)
        self._excused = False
        return not stopped

    def _lost(self, error: EdgeAgentError) -> None:
        """Note a loss. Raises the error again where another attempt is pointless."""
        if self._stopping.is_set():
            return
        self._last_error = str(error)
        if error.retry == "never":
            self.error = error
            self._state = "failed"
            raise error
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            self.losses.add(now)
            log.warning("source %s is lost: %s", self.name, error)
        self._state = "lost"
        self._rhythm.pause()
        if self._sight is not None:
            self._sight.pause()

    def _pause(self) -> None:
        if self._stopping.is_set():
            return
        self._excused = True
        outage = 0.0 if self._lost_at is None else time.monotonic() - self._lost_at
        chance = random.random()
        self._stopping.wait(reopen_pause(outage, network=self._network, chance=chance))
        self._start_of_pace = None

    def _close(self) -> None:
        try:
            self.source.close()
        except Exception as error:  # noqa: BLE001 - closing must not end the unit
            log.warning("source %s can't be closed cleanly: %s", self.name, error)


def _mask(keys: SourceKeys) -> Mask | None:
    if not keys.mask:
        return None
    from edgeagent.capture.mask import Mask

    return Mask(keys.mask)
