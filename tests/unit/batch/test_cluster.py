"""The same work on a real Dask cluster: a scheduler and two workers, one of them killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.batch.cluster import DaskCrew
from edgeagent.batch.crew import LocalCrew
from edgeagent.batch.formats import open_format
from edgeagent.batch.order import Job, Order
from edgeagent.batch.run import run
from edgeagent.errors import Unavailable
from edgeagent.manifest import Package

pytest.importorskip("distributed", reason="Dask is not installed (the extra dask)")


class Cluster:
    """Processes of a cluster."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.address = ""
        self._told = folder / "scheduler.json"
        self._environment = {**os.environ, "PYTHONPATH": str(repository)}
        self._folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(self._told)
        )

    def add_worker(self) -> None:
        self.workers.append(
            self._start("worker", "--scheduler-file", str(self._told), "--nthreads", "1",
                        "--no-nanny", "--no-dashboard", "--local-directory", str(self._folder))
        )  # fmt: skip

    def _start(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        log = (self._folder / f"{what}{len(self.workers)}.log").open("wb")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + what, "--host", "127.0.0.1",
                 *options], env=self._environment, cwd=self._folder, stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self) -> None:
        """Until all have come."""
        import distributed

        deadline = time.monotonic() + 30
        while not self._told.exists() or not self._told.read_text().endswith("}"):
            assert time.monotonic() < deadline and self.scheduler.poll() is None
            time.sleep(0.02)
        with distributed.Client(scheduler_file=str(self._told), set_as_default=False) as client:
            client.wait_for_workers(len(self.workers), timeout=30)
            self.address = client.scheduler.address

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path, repository: Path, full: bool) -> Iterator[Cluster]:
    if not full:
        pytest.skip("starting a cluster takes a while (EDGEAGENT_TESTS=full)")
    folder = tmp_path / "cluster"
    folder.mkdir()
    running = Cluster(folder, repository)
    running.add_worker()
    running.add_worker()
    try:
        running.wait()
        yield running
    finally:
        running.end()


def test_one_worker_killed_in_the_middle_gives_the_identical_result(
    cluster: Cluster, order: Order, jobs: list[Job], parts: Package, tmp_path: Path
) -> None:
    writer = open_format("jsonl", parts)
    # Each input several times: enough work that there is a middle.
    many = [
        Job(place, job.path, f"{place}-{job.name}")
        for place, job in enumerate(job for _ in range(6) for job in jobs)
    ]
    local, out = tmp_path / "local.jsonl", tmp_path / "dask.jsonl"
    with LocalCrew(order, 1) as crew:
        run(order, many, crew, local, writer)

    class Deadly(DaskCrew):
        def run(self, jobs: Any) -> Any:
            count = 0
            for block in super().run(jobs):
                yield block
                count += block is not None
                if count == 30:
                    cluster.workers[0].kill()

    with pytest.raises(Unavailable, match="is not there") as caught:
        DaskCrew(order, cluster.address, "/nowhere/a.jpg")
    assert "under the same paths" in caught.value.remedy
    with Deadly(order, cluster.address, many[0].path) as crew:
        assert crew.size == 2 and "litert" in crew.receipt
        done = run(order, many, crew, out, writer)
    assert cluster.workers[0].wait() < 0
    assert out.read_bytes() == local.read_bytes()
    assert done.samples == 38 * 6 and len(done.skipped) == 12


def test_no_scheduler_is_said(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeagent.batch.cluster._CONNECT_S", 0.5)
    with pytest.raises(Unavailable, match="no Dask scheduler answers"):
        DaskCrew(order, "tcp://127.0.0.1:1")
