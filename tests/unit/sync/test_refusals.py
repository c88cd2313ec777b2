"""What a broker may say no to, and limits that it announces: a scripted broker says it all."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from edgeagent.sync.backoff import RANGES
from edgeagent.sync.link import Link
from edgeagent.sync.topics import Topics

MakeLink = Callable[..., Link]
Scripted = Callable[..., Any]
Eventually = Callable[..., Any]
QUICK = dict.fromkeys(RANGES, (0.02, 0.2))


def property_two_bytes(id: int, value: int) -> bytes:
    return struct.pack("!BH", id, value)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (0x86, "denied", "password"),
        (0x87, "denied", "authorise"),
        (0x89, "busy", "busy"),
        (0x97, "busy", "quota"),
        (0x85, "denied", "client id"),
        (0x9F, "busy", "too often"),
        (0xFF, "protocol", "could not be read"),
    ],
)
def test_a_refused_connection_is_told_in_words(
    scripted: Scripted,
    make_link: MakeLink,
    eventually: Eventually,
    code: int,
    kind: str,
    words: str,
) -> None:
    broker = scripted(connack=lambda version: code)
    link = make_link(broker.port, version="5")
    reason = eventually(lambda: link.last_error)
    assert reason.kind == kind
    assert words in reason.sentence
    assert link.state != "up"


@pytest.mark.parametrize(
    ("code", "kind"), [(2, "denied"), (3, "busy"), (4, "denied"), (5, "denied")]
)
def test_codes_of_3_1_1(
    scripted: Scripted, make_link: MakeLink, eventually: Eventually, code: int, kind: str
) -> None:
    link = make_link(scripted(connack=lambda version: code).port, version="3.1.1")
    assert eventually(lambda: link.last_error).kind == kind


def test_a_refused_password_is_not_tried_again_and_again(
    scripted: Scripted, make_link: MakeLink, eventually: Eventually
) -> None:
    """Each pause is a fifth of the range at least; test_redial.py looks at the real ranges."""
    broker = scripted(connack=lambda version: 0x86)
    began = time.monotonic()
    make_link(broker.port, ranges={**QUICK, "denied": (0.6, 0.6)})
    eventually(lambda: len(broker.connects) == 4)
    assert time.monotonic() - began >= 3 * 0.12


@pytest.mark.parametrize("answer", [0x84, 1, -2, -1], ids=["0x84", "old 1", "hang up", "silence"])
def test_brokers_without_mqtt_5(scripted: Scripted, make_link: MakeLink, answer: int) -> None:
    broker = scripted(connack=lambda version: answer if version == 5 else 0)
    link = make_link(broker.port, answer_s=0.3)
    assert link.wait_up(5)
    assert broker.connects == [5, 4]
    assert link.limits.protocol == "3.1.1"
    assert link.complaints == []


def test_a_silent_broker_is_given_up(
    scripted: Scripted, make_link: MakeLink, eventually: Eventually
) -> None:
    broker = scripted(connack=lambda version: -1)
    link = make_link(broker.port, answer_s=0.2, version="5")
    assert "nobody answers" in eventually(lambda: link.last_error).sentence
    eventually(lambda: len(broker.connects) >= 2)


@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x90, 0x97, 0x99])
def test_a_refusing_puback_is_not_a_delivery(
    scripted: Scripted, make_link: MakeLink, topics: Topics, eventually: Eventually, code: int
) -> None:
    broker = scripted(puback=lambda m: code if m.topic == topics.records else 0)
    link = make_link(broker.port)
    assert link.wait_up(5)
    answers: list[Any] = []
    link.publish(topics.records, b"x", on_done=answers.append)
    eventually(lambda: answers)
    assert answers[0].code == code
    assert link.state == "up"
    link.publish(topics.metrics, b"x", on_done=answers.append)
    eventually(lambda: len(answers) == 2)
    assert answers[1] is None
    assert link.counters.messages_refused == 1


def test_no_matching_subscribers_is_a_delivery(
    scripted: Scripted, make_link: MakeLink, topics: Topics, eventually: Eventually
) -> None:
    broker = scripted(puback=lambda m: 0x10)
    link = make_link(broker.port)
    assert link.wait_up(5)
    answers: list[Any] = []
    link.publish(topics.records, b"x", on_done=answers.append)
    eventually(lambda: answers)
    assert answers == [None]


def test_0x95_in_a_puback_ends_the_connection_with_a_suspicion(
    scripted: Scripted, make_link: MakeLink, topics: Topics, eventually: Eventually
) -> None:
    """What mosquitto does with a payload over message_size_limit; the library can't read it."""
    broker = scripted(puback=lambda m: 0x95 if m.topic == topics.records else 0)
    link = make_link(broker.port)
    assert link.wait_up(5)
    answers: list[Any] = []
    link.publish(topics.records, b"x", on_done=answers.append)
    eventually(lambda: answers)
    assert answers[0].kind in ("protocol", "size")
    assert link.wait_up(5)


def test_receive_maximum_is_kept(
    scripted: Scripted, make_link: MakeLink, topics: Topics, eventually: Eventually
) -> None:
    broker = scripted(
        properties=property_two_bytes(0x21, 3),
        puback=lambda m: -1 if m.topic == topics.records else 0,
    )
    link = make_link(broker.port)
    assert link.wait_up(5)
    assert link.limits.receive_maximum == 3
    answers: list[Any] = []
    for _ in range(20):
        link.publish(topics.records, b"x", on_done=answers.append)
    for n in range(20):
        eventually(lambda n=n: len(broker.records()) > n)
        broker.acknowledge(broker.records()[n].mid)
    eventually(lambda: len(answers) == 20)
    assert set(answers) == {None}
    assert broker.largest_under_way == 3


def test_maximum_packet_size_is_kept(
    scripted: Scripted, make_link: MakeLink, topics: Topics, eventually: Eventually
) -> None:
    broker = scripted(properties=struct.pack("!BI", 0x27, 2000))
    link = make_link(broker.port)
    assert link.wait_up(5)
    answers: list[Any] = []
    link.publish(topics.records, b"x" * 2000, on_done=answers.append)
    link.publish(topics.records, b"x" * 1000, on_done=answers.append)
    eventually(lambda: len(answers) == 2)
    assert answers[0].kind == "size" and answers[1] is None
    assert len(broker.records()) == 1
    assert len(broker.connects) == 1


def test_a_broker_without_qos_1_or_retained_messages_is_complained_of(
    scripted: Scripted, make_link: MakeLink, topics: Topics, eventually: Eventually
) -> None:
    broker = scripted(properties=b"\x24\x00\x25\x00")
    link = make_link(broker.port, answer_s=0.2)
    assert link.wait_up(5)
    sentences = " ".join(reason.sentence for reason in link.complaints)
    assert "QoS 1" in sentences and "retained" in sentences
    answers: list[Any] = []
    link.publish(topics.records, b"x", on_done=answers.append)
    eventually(lambda: answers)
    assert answers[0].code == 0x9B
    link.publish(topics.status, b"x", qos=0, retain=True)
    message = eventually(lambda: [m for m in broker.published if m.topic == topics.status])[0]
    assert not message.flags & 1


def test_a_refused_subscription_is_complained_of(
    scripted: Scripted, make_link: MakeLink, topics: Topics
) -> None:
    broker = scripted(suback=lambda pattern: 0x87 if pattern == topics.desired else 1)
    link = make_link(broker.port, start=False)
    link.subscribe(topics.desired, lambda m: True)
    link.start()
    assert link.wait_up(5)
    assert [reason.sentence for reason in link.complaints] == [
        f"the broker does not let this device subscribe to {topics.desired}"
    ]


def test_a_refused_subscription_is_asked_for_again(
    scripted: Scripted, make_link: MakeLink, topics: Topics, eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A cluster without a leader refuses for some seconds what it grants afterwards."""
    monkeypatch.setattr("edgeagent.sync.handshake._ASK_S", 0.1)
    asked: list[str] = []

    def answer(pattern: str) -> int:
        asked.append(pattern)
        return 0x80 if asked.count(pattern) < 3 and pattern == topics.desired else 1

    link = make_link(scripted(suback=answer).port, start=False)
    link.subscribe(topics.desired, lambda m: True)
    link.start()
    assert link.wait_up(5)
    assert link.complaints
    eventually(lambda: not link.complaints)
    assert asked.count(topics.desired) == 3 and asked.count(topics.commands) <= 1
    assert link.counters.connects == 1


@pytest.mark.parametrize("why", ["no echo", "not authorised"])
def test_topics_that_are_not_proven_are_complained_of_but_records_go_out(
    scripted: Scripted, make_link: MakeLink, topics: Topics, eventually: Eventually, why: str
) -> None:
    if why == "no echo":
        broker = scripted(echo=False)
    else:
        broker = scripted(echo=False, puback=lambda m: 0x87 if "/echo/" in m.topic else 0)
    link = make_link(broker.port, answer_s=0.2)
    assert link.wait_up(5)
    assert "topics not proven" in link.complaints[0].sentence
    assert link.complaints[0].advice
    answers: list[Any] = []
    link.publish(topics.records, b"x", on_done=answers.append)
    eventually(lambda: answers)
    assert answers == [None]


def test_a_failed_echo_is_tried_again_and_heals(
    scripted: Scripted, make_link: MakeLink, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.sync.handshake.AGAIN_S", 0.2)
    broker = scripted(echo=False)
    link = make_link(broker.port, answer_s=0.2)
    assert link.wait_up(5)
    assert link.complaints
    broker.script.echo = True
    eventually(lambda: not link.complaints)


@pytest.mark.parametrize("code", [0x8E, 0x8B, 0x97, 0x98])
def test_a_disconnect_is_understood(
    scripted: Scripted, make_link: MakeLink, eventually: Eventually, code: int
) -> None:
    broker = scripted()
    link = make_link(broker.port)
    assert link.wait_up(5)
    broker.disconnect(code)
    eventually(lambda: link.last_error and link.last_error.code == code)
    if code == 0x8E:
        assert link.wait_up(5)
        assert "client connected with this device's id" in link.complaints[0].sentence


def test_taken_over_means_a_long_wait(
    scripted: Scripted, make_link: MakeLink, eventually: Eventually
) -> None:
    broker = scripted()
    link = make_link(broker.port, ranges={**QUICK, "taken": (2.0, 2.0)})
    assert link.wait_up(5)
    began = time.monotonic()
    broker.disconnect(0x8E)
    eventually(lambda: len(broker.connects) == 2)
    assert time.monotonic() - began >= 0.4


def test_messages_are_acknowledged_by_us_only(
    scripted: Scripted, make_link: MakeLink, topics: Topics, eventually: Eventually
) -> None:
    broker = scripted()
    link = make_link(broker.port, start=False)
    got: list[Any] = []

    def handler(message: Any) -> bool:
        got.append(message)
        return len(got) == 1

    link.subscribe(topics.desired, handler)
    link.start()
    assert link.wait_up(5)
    broker.send_publish(topics.desired, b"1", mid=11)
    eventually(lambda: broker.pubacks == [11])
    broker.send_publish(topics.desired, b"2", mid=12)
    eventually(lambda: len(got) == 2)
    # Nobody asked for this one: acknowledged, or it would come again for ever.
    broker.send_publish("somewhere/else", b"3", mid=13)
    eventually(lambda: broker.pubacks == [11, 13])
    got[1].ack()
    eventually(lambda: broker.pubacks == [11, 13, 12])


@pytest.mark.parametrize(
    "garbage",
    [b"\xf0\x00", b"\x00\x00", b"\x32\xff\xff\xff\xff\x7f", b"\x32\x03\x00\x09a", b"\x40\x01\x00",
     b"\x30\x04\x00\x02\xff\xfe", b"\x90\x02\x00\x01"],
)  # fmt: skip
def test_garbage_from_the_broker_costs_a_connection_at_most(
    scripted: Scripted, make_link: MakeLink, topics: Topics, eventually: Eventually, garbage: bytes
) -> None:
    broker = scripted()
    link = make_link(broker.port, keepalive_s=2.0)
    assert link.wait_up(5)
    broker.send(garbage)

    def goes_through() -> bool:
        answers: list[Any] = []
        link.publish(topics.records, b"x", on_done=answers.append)
        return eventually(lambda: answers, timeout=8)[0] is None

    eventually(goes_through, timeout=12)
    assert link._thread.is_alive()
