"""A broker that acknowledges and forgets, a real agent before it, a real collector behind.

It lies in three ways: its queue for an absent collector is full, it is killed before its default
persistence has written anything, it is restarted with nothing at all. All three say success to
the device. With ``sync.confirm = "collector"`` every record arrives in the end. With ``broker``
the audit names to the number what is missing, and the device, once it listens to this
collector, gives it again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import NotFound
from edgeagent.fleet.database import open_database
from edgeagent.store.verify import verify
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

FULL = os.environ.get("EDGEAGENT_TESTS") == "full"
ROOT = Path(__file__).resolve().parents[3]
AGENT = """
[device]
id = "belt-1"
[mqtt]
host = "127.0.0.1"
port = {port}
[sync]
confirm = "{confirm}"
collectors = ["{collector}"]
resend_after = "1 s"
linger = "0 s"
max_message = "2 KiB"
[privacy]
pictures = "never"
[sources.belt]
kind = "synthetic"
fps = 40
[pipelines.belt]
source = "belt"
model = "parts"
record = {{ every = 1 }}
"""
LIES: dict[str, tuple[str, ...]] = {
    "a small queue": ("max_queued_messages 5",),
    "killed before it saved": ("persistence true", "persistence_location {folder}/"),
    "restarted empty": ("persistence false",),
}
REDUCED = [("a small queue", "collector")]
TABLE = [
    (lie, confirm)
    for lie in LIES
    for confirm in ("collector", "broker")
    if FULL or (lie, confirm) in REDUCED
]


@pytest.fixture
def liar(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Mosquitto]:
    folder = tmp_path / "liar"
    options = [line.format(folder=folder) for line in LIES[request.param]]
    broker = Mosquitto(folder, options=options)
    try:
        broker.start()
    except NotFound as error:
        pytest.skip(f"{error} ({error.remedy})")
    yield broker
    broker.kill()


def wait(condition: Callable[[], Any], told: Callable[[], Any], timeout: float = 60.0) -> Any:
    end = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < end, told()
        time.sleep(0.05)
    return found


def arrived(url: str) -> list[int]:
    """Seqs in the collector's database, as often as they are there."""
    db = open_database(url)
    try:
        return sorted(seq for (seq,) in db.rows("SELECT seq FROM records"))
    finally:
        db.close()


def told_missing(url: str) -> tuple[int, list[list[int]]]:
    """What ``edgeagent fleet audit`` says: exit code, ranges."""
    said = subprocess.run(
        [sys.executable, "-c", "from edgeagent.cli.fleet import app; app()", "audit", "--db", url,
         "--json"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    (stream,) = json.loads(said.stdout)["streams"]
    return said.returncode, stream["missing"]


def decide_more(agent: AgentProcess, count: int) -> int:
    """Let it work for a while, with the broker's word for all of it; the last seq."""
    before = agent.until(lambda status: status["outbox"])["produced"]
    agent.client.command("pipeline", name="belt", action="start")
    agent.until(lambda status: status["outbox"]["produced"] >= before + count)
    agent.client.command("pipeline", name="belt", action="pause")
    return pause(agent)


def pause(agent: AgentProcess) -> int:
    """What it has produced once nothing is produced or under way any more."""
    last: list[int] = []

    def still(status: dict[str, Any]) -> bool:
        outbox = status["outbox"]
        last.append(outbox["produced"] if not outbox["queued"] else -len(last))
        return len(last) > 10 and len(set(last[-10:])) == 1

    agent.until(still)
    return last[-1]


@pytest.mark.parametrize(("liar", "confirm"), TABLE, indirect=["liar"])
def test_what_a_broker_forgot_arrives_or_is_named(
    liar: Mosquitto, confirm: str, fleet: Any, examined: Any, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    url = str(tmp_path / "fleet.db")
    told = lambda: (examined.audit(url), agent.client.status(), fleet.logs())  # noqa: E731
    forgets = "max_queued_messages 5" not in (liar.folder / "mosquitto.conf").read_text()
    # In `broker` mode it does not listen at first, so that the hole stays to be looked at.
    listens_to = "main" if confirm == "collector" else "other"
    text = AGENT.format(port=liar.port, confirm=confirm, collector=listens_to)
    # First of all: before it has subscribed once, this broker keeps nothing for it.
    collector = fleet.collector(url, liar.port).collecting()
    agent = AgentProcess(text, tmp_path / "agent").start()
    request.addfinalizer(agent.stop)
    agent.until(lambda status: status["outbox"]["produced"] >= 30)
    agent.client.command("pipeline", name="belt", action="pause")
    here = pause(agent)
    wait(lambda: len(arrived(url)) == here, told)

    # Nobody collects; the broker takes it all and says so.
    collector.stop()
    known = decide_more(agent, 80)
    assert known >= here + 80
    if confirm == "broker":
        agent.until(lambda status: status["outbox"]["pending"] == 0)
    if forgets:
        liar.kill()
        liar.start()
        agent.until(lambda status: status["link"]["connects"] >= 2)

    fleet.collector(url, liar.port).collecting()
    last = decide_more(agent, 20)
    if confirm == "broker":
        agent.until(lambda status: status["outbox"]["pending"] == 0)
        wait(lambda: last in arrived(url), told)
        hole = sorted(set(range(1, last + 1)) - set(arrived(url)))
        assert len(hole) > 20 and set(hole) <= set(range(here + 1, known + 1))
        if forgets:
            assert hole == list(range(here + 1, known + 1))
        code, missing = told_missing(url)
        assert code == 1
        assert [n for first, end in missing for n in range(first, end + 1)] == hole
        # It still has them, and gives them to the collector that it is told of.
        agent.stop()
        agent.config.write_text(text.replace('"other"', '"main"'), encoding="utf-8")
        agent.start()
        agent.until(lambda status: status["pipelines"]["belt"]["state"] == "ok")
        agent.client.command("pipeline", name="belt", action="pause")
        last = pause(agent)

    wait(lambda: arrived(url) == list(range(1, last + 1)), told)
    agent.until(lambda status: status["outbox"]["pending"] == 0)
    assert told_missing(url) == (0, [])
    agent.stop()
    proof = verify(agent.data)
    assert not proof.problems
    assert proof.produced == proof.delivered >= last and not proof.dropped
