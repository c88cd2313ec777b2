"""The sending side of evidence: a real outbox, a real broker, and one who puts it together."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeagent.errors import NotFound
from edgeagent.store.blobs import BlobToSend
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.blobs import LARGEST, UNIT, WINDOW, Blobs
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.port import Limits
from edgeagent.sync.publisher import Publisher, PublisherSettings
from edgeagent.sync.reasons import Reason, of_code
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.proxy import Proxy
from edgeagent.types import Draft, Evidence

TOPICS = Topics("edgeagent", "d1")
QUICK = dict.fromkeys(RANGES, (0.02, 0.2))


class Watcher:
    """Hears all chunks, and records beside them; puts evidence together by offsets."""

    def __init__(self, port: int) -> None:
        self.chunks: list[tuple[str, int, bytes]] = []
        self.order: list[str] = []
        subscribed = threading.Event()
        client = self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, "watcher", protocol=paho.MQTTv5
        )
        client.on_connect = lambda c, *_: c.subscribe("edgeagent/#", qos=1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = self._heard
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 1000
        client.connect("127.0.0.1", port, clean_start=False, properties=session)
        client.loop_start()
        assert subscribed.wait(10)

    def _heard(self, _client: Any, _data: Any, message: Any) -> None:
        parts = message.topic.split("/")
        if parts[2] == "blob":
            self.chunks.append((parts[3], int(parts[4]), message.payload))
        if parts[2] in ("blob", "records"):
            self.order.append(parts[2])

    def whole(self, sha256: str) -> bytes:
        """As far as the beginning is without a hole."""
        data = b""
        for at, part in sorted((i * UNIT, c) for s, i, c in self.chunks if s == sha256):
            if at > len(data):
                break
            data = data[:at] + part + data[at + len(part) :]
        return data


@pytest.fixture
def watcher(broker: Mosquitto) -> Iterator[Watcher]:
    made = Watcher(broker.port)
    yield made
    made.client.loop_stop()


class Device:
    """Outbox, link, publisher and evidence, as the agent wires them."""

    def __init__(self, folder: Path, port: int, *, busy: bool = False, **link: Any) -> None:
        settings = OutboxSettings(blobs_bytes=8 << 20)
        self.box = Outbox.open(folder, device="d1", settings=settings, boot="b", machine="m")
        known: dict[str, Any] = {"keepalive_s": 5.0, "answer_s": 2.0, "ranges": QUICK, **link}
        where = (Endpoint("127.0.0.1", port),)
        self.link = Link(LinkSettings(TOPICS.client_id, where, **known), TOPICS.echo)
        publisher = Publisher(self.link, self.box, PublisherSettings(TOPICS.records, "d1"))
        self.busy = busy
        self.blobs = Blobs(self.link, self.box.blobs, TOPICS, busy=lambda: self.busy)
        self.link.board(publisher)
        self.link.board(self.blobs)
        self.box.on_commit(self.link.wake)

    def decide(self, *pictures: bytes) -> list[str]:
        for number, picture in enumerate(pictures):
            evidence = (Evidence("image/jpeg", picture),)
            data = {"phase": "new"}
            self.box.append(Draft("event", "p", data=data, event=f"{number}", evidence=evidence))
        assert self.box.flush(10)
        return [hashlib.sha256(picture).hexdigest() for picture in pictures]

    def close(self) -> None:
        self.link.stop()
        self.box.close()


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


PICTURES = (noise(1), noise(1024), noise(1025), noise(32 * 1024), noise(100_001), noise(300_000))


def test_evidence_arrives_whole_after_its_record(
    broker: Mosquitto, watcher: Watcher, tmp_path: Path, made: Any
) -> None:
    device = Device(tmp_path, broker.port)
    shas = device.decide(*PICTURES)
    device.link.start()
    made.eventually(lambda: device.blobs.blobs_sent >= len(PICTURES))
    for sha, picture in zip(shas, PICTURES, strict=True):
        made.eventually(lambda sha=sha, picture=picture: watcher.whole(sha) == picture)
    assert watcher.order[0] == "records"
    assert max(len(part) for *_, part in watcher.chunks) == LARGEST * UNIT
    # Once or (acknowledged, and not yet written down as sent) twice, but in no other places.
    places = {(sha, at) for sha, at, _ in watcher.chunks}
    assert len(places) == sum(-(-len(p) // (LARGEST * UNIT)) for p in PICTURES)
    made.eventually(lambda: device.box.blobs.next() is None)
    device.close()


def test_nothing_is_sent_while_live_records_wait(
    broker: Mosquitto, watcher: Watcher, tmp_path: Path, made: Any
) -> None:
    device = Device(tmp_path, broker.port, busy=True)
    (sha,) = device.decide(noise(5000))
    device.link.start()
    made.eventually(lambda: device.box.stats().delivered == 1)
    device.link.wake()
    made.eventually(lambda: "records" in watcher.order)
    assert not watcher.chunks
    device.busy = False
    device.link.wake()
    made.eventually(lambda: watcher.whole(sha) == noise(5000))
    device.close()


def test_a_restart_goes_on_where_acknowledgements_had_reached(
    broker: Mosquitto, watcher: Watcher, tmp_path: Path, made: Any
) -> None:
    picture = noise(2_000_000)
    uplink = Proxy(broker.port)
    with uplink:
        device = Device(tmp_path, uplink.port)
        (sha,) = device.decide(picture)
        device.link.start()
        made.eventually(lambda: len(watcher.chunks) >= 20)
        uplink.mode = "refuse"
        uplink.cut()
        made.eventually(lambda: device.link.state != "up")
        device.close()
        before = len(watcher.chunks)
        assert before < 61
        uplink.mode = "pass"
        again = Device(tmp_path, uplink.port)
        resumed = again.box.blobs.next()
        assert resumed is not None
        assert resumed.next_index * UNIT >= (before - WINDOW - 1) * LARGEST * UNIT
        again.link.start()
        made.eventually(lambda: watcher.whole(sha) == picture)
        assert len(watcher.chunks) <= 62 + WINDOW + 1
        again.close()


@pytest.mark.parametrize("option", ["max_packet_size 20000", "message_size_limit 9000"])
def test_a_broker_with_a_small_limit_gets_smaller_chunks(
    tmp_path: Path, option: str, made: Any
) -> None:
    """The first announces its limit; the second breaks the connection."""
    with Mosquitto(tmp_path / "broker", options=[option]) as broker:
        watcher = Watcher(broker.port)
        device = Device(tmp_path / "box", broker.port)
        (sha,) = device.decide(noise(70_000))
        device.link.start()
        made.eventually(lambda: watcher.whole(sha) == noise(70_000), 20)
        assert max(len(part) for *_, part in watcher.chunks) in (8192, 16384)
        device.close()
        watcher.client.loop_stop()


# --- with a link that answers as it is told --------------------------------------------------


class FakeLink:
    """Publishes into a list; the test says what became of each."""

    state = "up"

    def __init__(self) -> None:
        self.limits = Limits()
        self.sent: list[tuple[int, bytes, Any]] = []

    def publish(self, topic: str, payload: bytes, on_done: Any = None) -> None:
        self.sent.append((int(topic.rpartition("/")[2]), payload, on_done))


class FakeShelf:
    def __init__(self, **blobs: int) -> None:
        self.waiting = [BlobToSend(sha, size, "t", 0) for sha, size in blobs.items()]
        self.notes: list[tuple[str, int]] = []
        self.done: list[str] = []
        self.missing: set[str] = set()
        self.told: list[str] = []

    def next(self) -> BlobToSend | None:
        return self.waiting[0] if self.waiting else None

    def read(self, sha256: str, index: int, chunk_bytes: int) -> bytes:
        if sha256 in self.missing:
            raise NotFound("dropped")
        size = next(b.bytes for b in self.waiting if b.sha256 == sha256)
        return bytes(size)[index * chunk_bytes :][:chunk_bytes]

    def progress(self, sha256: str, next_index: int) -> None:
        self.notes.append((sha256, next_index))
        head = self.waiting[0]
        self.waiting[0] = BlobToSend(head.sha256, head.bytes, head.type, next_index)

    def sent(self, sha256: str) -> None:
        self.done.append(sha256)
        self.waiting = [b for b in self.waiting if b.sha256 != sha256]

    def gone(self, sha256: str) -> None:
        self.told.append(sha256)
        self.waiting = [b for b in self.waiting if b.sha256 != sha256]


def riding(shelf: FakeShelf) -> tuple[Blobs, FakeLink]:
    link = FakeLink()
    blobs = Blobs(link, shelf, TOPICS, busy=lambda: False)  # type: ignore[arg-type]
    blobs.connected()
    return blobs, link


def test_never_more_than_two_under_way_and_acks_in_any_order() -> None:
    shelf = FakeShelf(a=5 * 32 * UNIT)
    blobs, link = riding(shelf)
    blobs.turn(0.0)
    assert [at for at, *_ in link.sent] == [0, 32]
    link.sent[1][2](None)
    blobs.turn(0.0)
    assert [at for at, *_ in link.sent] == [0, 32, 64]
    for _, _, done in (link.sent[2], link.sent[0]):
        done(None)
    blobs.turn(0.0)
    blobs.disconnected(Reason("network", "gone"))
    assert shelf.notes == [("a", 96)]
    link.sent.clear()
    blobs.connected()
    blobs.turn(0.0)
    assert [at for at, *_ in link.sent] == [96, 128]
    for _, _, done in link.sent:
        done(None)
    assert shelf.done == ["a"]
    assert blobs.blobs_sent == 1


def test_an_ack_of_a_former_connection_counts_for_nothing() -> None:
    shelf = FakeShelf(a=3 * 32 * UNIT)
    blobs, link = riding(shelf)
    blobs.turn(0.0)
    late = [done for *_, done in link.sent]
    blobs.disconnected(Reason("network", "gone"))
    blobs.connected()
    for done in late:
        done(None)
    blobs.turn(0.0)
    assert [at for at, *_ in link.sent] == [0, 32, 0, 32]
    assert not shelf.notes


def test_evidence_that_was_dropped_meanwhile_is_passed_over() -> None:
    shelf = FakeShelf(a=100, b=100)
    shelf.missing.add("a")
    blobs, link = riding(shelf)
    blobs.turn(0.0)
    assert [len(part) for _, part, _ in link.sent] == [100]
    assert shelf.told == ["a"] and shelf.done == []


def test_a_refusal_for_size_halves_and_another_waits() -> None:
    shelf = FakeShelf(a=64 * UNIT)
    blobs, link = riding(shelf)
    blobs.turn(0.0)
    for _, _, done in list(link.sent):
        done(of_code(0x95))
    link.sent.clear()
    blobs.turn(0.0)
    assert [(at, len(part)) for at, part, _ in link.sent] == [(0, 8 * UNIT), (8, 8 * UNIT)] or [
        (at, len(part)) for at, part, _ in link.sent
    ] == [(0, 16 * UNIT), (16, 16 * UNIT)]
    link.sent[0][2](of_code(0x87))
    assert blobs.complaint is not None
    assert "held back" in blobs.complaint.sentence
    link.sent.clear()
    import time

    now = time.monotonic()
    assert blobs.turn(now) > now + 1
    assert not link.sent
    blobs.turn(now + 3)
    assert link.sent
    link.sent[-1][2](None)
    assert blobs.complaint is None


def test_connections_that_break_over_chunks_make_them_smaller_to_the_end() -> None:
    shelf = FakeShelf(a=64 * UNIT)
    blobs, link = riding(shelf)
    sizes = []
    for _ in range(12):
        blobs.turn(1e12)
        sizes.append(len(link.sent[-1][1]) // UNIT)
        for _, _, done in link.sent:
            link.state = "down"
            done(Reason("network", "gone"))
        link.sent.clear()
        blobs.disconnected(Reason("network", "gone"))
        link.state = "up"
        blobs.connected()
    assert sizes == [32, 32, 32, 16, 8, 4, 2, 1, 1, 1, 1, 1]
    # Below that it is not the size: records must not suffer from it for ever.
    import time

    blobs.turn(time.monotonic())
    assert not link.sent


@pytest.mark.parametrize(("receive_maximum", "expected"), [(1, 1), (3, 1), (4, 2), (65535, 2)])
def test_a_small_window_of_the_broker_is_shared(receive_maximum: int, expected: int) -> None:
    blobs, link = riding(FakeShelf(a=1 << 20))
    link.limits.receive_maximum = receive_maximum
    blobs.turn(0.0)
    assert len(link.sent) == expected
