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
