"""The doctor beside a running agent: it finds what the broker does not let through, and disturbs
nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener

CONFIG = """
[device]
id = "door-7"
[mqtt]
host = "127.0.0.1"
port = {port}
[sources.belt]
kind = "synthetic"
fps = 10
[pipelines.belt]
source = "belt"
model = "parts"
"""


def doctor(agent: AgentProcess) -> dict[str, Any]:
    """Done in a process of its own, on the files, as with `--fix` or a named configuration."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent", "doctor", "--json", "--config", str(agent.config),
         "--data-dir", str(agent.data)],
        capture_output=True, text=True, env={**os.environ, "EDGEAGENT_CLOCK": "synced"},
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def found(report: dict[str, Any], check: str) -> list[tuple[str, str]]:
    return [(its["severity"], its["what"]) for its in report["findings"] if its["check"] == check]


def kept(port: int) -> set[str]:
    """Topics that the broker has retained."""
    listener = Listener(port, "#", "$SYS/broker/version")
    try:
        # A broker sends in order: what it has retained for the first comes before the second's.
        listener.until(lambda: listener.on("$SYS/broker/version"))
        return {topic for topic, _, retained in listener.got if retained and topic[0] != "$"}
    finally:
        listener.close()


def test_it_disturbs_nobody_and_tells_what_the_broker_does_not_let_through(
    tmp_path: Path, mosquitto_installed: None, full: bool
) -> None:
    broker = Mosquitto(tmp_path / "broker", acl="topic readwrite #\ntopic read $SYS/#\n")
    config = CONFIG.format(port=broker.port)
    with broker, AgentProcess(config, tmp_path) as agent:
        before = agent.until(
            lambda its: its["link"]["state"] == "up" and its["outbox"]["pending"] == 0 and its, 40
        )
        retained = kept(broker.port)
        listener = Listener(broker.port, "edgeagent/door-7/cmd/#")
        reports = [doctor(agent), *([agent.client.result("doctor")] if full else [])]
        for report in reports:
            assert report["took_s"] < 10
            assert found(report, "agent")[0][0] == "ok"
            assert found(report, "in force")[0][0] == "ok"
            for check, said in (
                ("topics", "its echo came back in "), ("golden", "parts@1.0.0: "),
            ):  # fmt: skip
                assert [its[0] for its in found(report, check)] == ["ok"], found(report, check)
                assert found(report, check)[0][1].startswith(said)
        # Its run, its session and what the broker keeps of it are as they were.
        after = agent.client.status()
        assert all(after[key] == before[key] for key in ("boot", "config"))
        assert after["link"]["connects"] == before["link"]["connects"] == 1
        listener.until(lambda: len(listener.got) >= len(reports))
        assert [topic.split("/")[3] for topic, _, _ in listener.got] == ["echo"] * len(reports)
        listener.close()
        assert kept(broker.port) - {"edgeagent/door-7/state/belt"} <= retained
        # Its own topic does not come back any more: the very connection that suffers tells it.
        broker.set_acl("topic write edgeagent/#\n")
        deadline = time.monotonic() + 20
        while (told := agent.client.test_link())["proven"]:
            assert time.monotonic() < deadline, "the broker has not read its new rules"
        assert told["state"] == "up" and not told["proven"]
        assert "on its own command topic does not come back" in told["complaints"][0]["sentence"]
        assert agent.client.status()["link"]["connects"] == 1
