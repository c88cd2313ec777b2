"""Threads for what would hold up the server: disks, models that open, pictures.

Not `concurrent.futures`: its threads are waited for at the process's end, and a model may take long
to open.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Work = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Aside:
    """So many threads, started when they are needed first. Belongs to the server's thread.

    Args:
        name: of the threads.
        begin: called by each as it starts.
    """

    def __init__(
        self, name: str, threads: int = 1, begin: Callable[[], None] = lambda: None
    ) -> None:
        self._name = name
        self._most = threads
        self._begin = begin
        self._threads: list[threading.Thread] = []
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._waiting = 0

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What ``work`` gives, or raises. Nothing more is begun once nobody waits for it."""
        future = asyncio.get_running_loop().create_future()
        self._waiting += 1
        if self._waiting > len(self._threads) and len(self._threads) < self._most:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._work.put((future, work, arguments))
        try:
            return await future
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let the threads end after what they do now."""
        for _ in self._threads:
            self._work.put(None)

    def _run(self) -> None:
        self._begin()
        while (given := self._work.get()) is not None:
            future, work, arguments = given
            if future.cancelled():
                continue
            try:
                found, error = work(*arguments), None
            except Exception as raised:  # noqa: BLE001
                found, error = None, raised  # for whoever waits
            loop = future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, future, found, error)


def _settle(future: asyncio.Future[Any], found: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(found)
