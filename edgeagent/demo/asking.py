"""A person asks the agent, while the camera of the belt is covered: `why` and `doctor`, a sentence
each. Asked beside the show, which goes on meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from edgeagent.errors import EdgeAgentError
from edgeagent.serve.client import ControlClient

_PATIENCE_S = 12.0


class Asking:
    """Both questions about one pipeline, asked once."""

    def __init__(self, client: ControlClient) -> None:
        self._client = ControlClient(client.path, timeout_s=_PATIENCE_S)
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._asked = False
        self._answered = threading.Event()

    @property
    def waits(self) -> bool:
        """A question is not answered yet."""
        return self._asked and not self._answered.is_set()

    def ask(self, pipeline: str) -> None:
        """Have them asked now; only the first call does anything."""
        if not self._asked:
            self._asked = True
            threading.Thread(target=self._ask, args=(pipeline,), name="asking", daemon=True).start()

    def answers(self) -> Iterator[str]:
        """What has been said since the last call."""
        while True:
            try:
                yield self._said.get_nowait()
            except queue.Empty:
                return

    def _ask(self, pipeline: str) -> None:
        try:
            self._question(pipeline)
        finally:
            self._answered.set()

    def _question(self, pipeline: str) -> None:
        try:
            answer = self._client.result("why", target=pipeline)
            self._said.put(f"edgeagent why {pipeline}: {answer['sentence']}")
            report = self._client.result("doctor")
        except EdgeAgentError as error:
            self._said.put(f"the agent was asked and did not answer: {error}")
            return
        wrong = [its["what"] for its in report["findings"] if its["severity"] == "problem"]
        about = next((its for its in wrong if f"{pipeline}: " in its), "")
        found = about or next(iter(wrong), "nothing is wrong")
        self._said.put(f"edgeagent doctor: {found.partition(' (since')[0]}")
