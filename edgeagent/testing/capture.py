"""A source as the agent runs it, without an agent: for tests of sources, also of plugins'."""

from __future__ import annotations

import logging
import threading

from edgeagent.capture.unit import CaptureUnit
from edgeagent.errors import EdgeAgentError

log = logging.getLogger(__name__)

STOP_S = 1.0


class Alone(CaptureUnit):
    """A capture unit that has a thread of its own in place of a supervisor's."""

    thread: threading.Thread | None = None

    def start(self) -> None:
        """Run from now on. Samples that come before anybody has subscribed are read, counted
        and seen by nobody."""
        self.thread = threading.Thread(target=self._alone, name=f"capture:{self.name}", daemon=True)
        self.thread.start()

    def wait(self, timeout: float | None = STOP_S) -> bool:
        """Wait for its end. False where it goes on: the source is not finished, or blocks."""
        if self.thread is not None:
            self.thread.join(timeout)
        return self.thread is None or not self.thread.is_alive()

    def _alone(self) -> None:
        try:
            self.run()
        except EdgeAgentError as error:
            log.error("source %s can't be used: %s", self.name, error)
