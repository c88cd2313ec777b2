"""Draining a backlog, beside a bare paho script that does the same encoding.

The bare script holds the records in memory, packs the same number of them into each message
(JSON by msgspec, zlib level 6) and publishes with the same window at QoS 1. Ours reads them
from the outbox, and settles each in its account. Both talk to one mosquitto, in turns.

    python benchmarks/drain.py [--records 30000] [--rounds 5] [--tls]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.publisher import Publisher, PublisherSettings
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto
from edgeagent.types import Draft

TOPICS = Topics("edgeagent", "bench")


def detection(n: int) -> dict[str, Any]:
    """About what a detector says of one frame: one to three boxes."""
    rng = random.Random(n)
    boxes = [
        {
            "label": rng.choice(("whole", "crack", "missing")),
            "score": round(rng.uniform(0.4, 1.0), 4),
            "box": [round(rng.random(), 4) for _ in range(4)],
            "track": rng.randrange(500),
        }
        for _ in range(rng.randint(1, 3))
    ]
    return {"predictions": boxes, "latency_ms": round(rng.uniform(4, 9), 3)}


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def fill(outbox: Outbox, first: int, count: int) -> list[dict[str, Any]]:
    """Commit records; returns them as they stand in the outbox."""
    for n in range(first, first + count):
        draft = Draft("result", "belt", data=detection(n), model="parts@1.2.0/int8", source="cam0")
        draft.frame = n
        outbox.append(draft)
        if n % 2000 == 0:
            outbox.flush(30)
    if not outbox.flush(60):
        raise SystemExit("the outbox did not take the records")
    outbox.connected()
    taken = []
    while batch := outbox.pending("backlog", max_bytes=1 << 20):
        taken.append(batch)
    for batch in taken:
        outbox.release(batch)
    return [json.loads(body) for batch in taken for body in batch.bodies]


def ours(outbox: Outbox, endpoint: Endpoint) -> tuple[float, float, int]:
    """Seconds, CPU seconds and messages to drain all that is pending."""
    link = Link(LinkSettings(TOPICS.client_id, (endpoint,)), TOPICS.echo)
    publisher = Publisher(link, outbox, PublisherSettings(TOPICS.records, TOPICS.device))
    up = threading.Event()
    link.board(_Gate(publisher, up))
    outbox.on_commit(link.wake)
    link.start()
    if not link.wait_up(10):
        raise SystemExit(f"no link: {link.last_error}")
    sent, began, used = link.counters.messages_sent, time.perf_counter(), cpu_s()
    up.set()
    link.wake()
    before = outbox.stats()
    dropped = sum(before.dropped.values())
    # At the cap, live records take the place of others that were still to go.
    while publisher.records_delivered < (
        before.pending - sum(outbox.stats().dropped.values()) + dropped
    ):
        time.sleep(0.002)
    took, used = time.perf_counter() - began, cpu_s() - used
    messages = link.counters.messages_sent - sent
    link.stop()
    outbox.flush(10)  # The account is settled with the next commit.
    return took, used, messages


class _Gate:
    """Lets a publisher begin when the clock starts, not when the link is up."""

    def __init__(self, publisher: Publisher, opened: threading.Event) -> None:
        self._publisher = publisher
        self._opened = opened
        self.connected = publisher.connected
        self.disconnected = publisher.disconnected
        self.farewell = publisher.farewell

    def turn(self, now: float) -> float:
        return self._publisher.turn(now) if self._opened.is_set() else now + 1.0


def bare(records: list[dict[str, Any]], a_message: int, endpoint: Endpoint) -> tuple[float, float]:
    """Seconds and CPU seconds of the script one would write first."""
    total = -(-len(records) // a_message)
    left = [total]
    done = threading.Event()
    up = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.max_inflight_messages_set(20)
    client.on_connect = lambda *_: up.set()

    def published(*_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            done.set()

    client.on_publish = published
    if endpoint.tls:
        client.tls_set(endpoint.ca)
    client.connect(endpoint.host, endpoint.port)
    client.loop_start()
    up.wait(10)
    began, used = time.perf_counter(), cpu_s()
    for at in range(0, len(records), a_message):
        part = records[at : at + a_message]
        envelope = {"v": 1, "device": "bench", "epoch": "x", "first": part[0]["seq"],
                    "last": part[-1]["seq"], "records": part}  # fmt: skip
        client.publish(TOPICS.records, zlib.compress(msgspec.json.encode(envelope), 6), 1)
    if not done.wait(120):
        raise SystemExit("the bare script was not answered")
    took, used = time.perf_counter() - began, cpu_s() - used
    client.disconnect()
    client.loop_stop()
    return took, used


def wire(outbox: Outbox, max_bytes: int = 64 * 1024) -> float:
    """Bytes a record takes in the batches that would be sent now."""
    taken = []
    while batch := outbox.pending("backlog", max_bytes=max_bytes):
        taken.append(batch)
    size = sum(len(zlib.compress(batch.envelope("bench"))) for batch in taken)
    for batch in taken:
        outbox.release(batch)
    return size / sum(len(batch.seqs) for batch in taken)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=30_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--tls", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder) / "broker", tls=chosen.tls)
        ca = str(broker.certificates.ca) if broker.certificates else ""
        endpoint = Endpoint("localhost", broker.port, tls=chosen.tls, ca=ca)
        settings = OutboxSettings(max_bytes=512 << 20)
        outbox = Outbox.open(
            Path(folder) / "o", device="bench", settings=settings, boot="b" * 32, machine="m"
        )
        rows = []
        with broker:
            for turn in range(chosen.rounds):
                records = fill(outbox, turn * chosen.records, chosen.records)
                if not turn:
                    print(f"{wire(outbox):.1f} bytes a record in batches")
                seconds, used, messages = ours(outbox, endpoint)
                per = -(-len(records) // messages)
                bare_s, bare_cpu = bare(records, per, endpoint)
                rows.append((seconds, bare_s, used, bare_cpu))
                print(
                    f"round {turn + 1}: ours {len(records) / seconds:,.0f} records/s "
                    f"({used / len(records) * 1e6:.1f} µs CPU each, {per} a message), bare "
                    f"{len(records) / bare_s:,.0f} records/s ({bare_cpu / len(records) * 1e6:.1f})"
                    f", ratio {bare_s / seconds:.2f}"
                )
        outbox.close()
    ratio = statistics.median(bare_s / seconds for seconds, bare_s, _, _ in rows)
    cost = statistics.median(used / bare_cpu for _, _, used, bare_cpu in rows)
    print(f"median: {ratio:.2f} of the bare script's rate, {cost:.2f} of its CPU")


if __name__ == "__main__":
    main()
