"""Actions that plugins bring, on a thread of their own: a lamp that is slow holds up no camera.

An action is a class made by ``Class(pipeline, options)`` with one method, ``act(draft)``: it is
called with the record's draft when an event begins (``draft.data["phase"] == "new"``) and when it
ends (``"end"``), in this order. What it raises is logged and told in the pipeline's health, and the
next one is tried; an event is recorded whatever an action does.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Any

from edgeagent import plugins
from edgeagent.errors import EdgeAgentError

if TYPE_CHECKING:
    from edgeagent.config.model import Pipeline
    from edgeagent.types import Draft

log = logging.getLogger("edgeagent.plugins")

_WAITING = 256
_CLOSE_S = 1.0


class Acting:
    """The actions of one pipeline. Its thread is started by the first event that needs one."""

    def __init__(self, name: str, config: Pipeline) -> None:
        self._name = name
        self._config = config
        self._queue: queue.Queue[Draft | None] = queue.Queue(_WAITING)
        self._made: dict[str, Any] = {}
        self._failed: dict[str, str] = {}
        """Action → why its last call failed."""
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def __call__(self, draft: Draft) -> None:
        """See `pipeline.Acts`."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name=f"action:{self._name}", daemon=True
            )
            self._thread.start()
        try:
            self._queue.put_nowait(draft)
        except queue.Full:
            self._dropped += 1
            if self._dropped == 1:
                log.error("%s: actions are slower than events: some are not done", self._name)

    def loss(self) -> str:
        """See `pipeline.Acts`."""
        said = [f"action {name}: {why}" for name, why in self._failed.items()]
        if self._dropped:
            said.append(f"{self._dropped} events came too fast for their actions")
        return "; ".join(said)

    def close(self) -> None:
        """Let it do what waits, for a moment; the plugins' ``close`` where they have one."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._queue.put(None, timeout=_CLOSE_S)
        except queue.Full:
            return  # it hangs in an action; as a daemon it ends with the process
        thread.join(_CLOSE_S)

    def _run(self) -> None:
        while True:
            draft = self._queue.get()
            if draft is None:
                break
            for action in draft.actions:
                self._do(action, draft)
        for made in self._made.values():
            close = getattr(made, "close", None)
            if close is not None:
                self._guarded("close", close)
        self._made.clear()

    def _do(self, action: str, draft: Draft) -> None:
        if action not in self._made:
            made = self._guarded(action, self._make, action)
            if made is None:
                return
            self._made[action] = made
        self._guarded(action, self._made[action].act, draft)

    def _make(self, action: str) -> Any:
        return plugins.find("action", action)(self._name, self._config.plugins.get(action, {}))

    def _guarded(self, action: str, call: Any, *arguments: Any) -> Any:
        try:
            result = call(*arguments)
        except Exception as error:  # noqa: BLE001 - a plugin's bug must not end the agent
            said = str(error) if isinstance(error, EdgeAgentError) else (
                f"{type(error).__name__}: {error}"
            )  # fmt: skip
            if self._failed.get(action) != said:
                log.error("%s: action %s failed: %s", self._name, action, said)
            self._failed[action] = said
            return None
        self._failed.pop(action, None)
        return result
