"""Between the thread of a source and the thread of a pipeline.

Live sources keep the newest samples: a full mailbox drops its oldest and counts it. Files
wait until there is room. At every moment ``offered = taken + dropped + waiting`` holds, which
is what makes the account of a pipeline come out even.

A hand-over costs one lock on each side, about a microsecond, which is why this is not
`queue.Queue` (three conditions, and no way to replace the oldest).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from edgeagent.errors import SourceEnded
from edgeagent.types import Sample


class Mailbox:
    """At most ``size`` samples, from one source to one pipeline.

    Args:
        live: the newest samples are kept, none is waited for.
        stale: whether a sample has become too old to be taken; such are dropped with a count.
    """

    def __init__(
        self, size: int = 2, *, live: bool, stale: Callable[[Sample], bool] | None = None
    ) -> None:
        if size < 1:
            raise ValueError("a mailbox holds at least one sample")
        self.size = size
        self.live = live
        self.offered = 0
        self.taken = 0
        self.dropped = 0
        self.stale = 0
        """Of the dropped, those that had become too old."""
        self._is_stale = stale
        self._samples: deque[Sample] = deque()
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._takers = 0
        self._ended = False

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def ended(self) -> bool:
        """Nothing will be put any more; what is inside can still be taken."""
        return self._ended

    def put(self, sample: Sample) -> bool:
        """Hand over. Live: never blocks. Files: blocks until there is room.

        Returns:
            False where the mailbox was closed and the sample was not accepted.
        """
        with self._lock:
            if not self.live:
                while len(self._samples) >= self.size and not self._ended:
                    self._room.wait()
            if self._ended:
                return False
            if len(self._samples) >= self.size:
                self._samples.popleft()
                self.dropped += 1
            self._samples.append(sample)
            self.offered += 1
            if self._takers:
                self._filled.notify()
        return True

    def get(self, timeout_s: float | None = None) -> Sample | None:
        """The oldest sample that is kept; None when none came within ``timeout_s``.

        Raises:
            SourceEnded: the source has finished and all its samples were taken.
        """
        with self._lock:
            while True:
                if not self._samples and not self._ended:
                    self._takers += 1
                    try:
                        self._filled.wait_for(self._ready, timeout_s)
                    finally:
                        self._takers -= 1
                if not self._samples:
                    if self._ended:
                        raise SourceEnded
                    return None
                sample = self._samples.popleft()
                if self._is_stale is not None and self._is_stale(sample):
                    self.dropped += 1
                    self.stale += 1
                    continue
                self.taken += 1
                if not self.live:
                    self._room.notify()
                return sample

    def end(self) -> None:
        """The source gives no more; what is inside is still handed out."""
        with self._lock:
            self._ended = True
            self._filled.notify_all()
            self._room.notify_all()

    def close(self) -> None:
        """End, and drop (with a count) what nobody has taken."""
        with self._lock:
            self.dropped += len(self._samples)
            self._samples.clear()
            self._ended = True
            self._filled.notify_all()
            self._room.notify_all()

    def _ready(self) -> bool:
        return bool(self._samples) or self._ended
