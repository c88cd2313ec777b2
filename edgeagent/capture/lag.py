"""Whether a picture is as fresh as a stream can give it, or left over from a pause.

A child that was stopped, a network that stalled, a decoder that can't keep up: afterwards a socket
holds seconds of old pictures, which come one right after the other. Nobody may take them for the
present. Only the standard library is needed: children of capture load this.
"""

from __future__ import annotations

STALE_S = 0.5
"""A picture that is so much later than the stream's own delay is left out …"""
LONGEST_S = 5.0
"""… but not for longer than this: then the stream has got another delay."""
_DRIFT = 0.0005
"""Seconds a second by which the clock of a camera may be wrong."""
_JUMP_S = 10.0
_PAUSE_S = 1.0
_FRAMES_OF_PAUSE = 5
_BURST = 0.3
"""Share of the frame time below which pictures were waiting rather than coming."""


class Lag:
    """Of one stream, from its opening; `behind` is asked for every picture."""

    def __init__(self) -> None:
        self._best_s: float | None = None
        self._stamp_s = 0.0
        self._now_s: float | None = None
        self._frame_s = 0.0
        self._paused_at: float | None = None
        self._stale_since: float | None = None

    def behind(self, now_s: float, stamp_s: float | None) -> float:
        """Seconds by which a picture is older than it need be.

        Args:
            now_s: monotonic time at which it was there.
            stamp_s: its time by the clock of the stream; None = the stream has none.
        """
        late = self._by_stamp(now_s, stamp_s) if stamp_s is not None else self._by_burst(now_s)
        self._now_s = now_s
        return late

    def stale(self, now_s: float, late_s: float) -> bool:
        """Whether a picture is to be left out for being so late."""
        if late_s <= STALE_S:
            self._stale_since = None
            return False
        if self._stale_since is None:
            self._stale_since = now_s
        if now_s - self._stale_since <= LONGEST_S:
            return True
        self._best_s = self._paused_at = self._stale_since = None
        return False

    def _by_stamp(self, now_s: float, stamp_s: float) -> float:
        offset = now_s - stamp_s
        if self._best_s is None or self._now_s is None:
            self._best_s = offset
        passed = now_s - (self._now_s if self._now_s is not None else now_s)
        step = stamp_s - self._stamp_s
        jumped = self._now_s is not None and (step < 0 or abs(step - passed) > _JUMP_S)
        self._stamp_s = stamp_s
        # Stamps that go back, or jump by more than a stream can be late, begin to count anew.
        self._best_s = offset if jumped else min(self._best_s + _DRIFT * passed, offset)
        return offset - self._best_s

    def _by_burst(self, now_s: float) -> float:
        """Without stamps: what comes at once after a pause was waiting during it."""
        if self._now_s is None:
            return 0.0
        gap = now_s - self._now_s
        if self._frame_s and gap > max(_PAUSE_S, _FRAMES_OF_PAUSE * self._frame_s):
            # The first one after a pause may be the oldest of all.
            self._paused_at = self._now_s
            return gap
        if self._paused_at is not None:
            if gap < _BURST * self._frame_s:
                return now_s - self._paused_at
            self._paused_at = None
            return 0.0
        self._frame_s += (gap - self._frame_s) / 10 if self._frame_s else gap
        return 0.0
