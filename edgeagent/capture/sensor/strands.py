"""Several probes at a time, each on a thread of its own: a slow or dead one holds up nobody."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from edgeagent.capture.rhythm import reopen_pause
from edgeagent.capture.sensor.probe import Batch, Probe
from edgeagent.errors import EdgeAgentError, SourceEnded, SourceLost

log = logging.getLogger("edgeagent.capture.sensor")

_KEPT = 4096
"""Batches that wait; older ones are dropped where nobody takes them."""
_LOOK_S = 0.5


class Taken(Struct, frozen=True):
    """What one probe gave."""

    probe: int
    batch: Batch


class _Strand:
    """One probe on its thread: opened, read, opened anew where it is lost."""

    def __init__(self, number: int, probe: Probe, owner: Strands) -> None:
        self.probe = probe
        self.error: EdgeAgentError | None = None
        """Why it is not there now."""
        self.ready = threading.Event()
        """It was opened, or can't be at the first attempt."""
        self._number = number
        self._owner = owner
        self.thread = threading.Thread(target=self._run, name=f"{probe.name}", daemon=True)

    def _run(self) -> None:
        stopping, lost_at = self._owner.stopping, 0.0
        while not stopping.is_set():
            try:
                self.probe.open()
                self._read(stopping)
            except (EdgeAgentError, SourceEnded) as error:
                if self.error is None:
                    lost_at = time.monotonic()
                    log.warning("%s is lost: %s", self.probe.name, error)
                if isinstance(error, EdgeAgentError):
                    self.error = error
                else:
                    self.error = SourceLost("it has ended")
            except Exception as error:
                # A bug ends one session of one probe; its place is told once.
                if self.error is None:
                    lost_at = time.monotonic()
                    log.exception("%s failed unexpectedly", self.probe.name)
                self.error = SourceLost(f"{type(error).__name__}: {error}")
            finally:
                self.probe.close()
            self.ready.set()
            if self.error is not None and self.error.retry == "never":
                self._owner.woken.set()
                return
            outage = time.monotonic() - lost_at
            stopping.wait(reopen_pause(outage, network=False, chance=random.random()))

    def _read(self, stopping: threading.Event) -> None:
        self.ready.set()
        while not stopping.is_set():
            taken = self.probe.read(time.monotonic() + _LOOK_S)
            if taken is None:
                continue
            if self.error is not None:
                self.error = None
                log.info("%s is back", self.probe.name)
            self._owner.put(Taken(self._number, taken))


class Strands:
    """Runs probes from `start` to `stop`."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self.stopping = threading.Event()
        self.woken = threading.Event()
        self._strands = [_Strand(number, probe, self) for number, probe in enumerate(probes)]
        self._taken: deque[Taken] = deque(maxlen=_KEPT)

    def start(self, patience_s: float) -> None:
        """Start all; returns when each was opened once, or could not be, or after the patience.

        Raises:
            EdgeAgentError: none of them can be had; the first one's reason.
        """
        until = time.monotonic() + patience_s
        for strand in self._strands:
            strand.thread.start()
        for strand in self._strands:
            strand.ready.wait(max(0.0, until - time.monotonic()))
        self._not_all_lost()

    def put(self, taken: Taken) -> None:
        self._taken.append(taken)
        self.woken.set()

    def read(self, until: float) -> list[Taken]:
        """All that came, as soon as there is something; empty after ``until``.

        Raises:
            EdgeAgentError: all of them are lost; the first one's reason.
        """
        if not self._taken:
            self.woken.wait(max(0.0, until - time.monotonic()))
        self.woken.clear()
        found = []
        while self._taken:
            found.append(self._taken.popleft())
        if not found:
            self._not_all_lost()
        return found

    def lost(self) -> dict[str, str]:
        """Probe → why it is not there now."""
        return {
            strand.probe.name: str(strand.error)
            for strand in self._strands
            if strand.error is not None
        }

    def stop(self) -> None:
        """Ask all to end. One inside a call that does not return is left behind."""
        self.stopping.set()
        self.woken.set()

    def join(self, timeout_s: float) -> None:
        """Wait for their ends."""
        until = time.monotonic() + timeout_s
        for strand in self._strands:
            if strand.thread.ident is not None:
                strand.thread.join(max(0.0, until - time.monotonic()))

    def _not_all_lost(self) -> None:
        errors = [strand.error for strand in self._strands]
        gone = [error for error in errors if error is not None]
        if len(gone) == len(errors):
            raise gone[0]
