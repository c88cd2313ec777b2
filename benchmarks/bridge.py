"""Our outbox beside a local mosquitto as a persistent bridge: the usual way to outlive outages.

Two ways from a device to a remote broker, in turns, at the same records:

* ``outbox``: append to the outbox, its link publishes batches to the remote broker.
* ``bridge``: publish each record (QoS 1, window 20) to a mosquitto on the device, which is
  persistent (saved each second) and bridges to the remote broker; ``bridge ×100`` packs 100
  records into a message, JSON with zlib, as our batches are.

*Flow*: as fast as it goes, until a listener at the remote broker has everything. *Outage*: the
remote broker is away, records are made at a steady pace, everything on the device is killed with
-9 once the last is acknowledged (ours: committed), and what arrives after it all came back is
counted. CPU and bytes written are of all processes of the device: what the kernel says of
``write_bytes`` in /proc/PID/io.

    python benchmarks/bridge.py [--records 20000] [--rounds 3] [--rate 1000] [--seconds 10]
        [--on FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.drain import detection  # noqa: E402
from edgeagent.testing.broker import Mosquitto, free_port  # noqa: E402

TOPIC = "edgeagent/bench/records"
WAYS = ("outbox", "bridge", "bridge ×100")


@dataclass
class Cost:
    """What a device's processes have used."""

    cpu_s: float = 0.0
    written: int = 0

    def add(self, pid: int) -> None:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        self.cpu_s += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        self.written += next(int(x.split()[1]) for x in lines if x.startswith("write_bytes"))


@dataclass
class Counter:
    """Listens at the remote broker; which numbers came, and how many bytes it took."""

    port: int
    seen: set[int] = field(default_factory=set)
    sys_bytes: int = 0

    def __enter__(self) -> Counter:
        ready = threading.Event()
        client = self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.on_message = self._take
        client.on_connect = lambda c, *_: c.subscribe([(TOPIC, 1)])
        client.on_subscribe = lambda *_: ready.set()
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        self.sys_bytes += len(message.payload) + len(message.topic) + 4
        payload = message.payload
        text = zlib.decompress(payload) if payload[:1] == b"\x78" else payload
        document = msgspec.json.decode(text)
        for record in document.get("records", [document]):
            self.seen.add(record["frame"])

    def until(self, count: int, timeout_s: float) -> float:
        """When that many had come (or time was up), by time.perf_counter."""
        end = time.perf_counter() + timeout_s
        while len(self.seen) < count and time.perf_counter() < end:
            time.sleep(0.005)
        return time.perf_counter()


# --- the device's own process --------------------------------------------------------------


def produce(way: str, folder: Path, port: int, count: int, rate: float) -> None:
    """Make records, say when they are kept, and live on until standard input closes."""
    keep = _into_outbox(folder, port) if way == "outbox" else _into_broker(port, way)
    began = time.perf_counter()
    keep(_records(count, rate, began))
    print("kept", time.perf_counter() - began, flush=True)
    sys.stdin.read()


def _records(count: int, rate: float, began: float) -> Iterator[dict[str, Any]]:
    for n in range(count):
        if rate and (late := began + n / rate - time.perf_counter()) > 0:
            time.sleep(late)
        yield {"frame": n + 1, "at": time.time_ns(), **detection(n)}


def _into_outbox(folder: Path, port: int) -> Callable[[Iterator[dict[str, Any]]], None]:
    from edgeagent.store.outbox import Outbox
    from edgeagent.store.settings import OutboxSettings
    from edgeagent.sync.endpoint import Endpoint, LinkSettings
    from edgeagent.sync.link import Link
    from edgeagent.sync.publisher import Publisher, PublisherSettings
    from edgeagent.sync.topics import Topics
    from edgeagent.types import Draft

    topics = Topics("edgeagent", "bench")
    box = Outbox.open(folder, device="bench", settings=OutboxSettings(), boot="b", machine="m")
    link = Link(LinkSettings(topics.client_id, (Endpoint("127.0.0.1", port),)), topics.echo)
    link.board(Publisher(link, box, PublisherSettings(topics.records, "bench")))
    box.on_commit(link.wake)
    link.start()

    def keep(records: Iterator[dict[str, Any]]) -> None:
        for record in records:
            box.append(Draft("result", "belt", data=record, frame=record["frame"]))
            if box.stats().queued > 2000 if record["frame"] % 500 == 0 else False:
                box.flush(60)
        if not box.flush(60):
            raise SystemExit("the outbox did not take the records")

    return keep


def _into_broker(port: int, way: str) -> Callable[[Iterator[dict[str, Any]]], None]:
    client = paho.Client(CallbackAPIVersion.VERSION2, "producer", protocol=paho.MQTTv5)
    client.max_inflight_messages_set(20)
    room, left, done = threading.Semaphore(200), [1], threading.Event()

    def answered(*_: Any) -> None:
        room.release()
        left[0] -= 1
        if not left[0]:
            done.set()

    client.on_publish = answered
    client.connect("127.0.0.1", port)
    client.loop_start()

    def send(payload: bytes) -> None:
        room.acquire()
        left[0] += 1
        client.publish(TOPIC, payload, 1)

    def keep(records: Iterator[dict[str, Any]]) -> None:
        packed: list[dict[str, Any]] = []
        for record in records:
            if way == "bridge":
                send(msgspec.json.encode(record))
                continue
            packed.append(record)
            if len(packed) == 100:
                send(zlib.compress(msgspec.json.encode({"records": packed}), 6))
                packed = []
        if packed:
            send(zlib.compress(msgspec.json.encode({"records": packed}), 6))
        left[0] -= 1
        if left[0] and not done.wait(120):
            raise SystemExit("the local broker did not take the records")

    return keep


class Device:
    """Producer and, on the way of the bridge, the local broker."""

    def __init__(self, way: str, folder: Path, remote: int) -> None:
        self._way, self._folder, self._remote = way, folder, remote
        self._local: Mosquitto | None = None
        if way != "outbox":
            self._local = Mosquitto(
                folder / "local",
                options=[
                    "persistence true", f"persistence_location {folder}/local/",
                    "autosave_interval 1", "max_queued_messages 0", "connection up",
                    f"address 127.0.0.1:{remote}", "topic # out 1", "cleansession false",
                    "restart_timeout 1 2", "bridge_protocol_version mqttv50",
                ],
            )  # fmt: skip

    def start(self, count: int, rate: float) -> None:
        if self._local is not None:
            self._local.start()
        port = self._remote if self._local is None else self._local.port
        self._producer = subprocess.Popen(
            [sys.executable, __file__, "--produce", self._way, str(self._folder), str(port),
             str(count), str(rate)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def kept(self) -> float:
        """Wait until everything is acknowledged; seconds it took."""
        assert self._producer.stdout is not None
        word, seconds = (self._producer.stdout.readline() or "failed 0").split()
        if word != "kept":
            raise SystemExit(f"{self._way}: the producer failed")
        return float(seconds)

    def cost(self) -> Cost:
        found = Cost()
        for pid in (self._producer.pid, *([self._local.pid] if self._local else [])):
            found.add(pid)
        return found

    def kill(self) -> None:
        """-9, everything that the device runs."""
        if self._local is not None:
            self._local.kill()
        self._producer.kill()
        self._producer.wait()


@contextmanager
def device(way: str, folder: Path, remote: int) -> Iterator[Device]:
    made = Device(way, folder, remote)
    try:
        yield made
    finally:
        made.kill()


# --- what is measured ----------------------------------------------------------------------


def flow(way: str, folder: Path, count: int) -> dict[str, float]:
    with Mosquitto(folder / "remote") as remote, Counter(remote.port) as counter:
        with device(way, folder, remote.port) as its:
            its.start(count, 0.0)
            took = its.kept()
            ended_late = time.perf_counter()
            took += counter.until(count, 120) - ended_late
            time.sleep(2.5)  # What either still writes once all is sent.
            cost = its.cost()
        if len(counter.seen) < count:
            raise SystemExit(f"{way}: {count - len(counter.seen)} of {count} did not arrive")
        return {
            "records_s": count / took, "cpu_us": cost.cpu_s / count * 1e6,
            "written": cost.written / count, "wire": counter.sys_bytes / count,
        }  # fmt: skip


def outage(way: str, folder: Path, count: int, rate: float) -> dict[str, float]:
    remote = Mosquitto(folder / "remote", port=free_port())
    with device(way, folder, remote.port) as its:
        its.start(count, rate)
        its.kept()
        cost = its.cost()
        its.kill()
        with remote, Counter(remote.port) as counter:
            its.start(0, 0.0)
            counter.until(1, 60)
            before = 0
            while before < len(counter.seen) < count:
                before = len(counter.seen)
                counter.until(count, 10)
            return {
                "lost": count - len(counter.seen), "written": cost.written / count,
                "cpu_us": cost.cpu_s / count * 1e6,
            }  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--rate", type=float, default=1000.0)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument(
        "--on", metavar="FOLDER", help="Where to write; memory (tmpfs) counts no bytes."
    )
    options.add_argument("--produce", nargs=5, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.produce:
        way, folder, port, count, rate = chosen.produce
        produce(way, Path(folder), int(port), int(count), float(rate))
        return
    flows: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    outages: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(dir=chosen.on) as folder:
        for turn in range(chosen.rounds):
            for number, way in enumerate(WAYS):
                here = Path(folder) / f"{turn}-{number}"
                flows[way].append(flow(way, here / "flow", chosen.records))
                many = int(chosen.rate * chosen.seconds)
                outages[way].append(outage(way, here / "outage", many, chosen.rate))
                print(json.dumps({"way": way, **flows[way][-1], "outage": outages[way][-1]}))
    print("\n| way | records/s | CPU µs a record | bytes written a record | bytes on the wire | "
          "outage: bytes written a record | outage: lost by kill -9 |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for way in WAYS:
        row = {key: statistics.median(r[key] for r in flows[way]) for key in flows[way][0]}
        away = {key: statistics.median(r[key] for r in outages[way]) for key in outages[way][0]}
        print(f"| {way} | {row['records_s']:,.0f} | {row['cpu_us']:.0f} | {row['written']:,.0f} | "
              f"{row['wire']:.0f} | {away['written']:,.0f} | {away['lost']:,.0f} |")  # fmt: skip


if __name__ == "__main__":
    main()
