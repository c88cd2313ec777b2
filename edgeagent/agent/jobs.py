"""The one thread for long work: commands now, updates later. One at a time, in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Jobs:
    """Does what it is given, one after the other."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, work: Callable[[], None]) -> None:
        """Have ``work`` done on the thread; it must not raise."""
        self._waiting.put(work)

    def stop(self, timeout_s: float) -> bool:
        """Let the present work end; what still waits is left to the journal."""
        while True:
            try:
                self._waiting.get_nowait()
            except queue.Empty:
                break
        self._waiting.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while (work := self._waiting.get()) is not None:
            work()
