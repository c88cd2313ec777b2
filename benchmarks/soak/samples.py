"""What is looked at again and again, and how it moves."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import IO

from benchmarks.process import cpu_s, family, memory_mb
from benchmarks.soak.rig import BALLAST, Rig
from edgeagent.store.allotment import tree_bytes

UNITS = {
    "pss_mb": "MB", "rss_mb": "MB", "anonymous_mb": "MB", "descriptors": "", "threads": "",
    "processes": "", "disk_mb": "MB", "collector_mb": "MB", "cpu_s": "s",
}  # fmt: skip
"""Series → unit. Memory, descriptors and threads are of the agent and all its children."""


def _entries(pid: int, folder: str) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/{folder}").iterdir()))
    except OSError:
        return 0  # A child that has ended meanwhile.


def sample(rig: Rig) -> dict[str, float]:
    """One look, by series."""
    pids = list(family(rig.agent.pid))
    data = rig.agent.data
    its = {
        "pss_mb": memory_mb(rig.agent.pid),
        "rss_mb": memory_mb(rig.agent.pid, "Rss"),
        "anonymous_mb": memory_mb(rig.agent.pid, "Anonymous"),
        "descriptors": sum(_entries(pid, "fd") for pid in pids),
        "threads": sum(_entries(pid, "task") for pid in pids),
        "processes": len(pids),
        "disk_mb": (tree_bytes(data) - tree_bytes(data / BALLAST)) / 1e6,
        "collector_mb": memory_mb(rig.collector.pid, "Anonymous"),
        "cpu_s": cpu_s(rig.agent.pid),
    }
    return {name: round(float(value), 3) for name, value in its.items()}


class Sampler:
    """A thread that looks each ``every_s`` seconds and writes each look down at once."""

    def __init__(self, rig: Rig, file: Path, every_s: float) -> None:
        self._rig, self._every_s = rig, every_s
        self._file: IO[str] = file.open("w", encoding="utf-8")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.began = time.monotonic()
        self.rows: list[dict[str, float]] = []

    def _run(self) -> None:
        turn = 0
        while not self._stop.wait(max(0.0, self.began + turn * self._every_s - time.monotonic())):
            turn += 1
            row = {"at_s": round(time.monotonic() - self.began, 2), **sample(self._rig)}
            self.rows.append(row)
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._file.close()
