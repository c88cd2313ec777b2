"""The contract on brokers of several makes: what holds on mosquitto holds on each.

NATS and RabbitMQ speak MQTT 3.1.1 only, so the device finds out and falls back by itself.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from edgeagent.testing.broker import ProcessBroker
from edgeagent.testing.proxy import Proxy

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

Broker = tuple[ProcessBroker, str]
Make = Callable[..., Any]
_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """A device of its own for each test: the brokers are shared."""
    return f"d{next(_numbers)}"


def seqs(payloads: list[bytes]) -> list[int]:
    """In the order of arrival."""
    return [
        r["seq"] for payload in payloads for r in json.loads(zlib.decompress(payload))["records"]
    ]


def said(payloads: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in payloads if payload]


def test_delivery(any_broker: Broker, make_device: Make, listen: Make, name: str) -> None:
    broker, version = any_broker
    device = make_device(name, broker.port, version=version)
    heard = listen(broker.port, device.topics.records)
    device.decide(200)
    device.start()
    device.decide(100)
    heard.until(lambda: len(seqs(heard.on(device.topics.records))) >= 300)
    assert sorted(seqs(heard.on(device.topics.records))) == list(range(1, 301))
    heard.until(device.drained)
    assert device.link.complaints == []
    assert device.link.limits.protocol == ("5" if version == "5" else "3.1.1")


def test_lanes_in_order(any_broker: Broker, make_device: Make, listen: Make, name: str) -> None:
    broker, version = any_broker
    device = make_device(name, broker.port, version=version)
    heard = listen(broker.port, device.topics.records)
    device.decide(3000, text="x" * 60)
    device.start()
    for _ in range(10):
        device.decide(5)
    heard.until(lambda: len(set(seqs(heard.on(device.topics.records)))) == 3050)
    came = seqs(heard.on(device.topics.records))
    backlog, live = [s for s in came if s <= 3000], [s for s in came if s > 3000]
    assert backlog == list(range(1, 3001)) and live == list(range(3001, 3051))


def test_status_is_retained(any_broker: Broker, make_device: Make, listen: Make, name: str) -> None:
    broker, version = any_broker
    device = make_device(name, broker.port, version=version).start()
    device.decide(3)
    status = device.topics.status

    def state(listener: Any) -> str:
        return str(said(listener.on(status))[-1]["state"]) if listener.on(status) else ""

    first = listen(broker.port, status)
    first.until(lambda: state(first) == "online")
    document = said(first.on(status))[-1]
    assert document["contract"] == 1 and document["reasons"] == []
    device.link.stop()
    first.until(lambda: state(first) == "offline")
    later = listen(broker.port, status)
    later.until(lambda: state(later) == "offline")
    assert said(later.on(status))[-1]["reasons"] == ["stopped"] and later.got[-1][2]


def test_the_will(any_broker: Broker, make_device: Make, listen: Make, name: str) -> None:
    broker, version = any_broker
    with Proxy(broker.port) as proxy:
        device = make_device(name, proxy.port, version=version).start()
        heard = listen(broker.port, device.topics.status)
        heard.until(lambda: said(heard.on(device.topics.status)))
        proxy.mode = "refuse"
        proxy.cut(reset=True)
        heard.until(lambda: said(heard.on(device.topics.status))[-1]["state"] == "offline")
        assert said(heard.on(device.topics.status))[-1]["reasons"] == ["connection lost"]
        proxy.mode = "pass"
        heard.until(lambda: said(heard.on(device.topics.status))[-1]["state"] == "online")


def test_commands(any_broker: Broker, make_device: Make, listen: Make, name: str) -> None:
    """To one device and to a group, live and while it was away, answered once each."""
    broker, version = any_broker
    device = make_device(name, broker.port, version=version)
    topics = device.topics
    ids = [f"{kind}-{name}" for kind in ("away", "live", "group")]
    answers = {id: topics.command("ping", id) for id in ids}
    operator = listen(broker.port, *answers.values())
    order = json.dumps({"status": "init", "by": "test"}).encode()
    device.start()
    device.link.stop()
    operator.publish(answers[ids[0]], order, retain=True)
    make_device(f"{name}x", broker.port).start()  # Another device, which must not answer.
    device.stop()
    device = make_device(name, broker.port, version=version).start()
    operator.publish(answers[ids[1]], order, retain=True)
    operator.publish(topics.group_command("canary", "ping", ids[2]), order)
    for id in ids:
        operator.until(
            lambda id=id: said(operator.on(answers[id]))[-1]["status"] == "successful"
        )  # fmt: skip
        finals = [d for d in said(operator.on(answers[id])) if d["status"] == "successful"]
        assert len({json.dumps(d["result"], sort_keys=True) for d in finals}) == 1
        operator.publish(answers[id], b"", retain=True)


def test_large_batches_and_evidence(
    any_broker: Broker, make_device: Make, listen: Make, name: str
) -> None:
    broker, version = any_broker
    device = make_device(name, broker.port, version=version)
    picture = random.Random(name).randbytes(300_000)
    digest = hashlib.sha256(picture).hexdigest()
    chunks = [device.topics.blob(digest, at) for at in range(0, 300, 32)]
    heard = listen(broker.port, device.topics.records, *chunks)
    text = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=50_000))
    device.decide(12, kind="result", text=text)
    device.picture(picture)
    device.start()
    heard.until(lambda: len(set(seqs(heard.on(device.topics.records)))) == 13)
    assert max(len(p) for p in heard.on(device.topics.records)) > 25_000
    heard.until(lambda: all(heard.on(topic) for topic in chunks))
    assert b"".join(heard.on(topic)[0] for topic in chunks) == picture


def test_reconnect(any_broker: Broker, make_device: Make, listen: Make, name: str) -> None:
    """Cut again and again in the middle of packets: nothing is lost."""
    broker, version = any_broker
    with Proxy(broker.port) as proxy:
        device = make_device(name, proxy.port, version=version)
        heard = listen(broker.port, device.topics.records)
        device.start()
        rng = random.Random(2)
        for turn in range(5):
            losses = device.link.counters.losses
            proxy.cut_after(1_500 + 900 * turn)
            # Hexadecimal digits that compress to half: several times the place of the cut.
            for _ in range(80):
                device.decide(1, text=rng.randbytes(150).hex())
            heard.until(lambda losses=losses: device.link.counters.losses > losses)
        heard.until(lambda: len(set(seqs(heard.on(device.topics.records)))) == 400)
        assert set(seqs(heard.on(device.topics.records))) == set(range(1, 401))
        heard.until(device.drained)
        assert device.box.stats().dropped == {}


def test_a_restarted_broker(any_broker: Broker, make_device: Make, listen: Make, name: str) -> None:
    """Last, since it takes the broker from everybody."""
    broker, version = any_broker
    device = make_device(name, broker.port, version=version).start()
    device.decide(10)
    heard = listen(broker.port, device.topics.status)
    heard.until(device.drained)
    broker.restart()
    assert device.link.wait_up(60)
    fresh = listen(broker.port, device.topics.records, device.topics.status)
    device.decide(20)
    fresh.until(lambda: set(seqs(fresh.on(device.topics.records))) >= set(range(11, 31)))
    fresh.until(lambda: said(fresh.on(device.topics.status))[-1]["state"] == "online")
