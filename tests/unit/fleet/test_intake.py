"""Messages into groups."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest

from edgeagent.errors import UsageError
from edgeagent.fleet.intake import Intake, Partition
from edgeagent.sync.port import Incoming


class Hub:
    """What an intake needs of a link; messages are handed over by the test."""

    def __init__(self, intake: Intake) -> None:
        self.handlers: dict[str, Any] = {}
        intake.wire(self)  # type: ignore[arg-type]
        self.acked: list[str] = []

    def subscribe(self, pattern: str, handler: Any) -> None:
        self.handlers[pattern] = handler

    def send(self, topic: str, payload: bytes, qos: int = 1) -> None:
        from edgeagent.sync.topics import matches

        message = Incoming(topic, payload, qos, False, False, lambda: self.acked.append(topic))
        for pattern, handler in self.handlers.items():
            if matches(pattern, topic) and handler(message):
                message.ack()


def taken(intake: Intake, most: int = 100) -> Any:
    return intake.take(0.0, linger_s=0.0, most=most)


def test_messages_become_a_group_and_are_acked_later(made: Any) -> None:
    intake = Intake("site/edge", Partition())
    hub = Hub(intake)
    sha = hashlib.sha256(b"x").hexdigest()
    status = {"state": "online", "epoch": "E1", "seq": 7, "further": 1}
    hub.send("site/edge/d1/records", made.payload([made.record(1)]))
    hub.send("site/edge/d1/status", json.dumps(status).encode())
    hub.send(f"site/edge/d1/blob/{sha}/3", b"x")
    hub.send("site/edge/d1/status", b"")
    found = taken(intake)
    assert [a.seqs for a in found.group.arrivals] == [[1]]
    assert [tuple(p) for p in found.group.pieces] == [("d1", sha, 3072, b"x")]
    assert [(h.epoch, h.seq, h.online) for h in found.group.heard] == [("E1", 7, True)]
    assert not hub.acked
    found.ack()
    assert len(hub.acked) == 4
    assert not taken(intake).messages


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("edgeagent/d1/records", b"nonsense"), ("edgeagent/group/records", b"{}"),
        ("edgeagent/a b/records", b"{}"), ("edgeagent/d1/status", b"\xff"),
        (f"edgeagent/d1/blob/{'a' * 63}/0", b"x"), (f"edgeagent/d1/blob/{'a' * 64}/-1", b"x"),
        (f"edgeagent/d1/blob/{'a' * 64}/0", b""), ("edgeagent/d1/status", b"[" * 100_000),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_and_acked(topic: str, payload: bytes) -> None:
    intake = Intake("edgeagent", Partition())
    hub = Hub(intake)
    hub.send(topic, payload)
    found = taken(intake)
    assert [r.topic for r in found.group.refused] == [topic]
    assert len(found.messages) == 1


def test_another_device_cannot_be_spoken_for(made: Any) -> None:
    intake = Intake("edgeagent", Partition())
    Hub(intake).send("edgeagent/d2/records", made.payload([made.record(1)], "d1"))
    found = taken(intake).group
    assert not found.arrivals
    assert "says that it is from d1" in found.refused[0].reason


def test_a_group_has_bounds_and_the_rest_waits(made: Any) -> None:
    intake = Intake("edgeagent", Partition())
    hub = Hub(intake)
    big = made.payload([made.record(1, data={"x": "y" * 3_000_000})])
    for _ in range(12):
        hub.send("edgeagent/d1/records", big)
    counts = []
    while found := taken(intake, most=10).messages:
        counts.append(len(found))
    assert counts == [6, 6]
    for _ in range(25):
        hub.send("edgeagent/d1/records", made.payload([made.record(1)]))
    assert [len(taken(intake, most=10).messages) for _ in range(4)] == [10, 10, 5, 0]


def test_partitions_divide_all_devices(made: Any) -> None:
    parts = [Partition(number, 3) for number in (1, 2, 3)]
    devices = [f"d{n}" for n in range(300)]
    assert all(sum(device in part for part in parts) == 1 for device in devices)
    assert all(60 < sum(device in part for device in devices) < 140 for part in parts)
    intake = Intake("edgeagent", parts[0])
    hub = Hub(intake)
    for device in devices:
        hub.send(f"edgeagent/{device}/records", made.payload([made.record(1)], device))
    mine = {a.device for a in taken(intake, most=1000).group.arrivals}
    assert mine == {device for device in devices if device in parts[0]}
    # What is another's is acknowledged: it must not wait in our session for ever.
    assert len(hub.acked) == 300 - len(mine)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_what_is_no_partition(text: str) -> None:
    with pytest.raises(UsageError):
        Partition.parse(text)


def test_company_is_waited_for_but_not_long(made: Any) -> None:
    intake = Intake("edgeagent", Partition())
    hub = Hub(intake)
    hub.send("edgeagent/d1/records", made.payload([made.record(1)]))
    began = time.monotonic()
    assert intake.take(5.0, linger_s=0.05, most=2).messages
    assert 0.04 < time.monotonic() - began < 1.0
