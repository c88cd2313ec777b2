"""A fleet on a broker of three nodes, of which one is killed: who moves, what is lost, who says so.

With EDGEAGENT_TESTS=full: 300 devices on NATS (which keeps what is retained together) and on
RabbitMQ (whose nodes do not). By default two brokers that know nothing of one another stand for it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import LinkDown, NotFound
from edgeagent.fleet.orders.order import order
from edgeagent.fleet.orders.sending import Sending
from edgeagent.fleet.orders.targets import Choice, choose
from edgeagent.fleet.sight.look import SELF_TOLD, look, told
from edgeagent.fleet.sight.portrait import portrait
from edgeagent.fleet.simulate.crowd import Crowd, Simulation
from edgeagent.fleet.simulate.packages import make_package
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener
from edgeagent.testing.other_brokers import Cluster, nats_cluster, rabbit_cluster

pytestmark = [pytest.mark.broker, pytest.mark.timeout(280)]

ROOT = Path(__file__).resolve().parents[3]
MAKES: dict[str, Callable[[Path], Cluster]] = {"nats": nats_cluster, "rabbitmq": rabbit_cluster}
AGENT = """
[device]
id = "belt-1"
[mqtt]
host = "{hosts}"
keepalive = "5 s"
[sync]
confirm = "collector"
resend_after = "2 s"
[privacy]
pictures = "never"
[commands]
allow = ["ping", "pipeline", "doctor"]
[sources.belt]
kind = "synthetic"
fps = 10
[pipelines.belt]
source = "belt"
model = "parts"
record = {{ every = 1 }}
"""


COUNT = int(os.environ.get("EDGEAGENT_DEVICES", "300"))


@pytest.fixture(params=list(MAKES))
def cluster(request: pytest.FixtureRequest, tmp_path: Path, full: bool) -> Iterator[Cluster]:
    if not full:
        pytest.skip("three nodes and hundreds of devices take minutes (EDGEAGENT_TESTS=full)")
    try:
        with MAKES[request.param](tmp_path / "nodes") as made:
            yield made
    except NotFound as error:
        pytest.skip(f"{error} ({error.remedy})")


class Crew:
    """Devices dealt out among the nodes, an agent and a desk whose first node is the first one."""

    def __init__(self, folder: Path, cluster: Cluster, count: int) -> None:
        make_package(folder / "packages", "parts", "1.0.0")
        self.count, self.cluster = count, cluster
        first, *others = (Endpoint("127.0.0.1", port) for port in cluster.ports)
        self.desk = LinkSettings("desk", (first, *others))
        self.hosts = ",".join(f"127.0.0.1:{port}" for port in cluster.ports)
        self.crowd = Crowd(
            folder / "simulation",
            Simulation(count, first, str(folder / "packages"), processes=1, others=tuple(others)),
        )
        self._thread = threading.Thread(target=self.crowd.run)
        self._lines = folder / "watched"
        watch = [sys.executable, "-m", "edgeagent.cli", "fleet", "watch", "--json",
                 "--host", self.hosts]  # fmt: skip
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        with self._lines.open("wb") as out, (folder / "said").open("wb") as said:
            self._watch = subprocess.Popen(
                watch, stdout=out, stderr=said, env={**os.environ, "PYTHONPATH": path}
            )
        self._said = folder / "said"
        self._thread.start()

    def states(self) -> dict[str, str]:
        """Device → its state, as ``fleet watch`` told it last."""
        lines = self._lines.read_text().splitlines(keepends=True)
        told = [json.loads(line) for line in lines if line.endswith("\n")]
        return {its["device"]: its["state"] for its in told if its["device"].startswith("sim-")}

    def told_at(self) -> list[float]:
        return [json.loads(line)["at"] for line in self._lines.read_text().splitlines()]

    @property
    def said(self) -> str:
        """What ``fleet watch`` remarked."""
        return " ".join(self._said.read_text().split())

    def online(self) -> bool:
        return list(self.states().values()).count("online") == self.count

    def until(self, condition: Callable[[], Any], limit_s: float) -> float:
        began = time.monotonic()
        while not condition():
            time.sleep(0.1)
            assert time.monotonic() - began < limit_s, (self.states(), self.said)
        return round(time.monotonic() - began, 1)

    def ping(self, first_s: float) -> tuple[dict[str, int], float]:
        """Told to the group: the summary after so long at most, and when all had answered."""
        began = time.monotonic()
        roster, _ = look(self.desk, "edgeagent", names=SELF_TOLD)
        targets = choose(roster, Choice(group="simulated"))
        assert len(targets.ids) == self.count
        with Sending(self.desk, "edgeagent", order("ping", {}, "desk"), targets) as sending:
            sending.publish()
            first = sending.follow(first_s).counts()
            assert sending.follow(120).counts() == {"successful": self.count}
            took = round(time.monotonic() - began, 1)
            sending.clear()
        return first, took

    def close(self) -> None:
        self.crowd.stop()
        self._watch.terminate()
        self._watch.wait(10)
        self._thread.join(30)


def test_one_node_of_three_is_killed(
    cluster: Cluster, tmp_path: Path, full: bool, request: pytest.FixtureRequest, fleet: Any,
    examined: Any,
) -> None:  # fmt: skip
    make = request.node.callspec.params["cluster"]
    figures: dict[str, Any] = {"broker": make, "devices": COUNT}
    crew = Crew(tmp_path, cluster, figures["devices"])
    url = str(tmp_path / "fleet.db")
    fleet.collector(url, cluster.ports[0], "--host", crew.hosts)
    try:
        with AgentProcess(AGENT.format(hosts=crew.hosts), tmp_path) as agent:
            figures["all online after s"] = crew.until(crew.online, 120)
            agent.until(lambda its: its["outbox"]["delivered"] > 20, 90)
            _, figures["group answered after s"] = crew.ping(90)
            _, count = look(crew.desk, "edgeagent", names=SELF_TOLD)
            figures["topics that differ between nodes"] = len(count.divided)
            # Where nodes do not share what is retained, it is said, and nobody is missing.
            assert bool(count.divided) == (make == "rabbitmq"), count.divided[:5]
            assert ("do not share" in told(count)) == bool(count.divided)
            shown = portrait(crew.desk, "edgeagent", "belt-1")
            assert shown["pipelines"]["belt"] and shown["state"] in ("online", "degraded")

            cluster.nodes[0].kill()
            killed, before = time.time(), agent.client.status()["outbox"]["delivered"]
            # Nobody is forgotten in the summary: who has lost its node is offline, or silent yet.
            counts, figures["group told right after the kill: all answered after s"] = crew.ping(5)
            assert sum(counts.values()) == crew.count
            assert counts.keys() <= {"successful", "offline", "no answer", "accepted", "executing"}
            figures["summary after 5 s"] = ", ".join(f"{n} {its}" for its, n in counts.items())
            figures["all online after the kill, s"] = crew.until(crew.online, 120)
            agent.until(lambda its: its["link"]["state"] == "up", 60)
            agent.until(lambda its: its["outbox"]["delivered"] > before + 50, 90)
            figures["agent delivers after the kill, s"] = round(time.time() - killed, 1)
            _, count = look(crew.desk, "edgeagent", names=SELF_TOLD)
            assert "do not answer" in told(count) and str(cluster.ports[0]) in told(count)
            assert "do not answer" in crew.said
            test = agent.client.test_link()
            assert test["proven"], test

            agent.client.command("pipeline", name="belt", action="pause")
            agent.until(lambda its: its["outbox"]["pending"] == 0, 90)
            produced = agent.client.status()["outbox"]["produced"]
        found = examined.audit(url)
        assert found.complete, found.streams
        (its,) = (stream for stream in found.streams if stream.device == "belt-1")
        assert its.received == produced
        dropped = re.findall(r"(\d+) duplicates", fleet.collectors[0].log)
        figures["duplicates that the collector dropped"] = dropped[-1] if dropped else "0"
        figures |= {"records of the agent": produced, "missing": 0}
    finally:
        crew.close()
    print("\n| " + " | ".join(figures) + " |\n|" + "---|" * len(figures))
    print("| " + " | ".join(map(str, figures.values())) + " |")


def test_brokers_that_do_not_share_what_is_retained(
    tmp_path: Path, mosquitto_installed: None
) -> None:
    """As the nodes of RabbitMQ: a device has moved, another is at the second one only."""

    def status(state: str, seq: int) -> bytes:
        return json.dumps({"state": state, "seq": seq, "since": "2026-01-01T00:00:00Z"}).encode()

    with Mosquitto(tmp_path / "one") as one, Mosquitto(tmp_path / "two") as two:
        topics = "edgeagent/moved/status", "edgeagent/there/status"
        for broker, topic, payload in (
            (one, topics[0], status("offline", 7)), (two, topics[0], status("online", 9)),
            (two, topics[1], status("online", 3)),
        ):  # fmt: skip
            listener = Listener(broker.port, topic)
            listener.publish(topic, payload, retain=True)
            listener.until(partial(listener.on, topic))
            listener.close()
        both = LinkSettings("desk", tuple(Endpoint("127.0.0.1", its.port) for its in (one, two)))
        roster, count = look(both, "edgeagent", names=["status"])
        assert {id: its.state for id, its in roster.devices.items()} == dict.fromkeys(
            ("moved", "there"), "online"
        )
        assert count.divided == sorted(topics) and "do not share" in told(count)
        one.kill()
        roster, count = look(both, "edgeagent", names=["status"])
        assert len(roster.devices) == 2 and count.away == [f"127.0.0.1:{one.port}"]
        assert "do not answer" in told(count)
        two.kill()
        with pytest.raises(LinkDown):
            look(both, "edgeagent", names=["status"], patience_s=0.5)
