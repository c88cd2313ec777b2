"""The outbox emptied over a scripted broker and mosquitto: everything is settled, once."""

from __future__ import annotations

import itertools
import json
import struct
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.errors import InputError, StoreError
from edgeagent.store.batch import Batch
from edgeagent.store.outbox import Outbox
from edgeagent.sync import envelope
from edgeagent.sync.envelope import Encoding
from edgeagent.sync.press import Press
from edgeagent.sync.suspects import MOST, Suspects
from edgeagent.testing.broker import Mosquitto
from edgeagent.types import Draft

Eventually = Callable[..., Any]


def fill(outbox: Outbox, count: int, *, size: int = 50, **data: Any) -> None:
    """Events with random-looking text, so that compression does not hide their size."""
    for n in range(count):
        text = "".join(chr(97 + (n * 7919 + k * k * 31) % 26) for k in range(size))
        outbox.append(Draft("event", data={"phase": "new", "text": text, **data}, event=f"{n}"))
    assert outbox.flush(10)


def records_of(payload: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(zlib.decompress(payload))["records"]
    return found


def seqs_of(payload: bytes) -> list[int]:
    return [record["seq"] for record in records_of(payload)]


def account_closes(outbox: Outbox) -> bool:
    stats = outbox.stats()
    return stats.produced == stats.delivered + stats.pending + sum(stats.dropped.values())


def drained(outbox: Outbox) -> Callable[[], bool]:
    """Acknowledgements are committed within a second; a flush does it now."""
    return lambda: outbox.flush(5) and outbox.stats().pending == 0


def poisonous(payload: bytes) -> bool:
    return b"poison" in zlib.decompress(payload)


def silent_after(count: int) -> Callable[[Any], int]:
    """A broker that acknowledges ``count`` batches, and then no more."""
    batches = itertools.count()
    return lambda m: -1 if m.topic.endswith("/records") and next(batches) >= count else 0


# --- the usual -----------------------------------------------------------------------------


@pytest.mark.broker
@pytest.mark.parametrize(
    "encoding", [Encoding(f, c) for f in ("json", "msgpack") for c in ("zlib", "none")]
)
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_records_arrive_in_every_encoding(
    broker: Mosquitto, make_station: Any, make_reader: Any, outbox: Outbox, encoding: Encoding,
    version: str, eventually: Eventually,
) -> None:  # fmt: skip
    reader = make_reader(broker.port, "edgeagent/d1/records")
    fill(outbox, 30)
    make_station(broker.port, publishing={"encoding": encoding}, version=version)
    eventually(drained(outbox))
    eventually(lambda: reader.got)
    seqs: list[int] = []
    for message in reader.got:
        batch = envelope.decode(message.payload)
        assert (batch["v"], batch["device"], batch["epoch"]) == (1, "d1", outbox.epoch)
        own = [record["seq"] for record in batch["records"]]
        assert own == sorted(own) and (batch["first"], batch["last"]) == (own[0], own[-1])
        seqs += own
        if version == "5":
            assert message.properties.ContentType == f"application/{encoding.form}"
            assert message.properties.UserProperty == [("encoding", encoding.name)]
    assert sorted(seqs) == list(range(1, 31))
    assert outbox.stats().delivered == 30 and account_closes(outbox)


@pytest.mark.broker
def test_an_event_leaves_at_once_and_a_stream_in_batches(
    broker: Mosquitto, make_station: Any, make_reader: Any, outbox: Outbox, eventually: Eventually
) -> None:
    reader = make_reader(broker.port, "edgeagent/d1/records")
    make_station(broker.port)
    began = time.monotonic()
    outbox.append(Draft("event", data={"phase": "new"}, event="a"))
    eventually(lambda: reader.got)
    assert time.monotonic() - began < 0.15
    for n in range(100):
        outbox.append(Draft("event", data={"phase": "new"}, event=f"e{n}"))
        time.sleep(0.005)
    eventually(drained(outbox))
    eventually(lambda: sum(len(seqs_of(m.payload)) for m in reader.got) == 101)
    assert len(reader.got) < 9


@pytest.mark.broker
def test_a_backlog_moves_while_live_records_come(
    broker: Mosquitto,
    make_station: Any,
    make_reader: Any,
    outbox: Outbox,
    eventually: Eventually,
) -> None:
    fill(outbox, 3000)
    reader = make_reader(broker.port, "edgeagent/d1/records")
    station = make_station(broker.port, publishing={"max_message": 4096, "window": 4})
    waits: list[float] = []
    for n in range(12):
        ticket = outbox.append(Draft("event", data={"phase": "new", "live": n}, event=f"live{n}"))
        seq, began = ticket.wait(5), time.monotonic()
        eventually(lambda seq=seq: any(seq in seqs_of(m.payload) for m in list(reader.got)[-400:]))
        waits.append(time.monotonic() - began)
    # A live record never waits long, nor does the small batch of each hold up the backlog.
    assert max(waits) < 2.0
    assert station.publisher.records_delivered > 1500
    eventually(drained(outbox), timeout=20)
    eventually(lambda: len({s for m in reader.got for s in seqs_of(m.payload)}) == 3012)
    assert account_closes(outbox)


# --- limits --------------------------------------------------------------------------------


def test_the_window_and_the_size_are_kept(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually
) -> None:
    broker = scripted(puback=silent_after(30))
    fill(outbox, 1200)
    station = make_station(broker.port, publishing={"window": 5, "max_message": 4096})
    eventually(lambda: len(broker.records()) == 35)
    # Whatever else would go out, would go out before this.
    station.link.publish(station.topics.metrics, b"later", qos=0)
    eventually(lambda: any(m.payload == b"later" for m in broker.published))
    assert len(broker.records()) == 35
    for message in broker.records():
        assert len(zlib.decompress(message.payload)) <= 4096


def test_a_backlog_lets_evidence_pass_and_live_records_do_not(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually
) -> None:
    broker = scripted(puback=lambda m: -1 if m.topic.endswith("/records") else 0)
    fill(outbox, 5)
    station = make_station(broker.port)
    eventually(lambda: len(broker.records()) == 1)
    assert not station.publisher.busy
    fill(outbox, 1)
    eventually(lambda: len(broker.records()) == 2)
    eventually(lambda: station.publisher.busy)
    broker.acknowledge(broker.records()[1].mid)
    eventually(lambda: not station.publisher.busy)


def test_one_place_is_left_for_status_and_commands(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually
) -> None:
    broker = scripted(
        properties=struct.pack("!BH", 0x21, 4),
        puback=silent_after(30),
    )
    fill(outbox, 400)
    station = make_station(broker.port, publishing={"max_message": 2048})
    eventually(lambda: len(broker.records()) == 33)
    station.presence.say("degraded", ("hot",))
    eventually(lambda: any(b"hot" in m.payload for m in broker.published))


def test_a_broker_with_small_packets_gets_small_batches(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually
) -> None:
    broker = scripted(properties=struct.pack("!BI", 0x27, 900))
    fill(outbox, 60)
    fill(outbox, 1, size=3000)
    fill(outbox, 5)
    make_station(broker.port, publishing={"encoding": Encoding("json", "none")})
    eventually(drained(outbox))
    stats = outbox.stats()
    assert stats.dead_letters == 1 and list(stats.dropped) == ["refused: too large"]
    assert len(broker.connects) == 1
    assert account_closes(outbox)
    assert all(len(m.payload) < 900 for m in broker.records())


# --- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0x99, 0x83, 0x80])
def test_a_poison_record_is_found_and_everything_else_arrives(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually, code: int
) -> None:
    broker = scripted(
        puback=lambda m: code if m.topic.endswith("/records") and poisonous(m.payload) else 0
    )
    fill(outbox, 40)
    fill(outbox, 1, mark="poison")
    fill(outbox, 40)
    station = make_station(broker.port)
    station.publisher.suspects.pause_s = 0.05
    eventually(drained(outbox), timeout=20)
    stats = outbox.stats()
    assert stats.dropped == {"refused: by the broker": 1} and stats.dead_letters == 1
    assert station.link.counters.losses == 0
    assert station.publisher.records_refused == 1
    delivered = {
        s for m in broker.records() if not poisonous(m.payload) for s in seqs_of(m.payload)
    }
    # All but the poison, and the gap that tells of it.
    assert delivered >= set(range(1, 41)) | set(range(42, 83))
    assert account_closes(outbox)


@pytest.mark.parametrize("how", ["0x95 in PUBACK", "hang up"])
def test_a_record_that_breaks_the_connection_does_not_stop_the_rest(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually, how: str
) -> None:
    """The endless reconnect of a payload over the broker's limit: it must end."""
    code = 0x95 if how.startswith("0x95") else -2
    broker = scripted(
        puback=lambda m: code if m.topic.endswith("/records") and poisonous(m.payload) else 0
    )
    fill(outbox, 40)
    fill(outbox, 1, mark="poison")
    fill(outbox, 40)
    station = make_station(broker.port)
    station.publisher.suspects.pause_s = 0.05
    eventually(drained(outbox), timeout=30)
    assert outbox.stats().dropped == {"refused: breaks the connection": 1}
    assert account_closes(outbox)
    assert len(broker.connects) < 30


@pytest.mark.parametrize("code", [0x87, 0x97, 0x90])
def test_a_refused_topic_costs_no_record(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually, code: int
) -> None:
    broker = scripted(puback=lambda m: code if m.topic.endswith("/records") else 0)
    fill(outbox, 50)
    station = make_station(broker.port, publishing={"first_hold_s": 0.05, "longest_hold_s": 0.2})
    began = time.monotonic()
    complaint = eventually(lambda: station.publisher.complaint)
    assert "held back" in complaint.sentence
    eventually(lambda: any(b"held back" in m.payload for m in broker.published))
    # One batch, tried again after longer and longer pauses: 0.05, 0.1, 0.2 s …
    eventually(lambda: len(broker.records()) == 4)
    assert time.monotonic() - began >= 0.3
    assert outbox.stats().pending == 50
    broker.script.puback = lambda m: 0
    eventually(drained(outbox))
    assert station.publisher.complaint is None
    assert outbox.stats().dropped == {}


def test_a_broker_that_refuses_everything_gets_nothing_thrown_away(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually
) -> None:
    broker = scripted(puback=lambda m: 0x99 if m.topic.endswith("/records") else 0)
    fill(outbox, 3 * MOST)
    station = make_station(broker.port, publishing={"first_hold_s": 0.05, "longest_hold_s": 0.1})
    station.publisher.suspects.pause_s = 0.02
    eventually(lambda: station.publisher.complaint, timeout=10)
    # Long enough for each suspect to have been refused twice, which condemns where others pass.
    eventually(lambda: station.link.counters.messages_refused > 3 * MOST, timeout=20)
    assert outbox.stats().dropped == {} and outbox.stats().pending == 3 * MOST
    broker.script.puback = lambda m: 0
    eventually(drained(outbox), timeout=20)
    assert outbox.stats().dropped == {}
    assert account_closes(outbox)


# --- losses --------------------------------------------------------------------------------


def test_a_lost_connection_releases_and_sends_again(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually
) -> None:
    broker = scripted(puback=lambda m: -1 if m.topic.endswith("/records") else 0)
    fill(outbox, 200)
    station = make_station(broker.port)
    first = eventually(lambda: broker.records())[0]
    broker.script.puback = lambda m: 0
    broker.hang_up()
    eventually(drained(outbox))
    again = [m for m in broker.records() if set(seqs_of(m.payload)) & set(seqs_of(first.payload))]
    # Sent a second time by the outbox, and never by the library: that would be marked DUP.
    assert len(again) == 2 and not any(m.duplicate for m in broker.records())
    assert station.publisher.records_delivered == 200


def test_a_bad_network_costs_no_record(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually
) -> None:
    """Each connection lives for one message only, for a long while."""
    rounds = iter(range(10**6))
    broker = scripted(
        puback=lambda m: (-2 if next(rounds) % 3 else 0) if m.topic.endswith("/records") else 0
    )
    fill(outbox, 40, size=400)
    make_station(broker.port, publishing={"max_message": 4096})
    eventually(drained(outbox), timeout=30)
    assert outbox.stats().dropped == {}
    assert account_closes(outbox)


def test_a_store_that_can_t_be_read_is_tried_again(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    broker = scripted()
    fill(outbox, 10)
    failures = [StoreError("disk I/O error")] * 3
    whole = outbox.next_batch

    def next_batch(**limits: Any) -> Batch | None:
        if failures:
            raise failures.pop()
        return whole(**limits)

    monkeypatch.setattr(outbox, "next_batch", next_batch)
    station = make_station(broker.port, publishing={"first_hold_s": 0.05, "longest_hold_s": 0.1})
    eventually(drained(outbox))
    assert station.link.counters.losses == 0 and not failures


def test_stopping_hands_everything_back(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually,
    open_outbox: Callable[..., Outbox],
) -> None:  # fmt: skip
    broker = scripted(puback=lambda m: -1 if m.topic.endswith("/records") else 0)
    fill(outbox, 100)
    station = make_station(broker.port)
    eventually(lambda: broker.records())
    station.stop()
    outbox.close()
    again = open_outbox()
    assert again.stats().pending == 100
    broker.script.puback = lambda m: 0
    make_station(broker.port, own=again)
    eventually(drained(again))
    assert account_closes(again)


# --- confirmation --------------------------------------------------------------------------


@pytest.mark.broker
def test_a_collector_confirms_and_what_it_misses_comes_again(
    broker: Mosquitto, make_station: Any, make_reader: Any, eventually: Eventually,
    open_outbox: Callable[..., Outbox],
) -> None:  # fmt: skip
    outbox = open_outbox("c", confirm="collector", resend_after_s=0.1)
    reader = make_reader(broker.port, "edgeagent/d1/records")
    station = make_station(broker.port, own=outbox)
    fill(outbox, 20)
    eventually(lambda: len({s for m in reader.got for s in seqs_of(m.payload)}) == 20)
    assert outbox.stats().delivered == 0
    confirm = station.topics.confirm("main")
    told = {"epoch": outbox.epoch, "upto": 20, "missing": [[5, 7]], "by": "main"}

    def sent_again() -> bool:
        # Said again until the acknowledgements are old enough (resend_after_s).
        reader.publish(confirm, told)
        return [s for m in list(reader.got) for s in seqs_of(m.payload)].count(6) >= 2

    eventually(sent_again)
    eventually(lambda: outbox.stats().delivered == 17)
    reader.publish(confirm, {"epoch": outbox.epoch, "upto": 20})
    eventually(drained(outbox))
    assert account_closes(outbox)


@pytest.mark.broker
@pytest.mark.parametrize(
    "payload",
    [b"nonsense", b"[]", b'{"epoch":"x"}', b'{"epoch":"other","upto":5}',
     b'{"epoch":"x","upto":-1}', b'{"epoch":"x","upto":5,"missing":[[0,1]]}'],
)  # fmt: skip
def test_confirms_that_mean_nothing_are_ignored(
    broker: Mosquitto, make_station: Any, make_reader: Any, outbox: Outbox, payload: bytes,
    eventually: Eventually,
) -> None:  # fmt: skip
    station = make_station(broker.port)
    reader = make_reader(broker.port, "none")
    reader.publish(station.topics.confirm("main"), payload)
    eventually(lambda: station.confirms.ignored == 1)
    assert station.link.counters.handler_errors == 0


# --- parts ---------------------------------------------------------------------------------


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_no_payload_breaks_the_reader(payload: bytes) -> None:
    for candidate in (payload, b"\x78" + payload, b"{" + payload, zlib.compress(payload)):
        try:
            envelope.decode(candidate)
        except InputError:
            continue


def test_damaged_batches_are_told() -> None:
    whole = Encoding().encode(Batch("e", "live", (1,), (b'{"seq":1,"kind":"event"}',)), "d")
    for damaged in (whole[:-3], whole[:10], b"\x28\xb5\x2f\xfdabc", b"\x78\x9c"):
        with pytest.raises(InputError):
            envelope.decode(damaged)
    packed = msgspec.msgpack.encode({"v": 1})
    assert envelope.decode(packed) == {"v": 1}


def batch(seq: int) -> Batch:
    return Batch("e", "live", (seq,), (b"{}",))


def test_a_suspect_is_given_up_only_after_others_got_through() -> None:
    suspects = Suspects(pause_s=1.0)
    for now in range(20):
        assert suspects.strike(batch(1), certain=True, delivered=7, now=float(now)) == "aside"
    assert suspects.strike(batch(1), certain=True, delivered=8, now=99.0) == "dead"
    assert len(suspects) == 0
    verdicts = [suspects.strike(batch(2), certain=False, delivered=n, now=0.0) for n in range(4)]
    assert verdicts == ["aside", "aside", "aside", "dead"]


def test_a_suspect_waits_longer_each_time_and_is_tried_by_one_at_a_time() -> None:
    suspects = Suspects(pause_s=1.0)
    suspects.strike(batch(1), certain=True, delivered=0, now=0.0)
    assert suspects.next(0.5) is None and suspects.due() == 1.0
    assert suspects.next(1.0) == batch(1)
    assert suspects.next(1.0) is None and suspects.due() == float("inf")
    suspects.strike(batch(1), certain=True, delivered=0, now=1.0)
    assert suspects.due() == 3.0
    assert suspects.next(3.0) == batch(1)
    assert suspects.interrupted(batch(1))
    assert suspects.next(3.0) == batch(1)
    suspects.cleared(batch(1))
    assert len(suspects) == 0 and not suspects.interrupted(batch(1))
    suspects.strike(batch(2), certain=True, delivered=0, now=0.0)
    assert suspects.let_go() == [batch(2)] and len(suspects) == 0


# --- backlogs are compressed beside the link's thread ---------------------------------------


@pytest.fixture
def held_press(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Compression waits for the first event, and the second one tells that it was begun."""
    opened, begun = threading.Event(), threading.Event()
    encode = Encoding.encode

    def slow(self: Encoding, batch: Batch, device: str) -> bytes:
        if threading.current_thread().name == "press":
            begun.set()
            assert opened.wait(10)
        return encode(self, batch, device)

    monkeypatch.setattr(Encoding, "encode", slow)
    return opened, begun


def test_what_waits_in_the_press_when_the_link_is_lost_is_sent_again_whole(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually,
    held_press: tuple[threading.Event, threading.Event],
) -> None:  # fmt: skip
    opened, begun = held_press
    broker = scripted()
    fill(outbox, 900, size=200)
    station = make_station(broker.port)
    eventually(begun.is_set)
    assert not broker.records()
    broker.hang_up()
    eventually(lambda: station.link.counters.losses == 1)
    # What the former connection has asked for comes late, and is nobody's any more.
    opened.set()
    eventually(drained(outbox))
    sent = [seq for message in broker.records() for seq in seqs_of(message.payload)]
    assert sent == sorted(set(sent)) == list(range(1, 901))
    assert account_closes(outbox)


def test_a_live_record_does_not_wait_for_the_press(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually,
    held_press: tuple[threading.Event, threading.Event],
) -> None:  # fmt: skip
    opened, begun = held_press
    broker = scripted()
    fill(outbox, 150, size=200)
    make_station(broker.port)
    eventually(begun.is_set)
    fill(outbox, 1)
    eventually(lambda: any(seqs_of(m.payload) == [151] for m in broker.records()))
    opened.set()
    eventually(drained(outbox))
    assert account_closes(outbox)


def test_an_encoding_that_fails_is_told_on_the_links_thread(outbox: Outbox) -> None:
    class Broken(Encoding, frozen=True):
        def encode(self, batch: Batch, device: str) -> bytes:
            raise ValueError("no")

    ready = threading.Event()
    pressed = Press(Broken(), "d1", ready.set).begin(Batch("e", "backlog", (1,), (b"{}",)))
    assert ready.wait(5)
    with pytest.raises(ValueError, match="no"):
        pressed.result()
