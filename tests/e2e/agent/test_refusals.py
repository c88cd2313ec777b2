"""How the daemon starts, or does not: exit codes and words for each way it can go wrong."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent.serve.client import ControlClient, find_socket
from edgeagent.store.verify import verify
from edgeagent.testing.agent import AgentProcess

QUIET = """
[sources.belt]
kind = "synthetic"
fps = 10
[pipelines.belt]
source = "belt"
model = "{model}"
"""


def test_a_second_daemon_on_one_data_folder_is_refused(tmp_path: Path) -> None:
    with AgentProcess(QUIET.format(model="parts"), tmp_path) as agent:
        agent.until(lambda status: status["uptime_s"] > 0)
        other = AgentProcess(agent.config, tmp_path).start()
        assert other.wait() == 75
        assert "edgeagent status" in other.log
        assert agent.client.status()["state"] in ("online", "degraded")


def test_a_wrong_configuration_is_refused_with_all_its_faults(tmp_path: Path) -> None:
    text = QUIET.format(model="parts") + '[mqtt]\nprot = 1\n[outbox]\nmax = "64 Megs"\n'
    agent = AgentProcess(text, tmp_path, "--strict").start()
    assert agent.wait() == 78
    assert 'agent.toml:9: mqtt.prot: unknown key; did you mean "port"?' in agent.log
    assert "agent.toml:11: outbox.max" in agent.log


def test_the_last_good_configuration_is_used_and_said(tmp_path: Path) -> None:
    agent = AgentProcess(QUIET.format(model="parts"), tmp_path)
    with agent:
        agent.until(lambda status: status["pipelines"]["belt"]["steps"] > 0)
    agent.config.write_text("[pipelines.belt]\nmodle = 1\n")
    with agent:
        status = agent.until(lambda s: s if s["pipelines"]["belt"]["steps"] > 0 else None)
    assert status["state"] == "degraded"
    assert any("modle" in reason for reason in status["reasons"])


def test_without_any_good_configuration_it_exits_78(tmp_path: Path) -> None:
    agent = AgentProcess("[pipelines.belt]\nmodle = 1\n", tmp_path).start()
    assert agent.wait() == 78


def test_a_missing_model_is_told_and_the_other_pipeline_runs(tmp_path: Path) -> None:
    text = QUIET.format(model="parts") + ('[pipelines.other]\nsource = "belt"\nmodel = "prats"\n')
    with AgentProcess(text, tmp_path) as agent:
        status = agent.until(lambda s: s if s["pipelines"]["belt"]["steps"] > 0 else None)
    assert status["state"] == "degraded"
    assert status["pipelines"]["other"]["state"] == "down"
    assert "parts" in status["pipelines"]["other"]["reason"]


def test_without_a_runtime_it_starts_and_says_what_cannot_run(tmp_path: Path) -> None:
    hide = (
        "import sys\n"
        "for name in ('ai_edge_litert', 'tflite_runtime', 'onnxruntime'):\n"
        "    sys.modules[name] = None\n"
        "from edgeagent.agent import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    agent = AgentProcess(QUIET.format(model="parts"), tmp_path, python=(sys.executable, "-c", hide))
    with agent:
        down = agent.until(lambda s: s["pipelines"]["belt"]["state"] == "down" and s)
    assert "pip install" in down["pipelines"]["belt"]["reason"]
    assert "parts" in down["pipelines"]["belt"]["reason"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_data_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    (folder / "data").mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(folder / "data")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        agent = AgentProcess(QUIET.format(model="parts"), folder).start()
        assert agent.wait() == 77
        assert str(folder / "data") in agent.log
        assert "Traceback" not in agent.log
    finally:
        subprocess.run(["umount", str(folder / "data")], check=True)


def test_an_unreachable_broker_does_not_keep_it_from_working(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        text = f'[mqtt]\nhost = "127.0.0.1"\nport = {held.getsockname()[1]}\n'
        with AgentProcess(text + QUIET.format(model="parts"), tmp_path) as agent:
            status = agent.until(
                lambda s: s if s["pipelines"]["belt"]["steps"] > 5 and s["reasons"] else None
            )
    assert status["state"] == "degraded"
    assert status["link"]["state"] != "up"


def test_readiness_and_watchdog_follow_the_pipelines(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = tmp_path / "notify"
    listener.bind(str(path))
    listener.settimeout(20)
    environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"}
    with AgentProcess(QUIET.format(model="parts"), tmp_path / "a", environment=environment):
        said: list[str] = []
        while said.count("WATCHDOG=1") < 2:
            said.append(listener.recv(4096).decode())
    assert said.index("READY=1") < said.index("WATCHDOG=1")
    listener.close()


TWO = """
[sources.pictures]
kind = "images"
path = "{golden}/*.png"
[pipelines.good]
source = "pictures"
model = "digits"
record = {{ every = 1 }}
[pipelines.broken]
source = "pictures"
model = "digits"
threshold = 5
"""


def test_a_pipeline_that_cannot_run_does_not_hold_up_the_file_that_it_shares(
    tmp_path: Path, repository: Path
) -> None:
    golden = repository / "models" / "digits" / "1.0.0" / "golden"
    agent = AgentProcess(TWO.format(golden=golden), tmp_path, "--until-done").start()
    assert agent.wait() == 1, agent.log
    assert "broken" in agent.log
    report = verify(tmp_path / "data")
    assert report.produced == len(list(golden.glob("*.png")))


def test_a_finite_run_that_could_not_use_everything_says_so(
    tmp_path: Path, repository: Path
) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(repository / "models" / "digits" / "1.0.0" / "golden", pictures)
    (pictures / "3b.png").write_text("no picture")
    text = TWO.format(golden=pictures).split("[pipelines.broken]")[0]
    agent = AgentProcess(text, tmp_path, "--until-done").start()
    assert agent.wait() == 1, agent.log
    assert "3b.png" in agent.log


def test_pictures_into_a_model_of_windows_are_refused_by_name(
    tmp_path: Path, repository: Path
) -> None:
    golden = repository / "models" / "digits" / "1.0.0" / "golden"
    text = TWO.format(golden=golden).split("[pipelines.broken]")[0]
    with AgentProcess(text.replace('"digits"', '"bearing"'), tmp_path) as agent:
        down = agent.until(lambda s: s["pipelines"]["good"]["state"] == "down" and s)
    assert "takes windows of values" in down["pipelines"]["good"]["reason"]


def test_nobody_else_can_read_what_it_writes(tmp_path: Path) -> None:
    with AgentProcess(QUIET.format(model="parts"), tmp_path) as agent:
        agent.until(lambda status: status["uptime_s"] > 0)
        open_to_all = [p for p in agent.data.rglob("*") if p.lstat().st_mode & 0o007]
    assert not open_to_all


def test_a_signal_during_the_start_is_an_end_not_a_crash(tmp_path: Path) -> None:
    agent = AgentProcess(QUIET.format(model="parts"), tmp_path).start()
    assert agent.process is not None
    while agent.process.poll() is None and not _handles_sigterm(agent.pid):
        pass
    agent.stop()
    assert agent.process.returncode == 0, agent.log
    assert "Traceback" not in agent.log


def _handles_sigterm(pid: int) -> bool:
    """Whether the process catches SIGTERM by now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & (1 << (signal.SIGTERM - 1)))


def test_the_agent_is_found_where_its_service_manager_put_the_socket(tmp_path: Path) -> None:
    # systemd sets RUNTIME_DIRECTORY for the daemon only; a person's shell does not have it.
    runtime = tmp_path / "run"
    runtime.mkdir()
    agent = AgentProcess(
        QUIET.format(model="parts"), tmp_path, environment={"RUNTIME_DIRECTORY": str(runtime)}
    )
    with agent:
        agent.client = ControlClient(runtime / "control.sock")
        agent.until(lambda status: status["uptime_s"] > 0)
        assert ControlClient(find_socket(agent.data)).status()["state"] == "online"
    assert find_socket(agent.data) == agent.data / "run" / "control.sock"


def test_a_camera_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    text = QUIET.format(model="parts").replace(
        'kind = "synthetic"', 'kind = "camera"\ndevice = "/dev/video77"'
    )
    with AgentProcess(text, tmp_path) as agent:
        status = agent.until(lambda s: s if "video77" in str(s["reasons"]) else None)
    (reason,) = (its for its in status["reasons"] if "video77" in its)
    assert reason.count("/dev/video77") == 1, reason
