"""Compresses batches beside the link's thread: most of what draining a backlog costs.

zlib works without the interpreter's lock, so on two cores reading the next batch and
compressing this one take the time of the longer. The thread is there while there is work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from edgeagent.store.batch import Batch
from edgeagent.sync.envelope import Encoding

_IDLE_S = 5.0


class Pressed:
    """A batch, and its payload once that is made."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.payload: bytes | None = None
        self.error: Exception | None = None

    def result(self) -> bytes | None:
        """The payload; None = not made yet. Raises what encoding it raised."""
        if self.error is not None:
            raise self.error
        return self.payload


class Press:
    """`begin` is for one thread; what it returns is finished in the order it was begun."""

    def __init__(self, encoding: Encoding, device: str, on_ready: Callable[[], None]) -> None:
        self._encoding = encoding
        self._device = device
        self._on_ready = on_ready
        self._changed = threading.Condition()
        self._waiting: deque[Pressed] = deque()
        self._running = False

    def begin(self, batch: Batch) -> Pressed:
        """Have ``batch`` encoded; ``on_ready`` is called when it is."""
        pressed = Pressed(batch)
        with self._changed:
            self._waiting.append(pressed)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="press", daemon=True).start()
            self._changed.notify()
        return pressed

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._changed.wait_for(
                    lambda: bool(self._waiting), _IDLE_S
                ):
                    self._running = False
                    return
                pressed = self._waiting.popleft()
            try:
                pressed.payload = self._encoding.encode(pressed.batch, self._device)
            except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
                pressed.error = error
            self._on_ready()
