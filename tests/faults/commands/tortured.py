"""A device in a process of its own, that dies where it is told to.

    tortured.py FOLDER PORT MARKS DAYS [STATE NUMBER]

Each time it does a command it writes the id into MARKS, synced. Its clock is DAYS ahead. At the
NUMBER-th time that a command comes into STATE it kills itself, before anybody is told; ``working``
is in the middle of work that must not be done again.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from edgeagent import clock
from edgeagent.sync.command_types import CommandType, Nothing, OfModel
from edgeagent.sync.commands import Registry, Update
from edgeagent.testing.device import Device

WORK = CommandType("work", OfModel, "Do it")
SHOW = CommandType("show", Nothing, "Show it", changes=False, again=True)


class Doom:
    """Counts, and kills."""

    def __init__(self, state: str, number: int) -> None:
        self.state, self.left = state, number

    def met(self, state: str) -> None:
        if state == self.state:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    folder, port, marks = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    ahead, real = int(float(sys.argv[4]) * 86_400e9), clock.wall_ns
    clock.wall_ns = lambda: real() + ahead  # type: ignore[assignment]
    doom = Doom(sys.argv[5], int(sys.argv[6])) if len(sys.argv) > 5 else Doom("", 0)
    handle = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def work(arguments: Any, job: Any) -> dict[str, Any]:
        os.write(handle, f"{job.kind.name} {job.order.id}\n".encode())
        os.fsync(handle)
        if job.kind is WORK:  # What may be done again is not told as interrupted.
            doom.met("working")
        time.sleep(0.002)
        job.progress(0.5, "half")
        return {"id": job.order.id}

    registry = Registry()
    registry.register(WORK, work)
    registry.register(SHOW, work)
    device = Device(folder, "d1", port, registry=registry,
                    allow=frozenset({"ping", "cancel", "work", "show"}))  # fmt: skip

    def watch(update: Update) -> None:
        doom.met(update.status["status"])

    # Before what publishes: nobody hears of it.
    device.engine._watchers.insert(0, watch)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    device.start()
    print("up", flush=True)
    try:
        while True:
            time.sleep(0.2)
    finally:
        device.stop()


main()
