"""Nothing is lost between a device and a collector, whatever is killed in between.

The device is a process that is killed with SIGKILL, the broker is killed with SIGKILL and
forgets everything, the network is cut. The collector is written with paho, json and zlib
alone, from the published contract: it validates every batch against the generated schema,
confirms, and at the end looks for a hole in what the device says to have committed.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgeagent.errors import NotFound
from edgeagent.sync.schema import schemas
from edgeagent.testing.broker import Mosquitto, find_mosquitto
from edgeagent.testing.proxy import Proxy

pytestmark = pytest.mark.broker

DEVICE = """
import sys, time
from pathlib import Path
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.confirms import Confirms
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.presence import Identity, Presence
from edgeagent.sync.publisher import Publisher, PublisherSettings
from edgeagent.sync.shelf import Shelf
from edgeagent.sync.topics import Topics
from edgeagent.types import Draft

topics = Topics("edgeagent", "d1")
settings = OutboxSettings(confirm="collector", resend_after_s=0.5, results_s=0.05)
outbox = Outbox.open(Path(sys.argv[1]), device="d1", settings=settings, boot="b" * 32, machine="m")
ranges = dict.fromkeys(RANGES, (0.05, 0.3))
where = Endpoint("127.0.0.1", int(sys.argv[2]))
link = Link(LinkSettings(topics.client_id, (where,), keepalive_s=2.0, ranges=ranges), topics.echo)
shelf = Shelf(link, outbox)
presence = Presence(link, shelf, outbox, topics, Identity("0.1", boot="b" * 32))
publisher = Publisher(link, outbox, PublisherSettings(topics.records, "d1", max_message=4096))
Confirms(link, topics, outbox, ["main"])
for passenger in (presence, publisher, shelf):
    link.board(passenger)
outbox.on_commit(link.wake)
link.start()
deadline = time.monotonic() + float(sys.argv[3])
while time.monotonic() < deadline:
    tickets = [
        outbox.append(Draft("event" if n % 5 == 0 else "result", "belt", data={"phase": "new"},
                            event=f"{time.monotonic_ns()}"))
        for n in range(10)
    ]
    seqs = [ticket.wait(5) for ticket in tickets]
    print(outbox.epoch, *[seq for seq in seqs if seq], flush=True)
    time.sleep(0.02)
print("produced", outbox.stats().produced, flush=True)
limit = time.monotonic() + 30
while outbox.stats().pending and time.monotonic() < limit:
    time.sleep(0.05)
stats = outbox.stats()
closed = stats.produced == stats.delivered + stats.pending + sum(stats.dropped.values())
print("end", stats.pending, sum(stats.dropped.values()), closed, flush=True)
link.stop()
outbox.close()
"""


class Collector:
    """What a third party would write from the contract."""

    def __init__(self, port: int) -> None:
        self.records: dict[str, dict[int, dict[str, Any]]] = {}
        self.duplicates = 0
        self.faults: list[str] = []
        self._validator = jsonschema.Draft202012Validator(schemas()["batch"])
        self._lock = threading.Lock()
        self._stop = threading.Event()
        client = self._client = paho.Client(
            CallbackAPIVersion.VERSION2, "collector", protocol=paho.MQTTv5
        )
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda c, *_: c.subscribe("edgeagent/d1/records", 1)
        client.on_message = self._on_message
        client.connect("127.0.0.1", port)
        client.loop_start()
        self._thread = threading.Thread(target=self._confirm)
        self._thread.start()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        batch = json.loads(zlib.decompress(message.payload))
        with self._lock:
            self.faults += [error.message for error in self._validator.iter_errors(batch)]
            seqs = [record["seq"] for record in batch["records"]]
            if seqs != sorted(set(seqs)) or (batch["first"], batch["last"]) != (seqs[0], seqs[-1]):
                self.faults.append(f"out of order: {seqs}")
            known = self.records.setdefault(batch["epoch"], {})
            for record in batch["records"]:
                self.duplicates += record["seq"] in known
                known[record["seq"]] = record

    def accounted(self, epoch: str) -> set[int]:
        """Seqs that are here or told to be gone."""
        found: set[int] = set()
        with self._lock:
            for seq, record in self.records.get(epoch, {}).items():
                found.add(seq)
                if record["kind"] == "gap" and not record.get("epoch"):
                    found |= covered(record)
        return found

    def _confirm(self) -> None:
        while not self._stop.wait(0.3):
            for epoch in list(self.records):
                have = self.accounted(epoch)
                upto = max(have, default=0)
                missing = [n for n in range(1, upto + 1) if n not in have]
                document = {"epoch": epoch, "upto": upto, "missing": ranges(missing), "by": "main"}
                if len(document["missing"]) <= 256:
                    self._client.publish(
                        "edgeagent/d1/confirm/main", json.dumps(document), 1, retain=True
                    )

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()


def covered(gap: dict[str, Any]) -> set[int]:
    whole = range(gap["from"], gap["to"] + 1)
    if not gap.get("dropped"):
        return set(whole)
    bits = int.from_bytes(base64.b64decode(gap["dropped"]), "little")
    return {seq for seq in whole if bits >> (seq - gap["from"]) & 1}


def ranges(numbers: list[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


class Device:
    """The device's process; what it committed is read from its standard output."""

    def __init__(self, folder: Path, port: int) -> None:
        self.committed: dict[str, set[int]] = {}
        self.end = ""
        self._folder, self._port = folder, port

    def start(self, seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", DEVICE, str(self._folder), str(self._port), str(seconds)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, *rest = line.split()
            if word == "end":
                self.end = line.strip()
            elif word != "produced" and line.endswith("\n"):
                self.committed.setdefault(word, set()).update(map(int, rest))

    def commits(self, more: int) -> None:
        """Wait until it has committed so many more records."""
        wanted, deadline = self._count() + more, time.monotonic() + 30
        while self._count() < wanted:
            assert time.monotonic() < deadline, f"{self._count()} of {wanted}"
            time.sleep(0.01)

    def _count(self) -> int:
        return sum(len(seqs) for seqs in list(self.committed.values()))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def finish(self) -> int:
        code = self._process.wait(60)
        self._reader.join()
        return code


def test_every_committed_record_arrives_though_everything_is_killed(tmp_path: Path) -> None:
    try:
        find_mosquitto()
    except NotFound as error:
        pytest.skip(str(error))
    broker = Mosquitto(tmp_path / "broker")
    with broker, Proxy(broker.port) as proxy:
        collector = Collector(broker.port)
        device = Device(tmp_path / "device", proxy.port)
        try:
            for _ in range(3):
                device.start(60)
                device.commits(40)
                proxy.cut(reset=True)
                device.commits(20)
                broker.kill()
                device.commits(10)
                broker.start()
                device.commits(20)
                proxy.cut_after(20_000)
                device.commits(30)
                device.kill()
            device.start(0.5)
            assert device.finish() == 0
        finally:
            collector.close()
        assert collector.faults == []
        assert device.end == "end 0 0 True", device.end
        assert len(device.committed) == 1, "a crash is no reason for a new epoch"
        ((epoch, committed),) = device.committed.items()
        assert len(committed) > 300
        assert committed <= collector.accounted(epoch)
        # And nothing has a hole below the highest, committed seen or not.
        accounted = collector.accounted(epoch)
        assert accounted == set(range(1, max(accounted) + 1))
