"""What a real agent keeps, told from the device; what is too old goes; who looked is noted."""

from __future__ import annotations

import getpass
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent import clock
from edgeagent.store import looks
from edgeagent.store.verify import verify
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Desk

CONFIG = """
[device]
id = "door-7"
name = "Door 7"
[mqtt]
host = "127.0.0.1"
port = {port}
[privacy]
policy = "https://example.org/cameras"
tell_looks = true
[commands]
allow = ["ping", "capture", "privacy-report", "purge"]
[serve]
listen = "unix:{socket}"
[sources.cam0]
kind = "synthetic"
fps = 10
[pipelines.belt]
source = "cam0"
model = "parts"
snapshot = true
[pipelines.belt.redact]
labels = ["cracked"]
method = "fill"
"""
ME = f"local:{getpass.getuser()}"


def edgeagent(agent: AgentProcess, *arguments: str) -> Any:
    command = [sys.executable, "-m", "edgeagent.cli", *arguments, "--json"]
    place = ["--config", str(agent.config), "--data-dir", str(agent.data)]
    done = subprocess.run([*command, *place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def fetched(socket_path: Path, path: str) -> bytes:
    """One request over a unix socket, by what every device has."""
    import http.client
    import socket

    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(socket_path))
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return answer.read()


@pytest.fixture
def running(tmp_path: Path, broker: Mosquitto) -> AgentProcess:
    text = CONFIG.format(port=broker.port, socket=tmp_path / "http")
    return AgentProcess(text, tmp_path)


def test_report_looks_and_purge_of_a_running_agent(
    running: AgentProcess, broker: Mosquitto
) -> None:
    desk = Desk(broker.port, "door-7")
    with running as agent:
        agent.until(lambda its: its["link"]["state"] == "up" and its["outbox"]["blob_bytes"])
        view = json.loads(fetched(agent.folder / "http", "/api/views/belt"))
        assert view["picture"] or view["withheld"]
        (sha256,) = sqlite3.connect(agent.data / "db/outbox.db").execute(
            "SELECT sha256 FROM blob LIMIT 1"
        ).fetchone()  # fmt: skip
        fetched(agent.folder / "http", f"/api/evidence/{sha256}")

        assert desk.ask("privacy-report", "r1", by="officer")["status"] == "successful"
        (report,) = edgeagent(agent, "privacy", "report")
        _is_right(agent, report)
        desk.until(lambda: b'"looked"' in b"".join(_plain(its) for its in desk.on(
            "edgeagent/door-7/records")))  # fmt: skip

        assert desk.ask("purge", "p1", before="1 s")["reason"] == "signature-required"

        before = clock.rfc3339(clock.wall_ns())
        agent.until(lambda its: its["outbox"]["pending"] == 0)
        (foreseen,) = edgeagent(agent, "purge", "--before", before, "--dry-run")
        (gone,) = edgeagent(agent, "purge", "--before", before)
        assert gone["outbox"]["records"] >= foreseen["outbox"]["records"] > 0
        assert gone["outbox"]["evidence"] >= 1
        assert before.encode() not in b"".join(
            its.read_bytes() for its in (agent.data / "blobs").iterdir()
        )
        assert not (agent.data / "blobs" / sha256).exists()
    assert verify(agent.data, deep=True).ok
    _all_noted(agent, sha256)
    desk.close()


def _is_right(agent: AgentProcess, report: dict[str, Any]) -> None:
    """What it says is what another way of looking finds."""
    stores = {its["store"]: its for its in report["stores"]}
    files = [its for its in (agent.data / "blobs").iterdir() if its.suffix != ".part"]
    assert 1 <= stores["evidence"]["count"] <= len(files)
    assert stores["evidence"]["modes"] == ["drwxr-x---", "-rw-r-----"]
    assert report["config"] == agent.client.status()["config"]
    assert report["policy"] == "https://example.org/cameras"
    assert stores["other files"]["names"] == []
    assert stores["looks"]["count"] >= 1
    (pipeline,) = report["pipelines"]
    assert (pipeline["redacts"], pipeline["method"]) == (["cracked"], "fill")
    topics = {its["topic"] for its in report["sent"]}
    assert {"edgeagent/door-7/records", "edgeagent/door-7/blob/#"} <= topics
    assert report["process"]["core_dumps"] is report["process"]["traceable"] is False
    assert report["served"]["pictures_for"] == "users who may open the socket"


def _plain(payload: bytes) -> bytes:
    import zlib

    return zlib.decompress(payload) if payload[:1] == b"\x78" else payload


def _all_noted(agent: AgentProcess, sha256: str) -> None:
    lines = edgeagent(agent, "privacy", "log")
    noted = [(its["what"], its["by"], its.get("phase")) for its in lines]
    for expected in (
        ("live page: belt", "http:unix socket", "from"),
        ("live page: belt", "http:unix socket", "to"),
        ("evidence", "http:unix socket", "from"),
        ("evidence", "http:unix socket", "to"),
        ("privacy-report", "mqtt:officer (remote)", None),
        ("privacy-report", ME, None),
        ("purge", ME, None),
    ):
        assert expected in noted, noted
    ends = [its for its in lines if its["what"] == "evidence" and its["phase"] == "to"]
    assert [(its["count"], its["named"]) for its in ends] == [(1, [sha256])]


@pytest.mark.usefixtures("in_full")
def test_rules_are_kept_while_it_runs_and_the_account_holds(tmp_path: Path) -> None:
    text = CONFIG.format(port=1, socket=tmp_path / "http").replace('host = "127.0.0.1"', "")
    rules = '[retention]\nrecords = "2 s"\nevidence = "1 s"\ndecisions = "1 s"\n'
    with AgentProcess(text + rules, tmp_path) as agent:
        status = agent.until(
            lambda its: its if its["outbox"]["dropped"].get("retention") else None
        )  # fmt: skip
        produced = status["outbox"]
        assert produced["produced"] == (
            produced["delivered"] + produced["pending"] + sum(produced["dropped"].values())
        )
        (report,) = edgeagent(agent, "privacy", "report")
        assert report["retention"]["gone"]["records"] > 0
        assert {its["max_age"] for its in report["stores"] if its["purge"] == "evidence"} == {"1 s"}
    report = verify(agent.data, deep=True)
    assert report.ok, report.problems


@pytest.mark.usefixtures("in_full")
def test_without_an_agent_it_is_done_on_the_files(tmp_path: Path) -> None:
    text = CONFIG.format(port=1, socket=tmp_path / "http").replace('host = "127.0.0.1"', "")
    with AgentProcess(text, tmp_path) as agent:
        agent.until(lambda its: its["outbox"]["blob_bytes"])
    (report,) = edgeagent(agent, "privacy", "report")
    assert report["running"] is False and report["process"] is None
    (kept,) = edgeagent(agent, "purge", "--before", "0 s")
    assert kept["outbox"]["records"] == 0 < kept["outbox"]["kept"], "nobody has got them"
    (gone,) = edgeagent(agent, "purge", "--before", "0 s", "--undelivered")
    assert gone["outbox"]["undelivered"] == gone["outbox"]["records"] > 0
    assert kept["others"]["decisions"] > 0 == gone["others"]["decisions"]
    assert list((agent.data / "blobs").iterdir()) == []
    assert verify(agent.data, deep=True).ok
    noted = [(its["what"], its["by"]) for its in looks.read(agent.data)]
    assert noted[-3:] == [("privacy-report", ME), ("purge", ME), ("purge", ME)]
