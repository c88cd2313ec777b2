"""Shared subscriptions: proven, not believed."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import NotFound
from edgeagent.fleet.sharing import SharedLink, proven
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.port import Incoming
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.other_brokers import Nats

ECHO = Topics("edgeagent", "collector").confirm
PROOF = Topics("edgeagent", "collector").command("proof", "main-0")
QUICK = dict.fromkeys(RANGES, (0.02, 0.2))


def settings(port: int, client: str = "collector", **more: Any) -> LinkSettings:
    where = (Endpoint("127.0.0.1", port),)
    return LinkSettings(client, where, answer_s=2.0, ranges=QUICK, **more)


def test_a_broker_that_shares(broker: Mosquitto) -> None:
    for version in ("5", "3.1.1"):
        assert proven(settings(broker.port, version=version), ECHO, PROOF, lambda: False)


def test_a_broker_that_grants_and_delivers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("nats-server") is None:
        pytest.skip("nats-server is not installed (apt-get install nats-server)")
    monkeypatch.setattr("edgeagent.fleet.sharing._ANSWER_S", 1.0)
    with Nats(tmp_path / "broker") as broker:
        assert not proven(settings(broker.port, version="3.1.1"), ECHO, PROOF, lambda: False)


def test_a_broker_that_is_not_there_is_waited_for_until_told_to_stop() -> None:
    stopping = threading.Event()
    threading.Timer(0.5, stopping.set).start()
    began = time.monotonic()
    assert not proven(settings(9), ECHO, PROOF, stopping.is_set)
    assert 0.4 < time.monotonic() - began < 5


class Member:
    """Takes what comes on t/+ and keeps it."""

    def __init__(self, port: int, client: str, *, ack: bool = True, **how: Any) -> None:
        self.heard: list[bytes] = []
        self.ack = ack
        self.link = SharedLink(settings(port, client), ECHO, group="g", split=("t/+",), **how)
        self.link.subscribe("t/+", self._take)
        self.link.start()
        assert self.link.wait_up(10)

    def _take(self, message: Incoming) -> bool:
        self.heard.append(message.payload)
        return self.ack

    def send(self, first: int, count: int) -> None:
        for n in range(first, first + count):
            self.link.publish("t/x", b"%d" % n)


@pytest.fixture
def members(broker: Mosquitto) -> Any:
    made: list[Member] = []

    def make(client: str, **how: Any) -> Member:
        made.append(Member(broker.port, client, **how))
        return made[-1]

    yield make
    for member in made:
        member.link.stop()


def numbers(*members: Member) -> list[int]:
    return sorted(int(n) for member in members for n in member.heard)


def test_members_divide_and_one_that_changes_its_mind_gets_nothing_twice(
    members: Any, made: Any
) -> None:
    one, two = members("one", sharing=True), members("two", sharing=True)
    one.send(0, 40)
    made.eventually(lambda: numbers(one, two) == list(range(40)))
    assert one.heard
    assert two.heard
    # The same session, now plain: the shared subscription must be gone.
    two.link.stop()
    plain = members("two", sharing=False)
    one.link.unsubscribe("t/+")
    one.link.stop()
    plain.send(100, 10)
    made.eventually(lambda: numbers(plain) == list(range(100, 110)))
    plain.link.stop()
    again = members("two", sharing=True)
    again.send(200, 10)
    made.eventually(lambda: numbers(again) == list(range(200, 210)))


def test_one_that_leaves_gets_what_waited_for_it_and_no_more(members: Any, made: Any) -> None:
    one, two = members("one", sharing=True), members("two", sharing=True, ack=False)
    one.send(0, 20)
    made.eventually(lambda: numbers(one, two) == list(range(20)))
    unacked = numbers(two)
    two.link.stop()
    heir = members("two", sharing=True, leaving=True)
    made.eventually(lambda: numbers(heir) == unacked)
    one.heard.clear()
    one.send(50, 20)
    made.eventually(lambda: numbers(one) == list(range(50, 70)))
    assert numbers(heir) == unacked


def test_the_missing_broker_program_would_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeagent.testing import broker, postgres

    monkeypatch.setenv("PATH", "/none")
    monkeypatch.setattr(broker.shutil, "which", lambda *_a, **_k: None)
    monkeypatch.setattr(postgres, "_PLACES", ("/none",))
    for find in (broker.find_mosquitto, postgres.find_postgres):
        with pytest.raises(NotFound, match="not installed"):
            find()
