"""`run`, `status`, `doctor` and `outbox` with a real agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Unavailable
from edgeagent.serve.client import ControlClient, socket_path

CONFIG = """
[sources.belt]
kind = "synthetic"
fps = 30
[pipelines.belt]
source = "belt"
model = "parts"
record = { events = true, every = 2 }
"""


class Running:
    def __init__(self, folder: Path, repository: Path, *more: str) -> None:
        self.folder = folder
        self.config = folder / "agent.toml"
        self.data = folder / "data"
        self.config.write_text(CONFIG)
        self.child = subprocess.Popen(
            [sys.executable, "-m", "edgeagent.cli", "run", "--config", str(self.config),
             "--data-dir", str(self.data), *more],
            env={**os.environ, "PYTHONPATH": str(repository)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def wait_for_records(self) -> dict[str, Any]:
        client, deadline = ControlClient(socket_path(self.data)), time.monotonic() + 20
        while time.monotonic() < deadline and self.child.poll() is None:
            try:
                report = client.status()
            except Unavailable:
                report = {"outbox": {"produced": 0}}
            if report["outbox"]["produced"] > 5 and report["state"] == "online":
                return report
            time.sleep(0.05)
        raise AssertionError(f"the agent did not come up: {self.child.communicate()}")

    def end(self) -> tuple[int, str]:
        self.child.send_signal(signal.SIGINT)
        _, said = self.child.communicate(timeout=15)
        return self.child.returncode, said


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Running]:
    """One for all tests of this file: it starts in a second or two."""
    its = Running(tmp_path_factory.mktemp("agent"), repository)
    try:
        its.wait_for_records()
        yield its
    finally:
        code, said = its.end()
    assert code == 0, said


def test_status_of_a_healthy_agent(invoke: Any, agent: Running) -> None:
    done = invoke("status", "--data-dir", agent.data)
    assert done.exit_code == 0, done.output
    for said in ("online", "parts@1.0.0/int8", "operators on", "= 0 delivered +"):
        assert said in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_status_as_json(invoke: Any, agent: Running) -> None:
    report = json.loads(invoke("status", "--json", "--data-dir", agent.data).stdout)
    account = report["outbox"]
    assert account["produced"] == account["pending"] + account["delivered"] > 5


def test_degraded_is_exit_code_1(
    invoke: Any, agent: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ControlClient(socket_path(agent.data)).status()
    degraded = {**real, "state": "degraded", "reasons": ["cam0: the cable is out"]}
    monkeypatch.setattr(ControlClient, "status", lambda self: degraded)
    done = invoke("status", "--data-dir", agent.data)
    assert done.exit_code == 1
    assert "cam0: the cable is out" in done.stdout


def test_a_second_one_on_the_same_data_is_refused(shell: Any, agent: Running) -> None:
    done = shell("run", "--config", agent.config, "--data-dir", agent.data)
    assert done.returncode == 75
    assert "data folder" in done.stderr and "edgeagent status" in done.stderr


def test_outbox_beside_a_running_agent(invoke: Any, agent: Running) -> None:
    done = invoke("outbox", "verify", "--json", "--data-dir", agent.data)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ok"] is True
    stats = json.loads(invoke("outbox", "stats", "--json", "--data-dir", agent.data).stdout)
    assert stats["produced"] >= json.loads(done.stdout)["produced"] > 0
    assert "every number is accounted for" in invoke("outbox", "verify", "-d", agent.data).stdout


def test_peek_filters_and_ends_with_the_newest(invoke: Any, agent: Running) -> None:
    done = invoke("outbox", "peek", "-n", "3", "--kind", "result", "--json", "-d", agent.data)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [its["kind"] for its in records] == ["result"] * 3
    assert [its["seq"] for its in records] == sorted(its["seq"] for its in records)
    table = invoke("outbox", "peek", "-n", "3", "--data-dir", agent.data).stdout
    assert table.splitlines()[0].split() == ["SEQ", "AT", "KIND", "PIPELINE", "STATE", "WHAT"]
    assert "No such record" in invoke("outbox", "peek", "--pipeline", "no", "-d", agent.data).stderr


def test_doctor_finds_the_running_agent(invoke: Any, agent: Running) -> None:
    done = invoke(
        "doctor", "--json", "--config", agent.config, "--data-dir", agent.data, "--set",
        "device.id=test-bench",
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert done.exit_code == (1 if report["worst"] in ("problem", "failed") else 0)
    checks = {its["check"]: its["severity"] for its in report["findings"]}
    assert checks["agent"] == "ok"
    for people in (invoke("doctor", "--config", agent.config, "--data-dir", agent.data),):
        assert "findings" in people.stdout


def test_why_asks_the_running_agent(invoke: Any, agent: Running) -> None:
    peeked = invoke("outbox", "peek", "-n", "1", "--kind", "event", "--json", "-d", agent.data)
    event = json.loads(peeked.stdout)["data"]["id"]
    told = invoke("why", event, "-c", agent.config, "-d", agent.data)
    assert told.exit_code == 0 and told.stdout.startswith(f"{event}: "), told.output
    assert "running agent" in told.stderr
    answer = json.loads(invoke("why", "belt", "--since", "5m", "--json", "-d", agent.data).stdout)
    assert answer["cause"] == "event" and event in answer["facts"]["events"]
    for arguments, code, said in (
        (("bolt",), 3, "belt"), (("e-999999",), 3, "nothing is kept of e-999999"),
        (("belt", "--since", "soon"), 2, "expected a span such as 2h"),
    ):  # fmt: skip
        done = invoke("why", *arguments, "-c", agent.config, "-d", agent.data)
        assert done.exit_code == code and said in done.stderr, done.stderr


def test_ping_answers_with_times(invoke: Any, agent: Running) -> None:
    done = invoke("ping", "--data-dir", agent.data)
    assert done.exit_code == 0, done.output
    assert "clock" in done.stdout
    assert json.loads(invoke("ping", "--json", "-d", agent.data).stdout)["mono_ms"] > 0


def test_logs_of_the_running_agent(invoke: Any, agent: Running) -> None:
    invoke("pipeline", "pause", "belt", "-d", agent.data)
    invoke("pipeline", "start", "belt", "-d", agent.data)
    done = invoke("logs", "-n", "1", "--json", "-d", agent.data)
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["lines"]) <= 1


def test_a_pipeline_is_stopped_and_started(invoke: Any, agent: Running) -> None:
    client = ControlClient(socket_path(agent.data))
    for action, state in (("pause", "paused"), ("start", "running"), ("stop", "paused")):
        done = invoke("pipeline", action, "belt", "-d", agent.data)
        assert done.exit_code == 0, done.output
        assert done.stdout == f"belt: {client.status()['pipelines']['belt']['state']}\n"
        assert (state == "paused") == ("paused" in done.stdout)
    assert invoke("pipeline", "start", "belt", "--json", "-d", agent.data).exit_code == 0


def test_a_pipeline_that_is_not_there(invoke: Any, agent: Running) -> None:
    done = invoke("pipeline", "stop", "belr", "-d", agent.data)
    assert done.exit_code == 3
    assert "there are: belt" in done.stderr


def test_what_was_never_ordered_is_cancelled_once(invoke: Any, agent: Running) -> None:
    done = invoke("cancel", "never-seen", "-d", agent.data)
    assert (done.exit_code, done.stdout) == (0, "never-seen was unknown\n")
    done = invoke("cancel", "never-seen", "-d", agent.data)
    assert done.exit_code == 1
    assert "cancelled" in done.stderr


def test_the_configuration_shown_is_the_running_agents(invoke: Any, agent: Running) -> None:
    done = invoke("config", "show", "--json", "-d", agent.data)
    assert done.exit_code == 0, done.output
    assert "running agent" in done.stderr
    assert json.loads(done.stdout)["pipelines"]["belt"]["record"]["every"] == 2
    origins = json.loads(invoke("config", "show", "--origin", "--json", "-d", agent.data).stdout)
    assert origins["sources.belt.fps"] == {"value": 30.0, "origin": f"{agent.config}:4"}
    assert origins["mqtt.port"]["origin"] == "default"


def test_a_file_that_is_named_is_shown_instead(invoke: Any, agent: Running, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[mqtt]\nport = 1999\n")
    done = invoke("config", "show", tmp_path / "other.toml", "--json", "-d", agent.data)
    assert json.loads(done.stdout)["mqtt"]["port"] == 1999
    done = invoke("config", "show", "--set", "mqtt.port=1998", "--json", "-d", agent.data,
                  "-c", tmp_path / "other.toml")  # fmt: skip
    assert json.loads(done.stdout)["mqtt"]["port"] == 1998


def test_a_file_is_compared_with_what_runs(invoke: Any, agent: Running, tmp_path: Path) -> None:
    old = tmp_path / "old.toml"
    old.write_text(agent.config.read_text().replace("fps = 30", "fps = 29"))
    done = invoke("config", "diff", old, "--json", "-d", agent.data)
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout) == [{"key": "sources.belt.fps", "before": 29.0, "after": 30.0}]
    assert invoke("config", "diff", agent.config, "-d", agent.data).exit_code == 0


def test_the_doctor_of_the_running_agent(invoke: Any, agent: Running) -> None:
    done = invoke("doctor", "--json", "-d", agent.data)
    assert "running agent" in done.stderr
    report = json.loads(done.stdout)
    said = {its["check"]: its["what"] for its in report["findings"]}
    assert "the agent" in said["agent"] and "well" in said["agent"]
    assert str(agent.config) in str(report)
    assert done.exit_code == (1 if report["worst"] in ("problem", "failed") else 0)


@pytest.mark.parametrize(
    "arguments", [["ping"], ["logs"], ["pipeline", "start", "belt"], ["cancel", "x"]]
)
def test_what_only_a_running_agent_can_do(
    invoke: Any, tmp_path: Path, arguments: list[str]
) -> None:
    done = invoke(*arguments, "-d", tmp_path / "none")
    assert done.exit_code == 69
    assert "no agent runs" in done.stderr


def test_without_an_agent_the_files_are_read_and_that_is_said(
    invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("[mqtt]\nport = 1997\n")
    monkeypatch.setattr("edgeagent.config.paths.SYSTEM_CONFIG", file)
    done = invoke("config", "show", "--json", "-d", tmp_path / "none")
    assert json.loads(done.stdout)["mqtt"]["port"] == 1997
    assert "Read from the files: no agent runs" in done.stderr
    done = invoke("doctor", "--json", "-d", tmp_path / "none")
    assert "Read from the files: no agent runs" in done.stderr
    assert str(file) in done.stdout


def test_one_key_of_the_configuration(invoke: Any, agent: Running) -> None:
    for place in (["-d", agent.data], ["-c", agent.config]):
        done = invoke("config", "show", "--key", "sources.belt.fps", "--json", *place)
        assert json.loads(done.stdout) == 30.0
        done = invoke("config", "show", "--key", "sources.belt", "--origin", "--json", *place)
        assert {"sources.belt.fps", "sources.belt.kind"} <= json.loads(done.stdout).keys()
        assert invoke("config", "show", "--key", "mqtt.prot", *place).exit_code == 3


def test_run_until_done_ends_by_itself(tmp_path: Path, repository: Path) -> None:
    its = Running(tmp_path, repository, "--until-done", "--set", "sources.belt.count=20",
                  "--set", "sources.belt.pace=max", "--quiet")  # fmt: skip
    _, said = its.child.communicate(timeout=30)
    assert its.child.returncode == 0, said
    assert "INFO" not in said
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent.cli", "outbox", "verify", "--json", "-d", str(its.data)],
        env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["produced"] >= 10


def test_status_shows_what_is_kept_and_written(invoke: Any, agent: Running) -> None:
    storage = json.loads(invoke("status", "--json", "-d", agent.data).stdout)["storage"]
    assert 0 < storage["used_bytes"] < storage["max_bytes"] == 512 << 20
    assert "of 512" in invoke("status", "-d", agent.data).stdout


def test_carried_there_and_back_beside_a_running_agent(
    invoke: Any, agent: Running, tmp_path: Path
) -> None:
    stick, database = tmp_path / "stick", tmp_path / "fleet.db"
    done = invoke("outbox", "export", "--carry", stick, "--json", "-d", agent.data)
    assert done.exit_code == 0 and json.loads(done.stdout)["files"] > 0, done.output
    done = invoke("fleet", "import", stick, "--db", database, "--confirms", stick, "--json")
    assert done.exit_code == 0, done.output
    imported = json.loads(done.stdout)
    done = invoke("outbox", "settle", stick, "--json", "--config", agent.config, "-d", agent.data)
    assert done.exit_code == 0, done.output
    settled = json.loads(done.stdout)
    assert settled["confirms"] == 1
    assert settled["delivered"] >= imported["records"] > 0
    lines = invoke("outbox", "export", "-d", agent.data).stdout.splitlines()
    # What a collector has confirmed is not kept.
    assert json.loads(lines[0])["seq"] > imported["records"]
    table = invoke("outbox", "export", "--format", "csv", "-d", agent.data).stdout
    assert table.startswith("seq,state,kind")
