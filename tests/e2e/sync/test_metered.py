"""A real agent on a metered link: the proxy counts, which knows nothing of budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.proxy import Proxy

pytestmark = pytest.mark.broker

BELT = """
[device]
id = "belt-1"
[mqtt]
host = "127.0.0.1"
port = {port}
[sync.budget.results]
day = "8 KiB"
[sync.budget.state]
day = "4 KiB"
[sync.budget.evidence]
day = "4 KiB"
[sources.belt]
kind = "synthetic"
fps = 30
[pipelines.belt]
source = "belt"
model = "parts"
record = {{ every = 1 }}
"""


def kinds(subscriber: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in subscriber.records().values():
        found[record["kind"]] = found.get(record["kind"], 0) + 1
    return found


def test_results_stop_events_go_on_and_a_crash_gives_nothing(
    broker: Mosquitto, subscriber: Any, tmp_path: Path
) -> None:
    with Proxy(broker.port) as proxy:
        agent = AgentProcess(BELT.format(port=proxy.port), tmp_path)
        with agent:
            agent.until(lambda s: "results" in s["link"]["traffic"]["held"], 60)
            traffic = agent.client.status()["link"]["traffic"]
            assert traffic["day"]["results"] <= 8 * 1024
            assert "day's budget is used up, until" in traffic["held"]["results"]
            subscriber.until(lambda s: kinds(s).get("result", 0) > 20)
            assert agent.client.status()["state"] == "online"
            stopped = agent.until(lambda s: s["outbox"]["pending"] > 60 and s["outbox"])
            results, events = kinds(subscriber)["result"], kinds(subscriber).get("event", 0)
            subscriber.until(lambda s: kinds(s).get("event", 0) >= events + 3)
            assert kinds(subscriber)["result"] == results
            counted = agent.client.status()["link"]["traffic"]
            assert counted["bytes_per_event"] > 50 and counted["bytes_per_result"] > 10
            # A tenth for CONNECT, SUBSCRIBE and pings, which no budget counts.
            assert sum(counted["sent"].values()) * 1.1 > proxy.bytes_up
            end = agent.client.command("outbox", action="drain")
            assert end["status"] == "failed" and "wait for a budget" in end["detail"]
            agent.kill()
            agent.start()
            agent.until(lambda s: s["link"]["state"] == "up")
            agent.until(lambda s: s["outbox"]["pending"] > stopped["pending"] + 30)
            assert agent.client.status()["link"]["traffic"]["day"]["results"] >= 7 * 1024
            assert kinds(subscriber)["result"] == results
