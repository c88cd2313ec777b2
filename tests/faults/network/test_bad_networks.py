"""A link that delays, throttles, drops, falls silent, cuts packets, and brokers that refuse:
nothing is lost, and each lane keeps its order on every connection."""

from __future__ import annotations

import json
import random
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.store.batch import Batch
from edgeagent.sync.reasons import known_codes
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Device, Listener
from edgeagent.testing.proxy import Proxy
from edgeagent.testing.scripted import Published, Script, ScriptedBroker

pytestmark = pytest.mark.broker

Trouble = Callable[[Proxy, Device, threading.Event], None]


class Lanes:
    """Notes the order in which batches are taken, by connection and lane."""

    def __init__(self, device: Device) -> None:
        self.taken: dict[tuple[int, str], list[int]] = {}
        self._device = device
        device.box.next_batch = self._noted(device.box.next_batch)  # type: ignore[method-assign]
        device.box.pending = self._noted(device.box.pending)  # type: ignore[method-assign]

    def _noted(self, take: Callable[..., Batch | None]) -> Callable[..., Batch | None]:
        return lambda *lane, **limits: self._note(take(*lane, **limits))

    def _note(self, batch: Batch | None) -> Batch | None:
        if batch is not None:
            key = (self._device.link.counters.connects, batch.lane)
            self.taken.setdefault(key, []).extend(batch.seqs)
        return batch

    def in_order(self) -> bool:
        return all(seqs == sorted(set(seqs)) for seqs in self.taken.values())


def seqs(payloads: list[bytes]) -> set[int]:
    batches = [json.loads(zlib.decompress(payload)) for payload in payloads]
    for batch in batches:
        mine = [record["seq"] for record in batch["records"]]
        assert mine == sorted(set(mine))
    return {record["seq"] for batch in batches for record in batch["records"]}


def again_and_again(act: Callable[[Proxy], None], pause_s: float, times: int) -> Trouble:
    def trouble(proxy: Proxy, _device: Device, over: threading.Event) -> None:
        for _ in range(times):
            act(proxy)
            over.wait(pause_s)

    return trouble


def silence(proxy: Proxy, device: Device, over: threading.Event) -> None:
    """Half-open: found by the keepalive alone."""
    losses = device.link.counters.losses
    proxy.mode = "hold"
    while device.link.counters.losses == losses and not over.wait(0.02):
        pass
    proxy.mode = "pass"
    proxy.cut()


def closed_door(proxy: Proxy, _device: Device, over: threading.Event) -> None:
    proxy.mode = "refuse"
    proxy.cut(reset=True)
    over.wait(0.8)
    proxy.mode = "pass"


TROUBLES: dict[str, tuple[dict[str, float], Trouble]] = {
    "delays": ({"delay_s": 0.08}, lambda *_: None),
    "throttles": ({"rate": 60_000.0, "delay_s": 0.02}, lambda *_: None),
    "drops connections": ({}, again_and_again(lambda proxy: proxy.cut(reset=True), 0.15, 6)),
    "stops forwarding": ({}, silence),
    "cuts inside a packet": ({}, again_and_again(lambda proxy: proxy.cut_after(3_333), 0.2, 6)),
    "refuses for a while": ({}, closed_door),
}


@pytest.mark.parametrize("which", list(TROUBLES))
def test_nothing_is_lost_and_lanes_keep_their_order(
    broker: Mosquitto, tmp_path: Path, which: str
) -> None:
    how, trouble = TROUBLES[which]
    rng = random.Random(which)
    with Proxy(broker.port, **how) as proxy:
        device = Device(
            tmp_path, "d1", proxy.port, keepalive_s=2.0, publishing={"max_message": 8192}
        )
        lanes = Lanes(device)
        heard = Listener(broker.port, device.topics.records)
        over = threading.Event()
        maker = threading.Thread(target=trouble, args=(proxy, device, over))
        try:
            device.decide(1000, text=rng.randbytes(60).hex())
            device.start()
            maker.start()
            for _ in range(40):
                device.decide(5, text=rng.randbytes(60).hex())
            maker.join(20)
            assert not maker.is_alive()
            assert device.link.wait_up(20)
            for _ in range(4):
                device.decide(5)
            heard.until(lambda: len(seqs(heard.on(device.topics.records))) == 1220)
            heard.until(device.drained)
            assert device.box.stats().dropped == {}
            assert lanes.in_order(), lanes.taken
            assert {lane for _, lane in lanes.taken} >= {"live", "backlog"}
        finally:
            over.set()
            device.stop()
            heard.close()


# --- every code that a broker may say no with ----------------------------------------------


def settled(device: Device, broker: ScriptedBroker, good: list[bytes]) -> None:
    deadline = threading.Event()
    for _ in range(1500):
        if device.drained():
            break
        deadline.wait(0.02)
    assert device.drained(), (device.box.stats(), device.link.last_error)
    assert seqs(good) == set(range(1, 301))
    assert device.box.stats().dropped == {}


@pytest.mark.parametrize("where", ["CONNACK", "PUBACK", "DISCONNECT"])
def test_no_refusal_costs_a_record(tmp_path: Path, where: str) -> None:
    """The broker says no once with each code, then yes."""
    left = list(known_codes())
    assert len(left) > 25
    good: list[bytes] = []

    def connack(_version: int) -> int:
        return left.pop() if left and where == "CONNACK" else 0

    def puback(message: Published) -> int:
        if not message.topic.endswith("/records"):
            return 0
        if left and where == "PUBACK":
            return left.pop()
        if left and where == "DISCONNECT":
            broker.disconnect(left.pop())
            return -2
        good.append(message.payload)
        return 0

    with ScriptedBroker(Script(connack=connack, puback=puback)) as broker:
        quick = dict.fromkeys(
            ("network", "protocol", "size", "payload", "retain", "version", "busy", "denied",
             "taken"), (0.01, 0.03),
        )  # fmt: skip
        device = Device(
            tmp_path, "d1", broker.port, version="5", ranges=quick,
            publishing={"first_hold_s": 0.01, "longest_hold_s": 0.03, "max_message": 4096},
        )  # fmt: skip
        device.publisher.suspects.pause_s = 0.02
        try:
            device.decide(300, text=random.Random(3).randbytes(30).hex())
            device.link.start()
            settled(device, broker, good)
            assert not left
        finally:
            device.stop()
