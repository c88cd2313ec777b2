"""Moving pictures around events, from memory: a ring of JPEGs that are redacted already.

A picture waits unseen until all is known that it must hide (see `redact`); only then it is
compressed and put into the ring and into the clips under way. What is not known to be redacted
is left out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from edgeagent.config.units import seconds, size_bytes
from edgeagent.decide.avi import TYPE, avi
from edgeagent.errors import InputError
from edgeagent.types import Evidence

if TYPE_CHECKING:
    from edgeagent.config.model import Clip
    from edgeagent.types import Frame

QUALITY = 70
_WAITING = 64
"""Pictures that may wait; more than `hold` at any sensible rate."""

Shown = tuple[float, bytes]
"""Time (ms) and JPEG."""
Develop = Callable[[Any, float], Any]
"""Pixels and their time → redacted pixels, or None."""


class _Take(Struct):
    """A clip under way."""

    until_ms: float
    pictures: list[Shown] = field(default_factory=list)
    bytes: int = 0
    gap_ms: float = 0.0
    """Pictures are at least so far apart."""

    def add(self, shown: Shown, most: int) -> None:
        """One more picture; where that is too much, every second one goes."""
        if self.pictures and shown[0] - self.pictures[-1][0] < self.gap_ms:
            return
        self.pictures.append(shown)
        self.bytes += len(shown[1])
        while self.bytes > most and len(self.pictures) > 1:
            span = self.pictures[-1][0] - self.pictures[0][0]
            self.gap_ms = 1.5 * span / (len(self.pictures) - 1)
            self.pictures = self.pictures[::2]
            self.bytes = sum(len(jpeg) for _, jpeg in self.pictures)


class Reel:
    """The last seconds of a pipeline's pictures, and clips made of them.

    Args:
        how: ``[pipelines.X.clip]``.
        known: whether a picture of that time can be redacted now.
        develop: redacts pixels of that time; None = that picture must not be.
    """

    def __init__(self, how: Clip, known: Callable[[float], bool], develop: Develop) -> None:
        self._before_ms = seconds(how.before) * 1000
        self._after_ms = seconds(how.after) * 1000
        self._every_ms = 1000 / how.fps
        self._width = how.width
        self._most = size_bytes(how.max)
        self._known = known
        self._develop = develop
        self._waiting: deque[tuple[float, Any]] = deque()
        self._next_ms = -math.inf
        self._size = (0, 0)
        self._takes: dict[str, _Take] = {}
        self._now_ms = -math.inf
        self.ring: deque[Shown] = deque()
        self._ring_bytes = 0

    @property
    def oldest_ms(self) -> float:
        """Time of the oldest picture that waits."""
        return self._waiting[0][0] if self._waiting else math.inf

    def see(self, frame: Frame) -> None:
        """The next sample of the pipeline."""
        from edgeagent.decide.picture import scaled

        now = self._now_ms = frame.when_ms
        if now < self._next_ms - 2 * self._every_ms:
            self._next_ms = now  # time went back
        # A little early is on time: a camera's frames tremble.
        if now >= self._next_ms - 0.1 * self._every_ms and len(self._waiting) < _WAITING:
            late = now - self._next_ms >= self._every_ms
            self._next_ms = (now if late else self._next_ms) + self._every_ms
            self._waiting.append((now, scaled(frame.pixels, self._width)))
        self.advance()

    def begin(self, key: str) -> None:
        """A clip for the event ``key``, which begins now."""
        take = self._takes[key] = _Take(self._now_ms + self._after_ms)
        for shown in self.ring:
            if shown[0] >= self._now_ms - self._before_ms:
                take.add(shown, self._most)

    def advance(self, *, ended: bool = False) -> None:
        """Develop what can be. ``ended``: nothing more will ever be known."""
        while self._waiting and (ended or self._known(self._waiting[0][0])):
            when, pixels = self._waiting.popleft()
            self._show(when, self._develop(pixels, when))

    def done(self, *, ended: bool = False) -> list[tuple[str, Evidence | None]]:
        """Clips that are complete, by event; None where not one picture of it may be."""
        ready = [
            key for key, take in self._takes.items()
            if ended or (self._now_ms >= take.until_ms and self.oldest_ms > take.until_ms)
        ]  # fmt: skip
        return [(key, self._cut(self._takes.pop(key))) for key in ready]

    def _show(self, when: float, pixels: Any) -> None:
        if pixels is None:
            return
        from edgeagent.decide.picture import jpeg

        try:
            shown = when, jpeg(pixels, QUALITY)
        except InputError:  # one picture less
            return
        size = (pixels.shape[1], pixels.shape[0])
        if size != self._size:  # another stream: a film has one size
            self._size = size
            self.ring.clear()
            self._ring_bytes = 0
            for take in self._takes.values():
                take.pictures.clear()
                take.bytes = 0
        self.ring.append(shown)
        self._ring_bytes += len(shown[1])
        while self.ring and (
            self._ring_bytes > self._most or when - self.ring[0][0] > self._before_ms
        ):
            self._ring_bytes -= len(self.ring.popleft()[1])
        for take in self._takes.values():
            if when <= take.until_ms:
                take.add(shown, self._most)

    def _cut(self, take: _Take) -> Evidence | None:
        if not take.pictures:
            return None
        span = take.pictures[-1][0] - take.pictures[0][0]
        fps = (len(take.pictures) - 1) * 1000 / span if span > 0 else 1000 / self._every_ms
        return Evidence(TYPE, avi([jpeg for _, jpeg in take.pictures], self._size, fps))
