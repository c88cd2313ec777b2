"""Memory runs out, really: an agent in a control group with a limit, something else that takes what
is left of it, and the kernel's OOM killer.

Runs where the memory controller of control groups can be written to (as root, with version 1 or 2).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.agent import AgentProcess

pytest.importorskip("ai_edge_litert")
pytest.importorskip("cv2")
pytestmark = pytest.mark.usefixtures("in_full")

LIMIT_MB = 320
IN_TIME_S = 5.0
MJPEG = Path(__file__).parent.parent / "e2e" / "capture" / "mjpeg_server.py"
CONFIG = """
[governor]
least_memory = 0.2
[sources.camera]
kind = "mjpeg"
url = "http://127.0.0.1:{port}/"
[sources.seldom]
kind = "synthetic"
fps = 0.2
[pipelines.door]
source = "camera"
model = "parts"
priority = 7
record = {{ every = 1 }}
[pipelines.yard]
source = "seldom"
model = "parts"
priority = 2
"""
QUICK = (
    "import sys, edgeagent.agent.governing as governing, edgeagent.device.governor as governor; "
    "governing._EVERY_S, governing._IDLE_S = 0.2, 1.0; "
    "governor._MEMORY_SETTLE_S, governor._MEMORY_PATIENCE_S = 1.0, 2.0; "
    "from edgeagent.agent import main; sys.exit(main(sys.argv[1:]))"
)
"""An agent whose governor looks ten times as often."""
HOG = """
import sys
held = []
for line in sys.stdin:
    for _ in range(int(line)):
        held.append(bytearray(b"x" * (1 << 20)))
    print(len(held), flush=True)
"""


class Group:
    """A control group with a limit to its memory."""

    def __init__(self, folder: Path, limit: str, kills: str) -> None:
        self.folder = folder
        self._kills = folder / kills
        (folder / limit).write_text(str(LIMIT_MB << 20))

    def inside(self, *command: str) -> tuple[str, ...]:
        """A command that begins within the group."""
        enter = f'echo $$ > {self.folder}/cgroup.procs && exec "$@"'
        return ("sh", "-c", enter, "sh", *command)

    def empties(self) -> None:
        """End what is left in it."""
        file = self.folder / "cgroup.procs"
        deadline = time.monotonic() + 10.0
        while told := file.read_text():
            for process in told.split():
                os.kill(int(process), signal.SIGKILL)
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def killed(self) -> int:
        """How many processes the kernel has ended in it."""
        told = dict(line.split() for line in self._kills.read_text().splitlines())
        return int(told["oom_kill"])


@pytest.fixture
def group() -> Iterator[Group]:
    name = f"edgeagent-test-{os.getpid()}"
    for top, limit, kills in (
        ("memory", "memory.limit_in_bytes", "memory.oom_control"),
        ("", "memory.max", "memory.events"),
    ):
        folder = Path("/sys/fs/cgroup") / top / name
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            made = Group(folder, limit, kills)
        except OSError:
            folder.rmdir()
            continue
        yield made
        made.empties()
        folder.rmdir()
        return
    pytest.skip("no control group can be given a limit to its memory here")


class Hog:
    """Something else in the group that takes memory: several processes, so that none of them is the
    largest, which the kernel would end first."""

    def __init__(self, group: Group) -> None:
        self._processes = [
            subprocess.Popen(
                group.inside(sys.executable, "-S", "-c", HOG),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            )
            for _ in range(5)
        ]  # fmt: skip
        self._next = 0
        for _ in self._processes:
            self.takes(0)

    def takes(self, mib: int) -> None:
        process = self._processes[self._next]
        self._next = (self._next + 1) % len(self._processes)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{mib}\n")
        assert process.stdout.readline()

    def ends(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture
def hog(group: Group) -> Iterator[Hog]:
    made = Hog(group)
    yield made
    made.ends()


@pytest.fixture
def agent(group: Group, tmp_path: Path) -> Iterator[AgentProcess]:
    server = subprocess.Popen(
        [sys.executable, str(MJPEG), "0", "10"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    config = CONFIG.format(port=int(server.stdout.readline()))
    made = AgentProcess(
        config, tmp_path / "agent", python=group.inside(sys.executable, "-c", QUICK)
    )
    with made:
        made.until(lambda status: all(its["steps"] > 1 for its in status["pipelines"].values()))
        made.until(lambda status: status.get("governor"))
        yield made
    server.kill()
    server.communicate()


def verified(agent: AgentProcess) -> dict[str, Any]:
    """The account of an agent that has ended."""
    words = ["outbox", "verify", "--json", "--config", str(agent.config)]
    words += ["--data-dir", str(agent.data)]
    ended = subprocess.run(
        [sys.executable, "-m", "edgeagent", *words], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def decoder_of(agent: AgentProcess) -> int:
    """Process of the camera's decoder."""
    (child,) = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split() or [
        line.parent.name for line in Path("/proc").glob("[0-9]*/stat")
        if line.read_text().rpartition(")")[2].split()[1] == str(agent.pid)
    ]  # fmt: skip
    return int(child)


def test_models_are_unloaded_before_the_kernel_ends_anything(
    group: Group, agent: AgentProcess, hog: Hog
) -> None:
    def done(words: str) -> Callable[[dict[str, Any]], Any]:
        return lambda status: any(words in step for step in status["governor"]["steps"]) and status

    # No faster than the governor looks: nothing helps against a program that takes all at once.
    while not agent.client.status()["governor"]["steps"]:
        now = agent.client.status()["uptime_s"]
        hog.takes(4)
        agent.until(lambda status, now=now: status["uptime_s"] > now + 0.4)
    status = agent.until(done("the idle model of yard is unloaded"))
    assert "of the memory is free" in status["governor"]["reason"]
    assert status["state"] == "degraded"
    # That was not enough: the less important pipeline rests, the other one goes on.
    status = agent.until(done("yard rests"))
    steps = status["pipelines"]["door"]["steps"]
    agent.until(lambda status: status["pipelines"]["door"]["steps"] > steps + 10)
    assert group.killed == 0
    hog.ends()
    agent.until(lambda status: status["state"] == "online" and not status["governor"]["steps"])
    steps = agent.client.status()["pipelines"]["yard"]["steps"]
    agent.until(lambda status: status["pipelines"]["yard"]["steps"] > steps)
    assert group.killed == 0
    agent.stop()
    assert verified(agent)["dropped"] == {}


def test_a_decoder_that_the_kernel_ends_is_begun_anew(
    group: Group, agent: AgentProcess, hog: Hog
) -> None:
    decoder = decoder_of(agent)
    while not group.killed:
        hog.takes(2)
    hog.ends()
    ended = time.monotonic()
    assert not Path(f"/proc/{decoder}/stat").exists() or "Z" in (
        Path(f"/proc/{decoder}/stat").read_text()
    )
    agent.until(lambda status: status["sources"]["camera"]["reopened"], IN_TIME_S)
    steps = agent.client.status()["pipelines"]["door"]["steps"]
    agent.until(lambda status: status["pipelines"]["door"]["steps"] > steps)
    assert time.monotonic() - ended < IN_TIME_S
    assert "the decoder was ended by SIGKILL, for want of memory" in agent.log
    assert agent.process is not None and agent.process.poll() is None
    agent.until(lambda status: status["state"] == "online")
    doctor = subprocess.run(
        [sys.executable, "-m", "edgeagent", "doctor", "--all", "--config", str(agent.config),
         "--data-dir", str(agent.data)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if os.access("/dev/kmsg", os.R_OK):
        assert "for want of memory the kernel has ended" in " ".join(doctor.stdout.split())
    agent.stop()
    assert verified(agent)["dropped"] == {}


def test_an_agent_that_the_kernel_ends_loses_no_number(
    group: Group, agent: AgentProcess, hog: Hog
) -> None:
    agent.until(lambda status: status["outbox"]["produced"] > 20)
    before = agent.client.status()["outbox"]["produced"]
    Path(f"/proc/{agent.pid}/oom_score_adj").write_text("1000")
    while not group.killed:
        hog.takes(2)
    assert agent.wait() == -signal.SIGKILL
    hog.ends()
    # As the service manager does.
    agent.start()
    agent.until(lambda status: status["pipelines"]["door"]["steps"] > 5)
    agent.stop()
    told = verified(agent)
    assert told["dropped"] == {} and told["produced"] > before
