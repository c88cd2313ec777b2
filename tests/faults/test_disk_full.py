"""A disk that fills up under a running agent, and is freed again."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.store.allotment import tree_bytes
from edgeagent.store.verify import verify
from edgeagent.testing.agent import AgentProcess

MIB = 1 << 20
CONFIG = """
[storage]
max = "12 MiB"
[outbox]
max = "5 MiB"
blobs = "1 MiB"
[sources.belt]
kind = "synthetic"
fps = 50
[pipelines.belt]
source = "belt"
model = "parts"
record = { every = 1 }
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = tmp_path / "agent"
    (folder / "data").mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder / "data")]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can't be mounted here")
    yield folder
    subprocess.run(["umount", str(folder / "data")], check=True)


class Sampled:
    """What is in a folder, looked at each 50 ms."""

    def __init__(self, folder: Path, peaks: list[int]) -> None:
        self._folder, self._peaks = folder, peaks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            foreign = tree_bytes(self._folder / "somebody-elses.bin")
            self._peaks.append(tree_bytes(self._folder) - foreign)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_inference_goes_on_and_the_account_tells_the_truth(small_disk: Path) -> None:
    peaks: list[int] = []
    with AgentProcess(CONFIG, small_disk) as agent, Sampled(small_disk / "data", peaks):
        agent.until(lambda status: status["outbox"]["produced"] > 50)
        ballast = small_disk / "data" / "somebody-elses.bin"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(65536))
            except OSError:
                pass
        steps = agent.client.status()["pipelines"]["belt"]["steps"]
        agent.until(lambda status: status["pipelines"]["belt"]["steps"] > steps + 100)
        produced = agent.client.status()["outbox"]["produced"]
        ballast.unlink()
        agent.until(lambda status: status["outbox"]["produced"] > produced + 50)
        agent.until(lambda status: not any("outbox" in reason for reason in status["reasons"]))
    assert MIB < max(peaks) <= 12 * MIB
    report = verify(small_disk / "data")
    assert report.ok, report
    assert report.produced == report.delivered + report.pending + sum(report.dropped.values())
