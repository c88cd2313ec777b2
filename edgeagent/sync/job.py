"""One command being done: how it reports progress, and how it is told to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from edgeagent.errors import CommandRejected, EdgeAgentError, in_words
from edgeagent.sync import judgement
from edgeagent.sync.command_types import CommandType
from edgeagent.sync.judgement import Order

log = logging.getLogger(__name__)

Status = dict[str, Any]

PROGRESS_EVERY_S = 2.0
CANCELLED: Status = {"status": "cancelled", "reason": "cancelled", "detail": "it was cancelled"}
_RESULT_MAX_BYTES = 192 * 1024
PutAway = Callable[[Order, bytes], Mapping[str, Any]]
"""Keeps a result that is too large for a message; what stands in its place. May raise
EdgeAgentError."""


class Cancelled(Exception):
    """Raised within a command that somebody has cancelled. Not an error."""


class Job:
    """Handed to a command's function."""

    def __init__(
        self,
        order: Order,
        kind: CommandType,
        function: Callable[[Any, Job], Any],
        arguments: Any,
        tell: Callable[[Order, Status], None],
        put_away: PutAway | None = None,
    ) -> None:
        self.order = order
        self.kind = kind
        self.function = function
        self.arguments = arguments
        self.journaled = True
        self._tell = tell
        self._put_away = put_away
        self._lock = threading.Lock()
        self._started = False
        self._cancelled = threading.Event()
        self._told_at = 0.0

    @property
    def by(self) -> str:
        return self.order.by

    @property
    def cancelled(self) -> bool:
        """Long commands look at this, or call `progress`."""
        return self._cancelled.is_set()

    @property
    def stopped(self) -> threading.Event:
        """Set once somebody has cancelled it."""
        return self._cancelled

    def progress(self, share: float | None = None, step: str = "", detail: str = "") -> None:
        """Tell how far it is (0..1); published at most every 2 s. Raises Cancelled."""
        if self.cancelled:
            raise Cancelled
        now = time.monotonic()
        if now - self._told_at < PROGRESS_EVERY_S:
            return
        self._told_at = now
        status: Status = {**judgement.repeated(self.order.body), "status": "executing"}
        if share is not None:
            status["progress"] = round(min(1.0, max(0.0, share)), 4)
        if step:
            status["step"] = step
        if detail:
            status["detail"] = detail
        self._tell(self.order, status)

    def start(self) -> bool:
        """The work begins now. False if it was cancelled before."""
        with self._lock:
            if self._started or self.cancelled:
                return False
            self._started = True
            return True

    def cancel(self) -> bool:
        """True if it had not begun and never will; else its function is told to stop."""
        with self._lock:
            first = not self._started and not self.cancelled
            self._cancelled.set()
            return first

    def do(self) -> Status:
        """Do the work; how it ended."""
        try:
            result = self.function(self.arguments, self)
            document = msgspec.to_builtins(result or {})
            encoded = msgspec.json.encode(document)
            # A person at the device has it by the socket, which takes any size.
            if len(encoded) > _RESULT_MAX_BYTES and self.order.origin != "local":
                if self._put_away is None:
                    return _failed(
                        "result-too-large", f"the result is larger than {_RESULT_MAX_BYTES} bytes"
                    )
                document = dict(self._put_away(self.order, encoded))
        except Cancelled:
            return dict(CANCELLED)
        except CommandRejected as error:
            return {"status": "rejected", "reason": error.reason, "detail": error.detail}
        except EdgeAgentError as error:
            return _failed(error.code, in_words(error))
        except Exception as error:
            # The edge of what is registered: a command must not take its thread down.
            log.exception("command %s (%s) failed", self.order.type, self.order.id)
            return _failed("internal", repr(error))
        return {"status": "successful", "result": document}


def bounded(status: Status) -> Status:
    """As the journal keeps it: a large result was for the person who asked at the device."""
    if len(msgspec.json.encode(status)) <= 2 * _RESULT_MAX_BYTES:
        return status
    return {name: its for name, its in status.items() if name != "result"}


def _failed(reason: str, detail: str) -> Status:
    return {"status": "failed", "reason": reason, "detail": detail}
