"""Real crashes of real processes: each leaves one report, which is told once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent import crashes
from edgeagent.store.export import records
from edgeagent.testing.agent import AgentProcess

CONFIG = """
[device]
id = "door-7"
[mqtt]
host = ""
password_file = "{secret}"
[sources.cam0]
kind = "plugin"
plugin = "{plugin}"
options = {{ now = "{now}" }}
[pipelines.belt]
source = "cam0"
model = "parts"
"""

PLUGIN = '''
import ctypes, os, threading, time
from pathlib import Path
import numpy as np
from edgeagent.types import Frame

class Crashy:
    """Gives pictures until a file says what is to go wrong."""
    live = True
    def __init__(self, name, options, wanted=None):
        self.name, self.now, self.number = name, Path(options["now"]), 0
    def open(self):
        pass
    def read(self):
        time.sleep(0.05)
        what = self.now.read_text() if self.now.exists() else ""
        if what:
            self.now.unlink()
        if what == "segv":
            ctypes.string_at(0)
        if what == "abort":
            os.abort()
        if what == "raise":
            raise TypeError("a bug with password=tr0ub4dor and the-secret-of-the-broker")
        if what == "thread":
            threading.Thread(target=self.bug, name="of the plugin").start()
        self.number += 1
        mono_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e6
        pixels = np.zeros((96, 96, 3), np.uint8)
        return Frame(self.name, self.number, pixels, time.time_ns(), mono_ms, "crashy")
    def bug(self):
        raise IndexError("in a thread of its own")
    def close(self):
        pass

class Hosted(Crashy):
    hangs = True
'''


@pytest.fixture
def agent(tmp_path: Path, request: pytest.FixtureRequest) -> AgentProcess:
    """One with a source that crashes as told; the parameter is the plugin's name."""
    site = tmp_path / "site"
    about = site / "crashy-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "crashy.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Name: crashy\nVersion: 1.0\n")
    points = "[edgeagent.sources]\ncrashy = crashy:Crashy\nhosted = crashy:Hosted\n"
    (about / "entry_points.txt").write_text(points)
    secret = tmp_path / "secret"
    secret.write_text("the-secret-of-the-broker")
    secret.chmod(0o600)
    text = CONFIG.format(
        plugin=getattr(request, "param", "crashy"), now=tmp_path / "now", secret=secret
    )
    paths = os.pathsep.join([str(site), str(Path(crashes.__file__).parents[1])])
    hook = f"import sys; sys.path[:0] = {paths.split(os.pathsep)!r}; "
    hook += "from edgeagent.agent import main; sys.argv[0] = 'edgeagentd'; sys.exit(main())"
    return AgentProcess(text, tmp_path, python=(sys.executable, "-c", hook))


def runs(agent: AgentProcess) -> None:
    agent.until(lambda status: status["sources"]["cam0"].get("read", 0) > 3)


def shell(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeagent.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def told(agent: AgentProcess) -> list[dict[str, Any]]:
    kept = records(agent.data)
    return [its["data"]["crash"] for its, _ in kept if its.get("data", {}).get("code") == "crashed"]


def test_a_signal_in_the_daemon_is_told_at_the_next_start_and_once(agent: AgentProcess) -> None:
    with agent:
        runs(agent)
        (agent.folder / "now").write_text("segv")
        assert agent.wait() == -signal.SIGSEGV
    assert list(agent.folder.rglob("core*")) == [], "a core dump holds pictures"
    with agent:
        status = agent.until(lambda its: its if told(agent) else None)
        assert status["crashes"]["kept"] == 1
        assert "SIGSEGV" in status["crashes"]["last"]["reason"]
    (its,) = told(agent)
    assert (its["who"], its["what"]) == ("agent", "signal")
    assert "crashy.py" in its["stack"] and "string_at" in its["stack"]
    assert agent.log.count("crashed at") == 1
    with agent:  # it is not told again
        runs(agent)
    assert len(told(agent)) == 1 and agent.log.count("crashed at") == 1
    (kept,) = crashes.read(agent.data)
    assert kept["told"] and kept["config"] and kept["version"]
    done = shell("crashes", "1", "--data-dir", agent.data)
    assert done.returncode == 1 and "string_at" in done.stdout
    assert shell("crashes", "--forget", "--data-dir", agent.data).returncode == 0
    assert shell("crashes", "--data-dir", agent.data).stdout == "Nothing has crashed.\n"


@pytest.mark.usefixtures("in_full")
def test_exceptions_are_told_at_once_without_secrets(agent: AgentProcess) -> None:
    with agent:
        runs(agent)
        for what, count in (("raise", 1), ("thread", 2)):
            (agent.folder / "now").write_text(what)
            agent.until(lambda _, count=count: len(told(agent)) == count)
    kept = {its["who"]: its for its in crashes.read(agent.data)}
    assert set(kept) == {"source cam0", "of the plugin"}
    assert kept["source cam0"]["reason"].startswith("TypeError: a bug with password=")
    written = b"".join(its.read_bytes() for its in (agent.data / "crashes").iterdir())
    for secret in (b"tr0ub4dor", b"the-secret-of-the-broker"):
        assert secret not in written
    assert any("belt: frame" in line or "INFO" in line for line in kept["source cam0"]["last"])


@pytest.mark.usefixtures("in_full")
@pytest.mark.parametrize("agent", ["hosted"], indirect=True)
def test_the_death_of_a_child_is_told_with_its_stack(agent: AgentProcess) -> None:
    with agent:
        runs(agent)
        (agent.folder / "now").write_text("abort")
        agent.until(lambda _: told(agent))
        runs(agent)  # it is opened again
    (its,) = told(agent)
    assert its["who"] == "decoder of cam0" and "SIGABRT" in its["reason"]
    assert "Fatal Python error: Aborted" in its["stack"] and "crashy.py" in its["stack"]
    assert list(agent.folder.rglob("core*")) == []


@pytest.mark.usefixtures("in_full")
def test_killed_is_a_crash_and_stopped_is_none(agent: AgentProcess) -> None:
    with agent:
        runs(agent)
    assert crashes.read(agent.data) == []
    assert list((agent.data / "crashes").iterdir()) == []
    with agent:
        runs(agent)
        agent.kill()
    with agent:
        agent.until(lambda _: told(agent))
    (its,) = told(agent)
    assert its["what"] == "killed" and "kill -9" in its["reason"]


def test_a_process_is_sealed_and_one_that_is_not_would_dump(tmp_path: Path) -> None:
    """The same death with and without the seal, under a limit that lets dumps be written."""
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "/")):
        pytest.skip("core dumps of this machine go elsewhere")
    code = (
        "import os, resource, sys; sys.path.insert(0, sys.argv[2])\n"
        "most = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (most, most))\n"
        "from edgeagent.sealed import dumpable, seal\n"
        "if sys.argv[1] == 'flag': resource.setrlimit = lambda *_: None\n"
        "if sys.argv[1] != 'open': assert seal() and dumpable() is False\n"
        "os.abort()\n"
    )
    root = str(Path(crashes.__file__).parents[1])
    found = {}
    for how in ("seal", "flag", "open"):  # flag: without the limit, as for a pipe
        place = tmp_path / how
        place.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", code, how, root], cwd=place, check=False, capture_output=True
        )
        assert done.returncode == -signal.SIGABRT, done.stderr
        found[how] = len(list(place.glob("core*")))
    assert found == {"seal": 0, "flag": 0, "open": 1}
