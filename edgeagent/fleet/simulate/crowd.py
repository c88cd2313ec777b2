"""Processes that carry simulated devices, and the one that keeps them going.

Each process has every n-th device. One that is killed is started again, and its devices come
back from their files, as real ones do.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from edgeagent.errors import NotFound, UsageError
from edgeagent.fleet.simulate.device import SimulatedDevice
from edgeagent.fleet.simulate.packages import PackagesFolder, make_package
from edgeagent.fleet.simulate.switchboard import Switchboard
from edgeagent.fleet.simulate.table import Table
from edgeagent.sync.endpoint import Endpoint
from edgeagent.update.ports import Repository

FILE = "simulation.json"
_STACK = 512 * 1024
"""Of an engine's thread: hundreds wait in their probation at a time."""
_AGAIN_S = 1.0


class Simulation(Struct, frozen=True):
    """What the processes of one simulation share; a file in its folder."""

    count: int
    endpoint: Endpoint
    packages: str = ""
    """Folder of packages to take versions from, unsigned."""
    root: str = ""
    """Bootstrap root of the fleet's repository: versions come over MQTT, signed."""
    table: Table = Table()
    prefix: str = "edgeagent"
    processes: int = 2
    speed: float = 1.0
    """``soak_s`` and ``shadow_s`` are this much shorter."""
    metrics_s: float = 60.0
    others: tuple[Endpoint, ...] = ()
    """Further nodes of the broker's cluster."""

    def check(self) -> Simulation:
        """Itself. Raises UsageError, NotFound."""
        if bool(self.packages) == bool(self.root):
            raise UsageError(
                "devices need to know where versions come from",
                remedy="Name --root root.json of the fleet's repository, or --packages DIR.",
            )
        for place in filter(None, (self.packages, self.root)):
            if not Path(place).exists():
                raise NotFound(f"there is no {place}")
        if any(its.tls for its in (self.endpoint, *self.others)):
            raise UsageError("simulated devices do not speak TLS")
        return self


def device_id(number: int) -> str:
    """Of the ``number``-th device."""
    return f"sim-{number:04}"


def carry(folder: Path, part: int) -> None:
    """Be one process: carry devices until a signal comes."""
    its = msgspec.json.decode((folder / FILE).read_bytes(), type=Simulation)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    threading.stack_size(_STACK)
    board = Switchboard(its.endpoint, *its.others)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(board, "stopping", True))
    shipped = folder / "shipped"
    repository = opener(its)
    devices = [
        SimulatedDevice(
            board, folder / device_id(n), device_id(n), n, its.count, its.table, shipped,
            repository, prefix=its.prefix, speed=its.speed, metrics_s=its.metrics_s,
        )
        for n in range(part, its.count, its.processes)
    ]  # fmt: skip

    def turn(now: float) -> None:
        for device in devices:
            device.turn(now)

    board.run(turn)
    for device in devices:
        device.stop()


def opener(its: Simulation) -> Callable[[SimulatedDevice], Repository]:
    """How devices get at versions."""
    if its.packages:
        return lambda _device: PackagesFolder(Path(its.packages))
    from edgeagent.fleet.simulate.trust import opened

    return lambda device: opened(device, Path(its.root))


class Crowd:
    """The processes of a simulation."""

    def __init__(self, folder: Path, simulation: Simulation) -> None:
        """Raises UsageError, NotFound."""
        self.folder = folder
        self.simulation = simulation.check()
        folder.mkdir(parents=True, exist_ok=True)
        make_package(folder / "shipped", simulation.table.model, simulation.table.version)
        (folder / FILE).write_bytes(msgspec.json.encode(simulation))
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Keep them going until `stop`."""
        try:
            while not self._stopping.is_set():
                self._start()
                self._stopping.wait(_AGAIN_S)
        finally:
            self._end()

    def stop(self) -> None:
        """Any thread, or a signal's handler."""
        self._stopping.set()

    def _start(self) -> None:
        for part in range(self.simulation.processes):
            process = self.processes.get(part)
            if process is None or process.poll() is not None:
                with (self.folder / f"process-{part}.log").open("ab") as log:
                    self.processes[part] = subprocess.Popen(
                        [sys.executable, "-m", __name__, str(self.folder), str(part)],
                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    )  # fmt: skip

    def _end(self) -> None:
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + 10
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


if __name__ == "__main__":
    carry(Path(sys.argv[1]), int(sys.argv[2]))
