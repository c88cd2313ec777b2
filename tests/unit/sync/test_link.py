"""The link on real brokers: what it promises to those who publish and listen."""

from __future__ import annotations

import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Busy, UsageError
from edgeagent.sync import certificates, outgoing
from edgeagent.sync.endpoint import Endpoint
from edgeagent.sync.link import Link
from edgeagent.sync.port import Incoming, Will
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Amqtt, Mosquitto, make_certificates
from edgeagent.testing.proxy import Proxy

MakeLink = Callable[..., Link]


def wait_all(link: Link, topic: str, payloads: list[bytes]) -> list[Any]:
    """Publish and wait for every answer."""
    answers: list[Any] = []
    full = threading.Event()

    def done(reason: Any) -> None:
        answers.append(reason)
        if len(answers) == len(payloads):
            full.set()

    for payload in payloads:
        link.publish(topic, payload, on_done=done)
    assert full.wait(10), f"{len(answers)} of {len(payloads)}"
    return answers


@pytest.mark.broker
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_up_means_proven_and_everything_arrives_in_order(
    broker: Mosquitto,
    make_link: MakeLink,
    make_reader: Callable[..., Any],
    topics: Topics,
    version: str,
) -> None:
    link = make_link(broker.port, version=version)
    assert link.wait_up(5)
    assert link.complaints == []
    assert link.limits.protocol == version
    reader = make_reader(broker.port, topics.records)
    payloads = [b"%d" % n for n in range(300)]
    assert set(wait_all(link, topics.records, payloads)) == {None}
    deadline = time.monotonic() + 5
    while len(reader.got) < 300 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [m.payload for m in reader.got] == payloads


@pytest.mark.broker
def test_no_delay_is_set_on_the_socket(broker: Mosquitto, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    assert link.wait_up(5)
    sock = link._connection.wire._client.socket()  # type: ignore[union-attr,attr-defined]
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.broker
def test_what_is_published_while_down_is_told_and_never_sent(
    tmp_path: Path,
    mosquitto_installed: None,
    make_link: MakeLink,
    make_reader: Callable[..., Any],
    topics: Topics,
    eventually: Callable[..., Any],
) -> None:
    broker = Mosquitto(tmp_path / "b")
    link = make_link(broker.port)
    answers: list[Any] = []
    eventually(lambda: link.last_error)
    link.publish(topics.records, b"too early", on_done=answers.append)
    eventually(lambda: answers)
    assert answers[0].kind == "network"
    with broker:
        reader = make_reader(broker.port, "#")
        assert link.wait_up(5)
        assert wait_all(link, topics.records, [b"later"]) == [None]
        eventually(lambda: any(m.payload == b"later" for m in reader.got))
        assert all(m.payload != b"too early" for m in reader.got)


@pytest.mark.broker
def test_every_message_is_answered_once_when_the_connection_breaks(
    broker: Mosquitto, make_link: MakeLink, topics: Topics
) -> None:
    with Proxy(broker.port) as proxy:
        link = make_link(proxy.port)
        assert link.wait_up(5)
        answers: list[tuple[int, Any]] = []
        full = threading.Event()
        proxy.mode = "hold"

        def done(n: int, reason: Any) -> None:
            answers.append((n, reason))
            if len(answers) == 50:
                full.set()

        for n in range(50):
            link.publish(topics.records, b"x" * 100, on_done=lambda reason, n=n: done(n, reason))
        assert not full.wait(0.2)
        proxy.mode = "pass"
        proxy.cut(reset=True)
        assert full.wait(5)
        assert sorted(n for n, _ in answers) == list(range(50))
        assert link.wait_up(5)
        assert wait_all(link, topics.records, [b"again"]) == [None]


@pytest.mark.broker
def test_a_half_open_connection_is_found_within_two_keepalives(
    broker: Mosquitto, make_link: MakeLink, eventually: Callable[..., Any]
) -> None:
    with Proxy(broker.port) as proxy:
        link = make_link(proxy.port, keepalive_s=2.0)
        assert link.wait_up(5)
        proxy.mode = "hold"
        began = time.monotonic()
        eventually(lambda: link.state != "up", timeout=6)
        assert time.monotonic() - began <= 4.0
        assert link.last_error is not None and "keepalive" in link.last_error.sentence
        proxy.mode = "pass"
        proxy.cut()
        assert link.wait_up(5)


@pytest.mark.broker
def test_a_cut_within_a_packet_loses_only_what_was_under_way(
    broker: Mosquitto, make_link: MakeLink, topics: Topics, eventually: Callable[..., Any]
) -> None:
    with Proxy(broker.port) as proxy:
        link = make_link(proxy.port)
        assert link.wait_up(5)
        proxy.cut_after(5000)
        answers: list[Any] = []
        link.publish(topics.records, b"x" * 20_000, on_done=answers.append)
        eventually(lambda: answers)
        assert answers[0] is not None
        assert link.wait_up(5)
        assert wait_all(link, topics.records, [b"x" * 20_000]) == [None]


@pytest.mark.broker
def test_broker_killed_and_back(broker: Mosquitto, make_link: MakeLink, topics: Topics) -> None:
    link = make_link(broker.port)
    assert link.wait_up(5)
    broker.kill()
    with link._changed:
        assert link._changed.wait_for(lambda: link.state != "up", 5)
    broker.start()
    assert link.wait_up(5)
    assert link.complaints == []
    assert wait_all(link, topics.records, [b"x"]) == [None]
    assert link.counters.connects == 2 and link.counters.losses == 1


@pytest.mark.broker
def test_messages_sent_while_away_are_kept_by_the_session(
    broker: Mosquitto,
    make_link: MakeLink,
    make_reader: Callable[..., Any],
    topics: Topics,
    eventually: Callable[..., Any],
) -> None:
    got: list[Incoming] = []
    for version in ("5", "3.1.1"):
        first = make_link(broker.port, version=version)
        first.subscribe(topics.commands, lambda m: True)
        assert first.wait_up(5)
        first.stop()
        other = make_reader(broker.port, "nothing")
        other.publish(topics.command("ping", f"v{version[0]}"), b"{}")
        second = make_link(broker.port, version=version, start=False)
        second.subscribe(topics.commands, lambda m: got.append(m) or True)  # type: ignore[func-returns-value]
        second.start()
        eventually(lambda v=version: any(m.topic.endswith(f"v{v[0]}") for m in got))
        second.stop()


@pytest.mark.broker
def test_unacknowledged_messages_come_again_after_a_crash_and_only_those(
    broker: Mosquitto,
    make_link: MakeLink,
    make_reader: Callable[..., Any],
    topics: Topics,
    eventually: Callable[..., Any],
) -> None:
    """`keep` is never acknowledged, `done` is: only the first is redelivered, marked as such."""
    got: list[Incoming] = []

    def handler(message: Incoming) -> bool:
        got.append(message)
        return not message.topic.endswith("keep")

    with Proxy(broker.port) as proxy:
        link = make_link(proxy.port, start=False)
        link.subscribe(topics.commands, handler)
        link.start()
        assert link.wait_up(5)
        other = make_reader(broker.port, "nothing")
        for id in ("keep", "done"):
            other.publish(topics.command("ping", id), b"{}")
        eventually(lambda: sum(m.topic.endswith("done") for m in got))
        # The ack of `done` leaves before whatever is published after it.
        assert wait_all(link, topics.records, [b"x"]) == [None]
        stale = next(m for m in got if m.topic.endswith("keep"))
        proxy.cut()
        again = eventually(lambda: [m for m in got if m.topic.endswith("keep")][1:])[0]
        assert again.duplicate
        assert sum(m.topic.endswith("done") for m in got) == 1
        # An ack of the old connection must not acknowledge whatever has its packet id now.
        stale.ack()
        assert link.wait_up(5)
        proxy.cut()
        eventually(lambda: len([m for m in got if m.topic.endswith("keep")]) >= 3)
        [m for m in got if m.topic.endswith("keep")][-1].ack()


@pytest.mark.broker
def test_a_handler_that_fails_does_not_end_the_link(
    broker: Mosquitto,
    make_link: MakeLink,
    make_reader: Callable[..., Any],
    topics: Topics,
    eventually: Callable[..., Any],
) -> None:
    link = make_link(broker.port, start=False)
    got: list[str] = []

    def broken(message: Incoming) -> bool:
        got.append(message.topic)
        raise RuntimeError("a bug")

    link.subscribe(topics.desired, broken)
    link.start()
    assert link.wait_up(5)
    other = make_reader(broker.port, "nothing")
    for _ in range(3):
        other.publish(topics.desired, b"{}")
    eventually(lambda: len(got) == 3)
    assert link.counters.handler_errors == 3
    assert wait_all(link, topics.records, [b"x"]) == [None]


@pytest.mark.broker
def test_a_passenger_with_a_bug_costs_a_connection_not_the_thread(
    broker: Mosquitto, make_link: MakeLink, heard: Any
) -> None:
    link = make_link(broker.port, start=False)
    failures = [RuntimeError("once")]
    turn = heard.turn
    heard.turn = lambda now: (_ for _ in ()).throw(failures.pop()) if failures else turn(now)
    link.board(heard)
    link.start()
    assert link.wait_up(5)
    with link._changed:
        link._changed.wait_for(lambda: link.counters.connects == 2 and link.state == "up", 5)
    assert heard.calls[:3] == ["connected", "disconnected: payload", "connected"]


@pytest.mark.broker
def test_the_will_is_spoken_after_a_crash_and_not_after_a_goodbye(
    broker: Mosquitto,
    make_link: MakeLink,
    make_reader: Callable[..., Any],
    topics: Topics,
    eventually: Callable[..., Any],
) -> None:
    reader = make_reader(broker.port, topics.status)
    with Proxy(broker.port) as proxy:
        link = make_link(proxy.port, start=False)
        link.will = lambda: Will(topics.status, b"gone")
        link.start()
        assert link.wait_up(5)
        proxy.cut()
        eventually(lambda: [m.payload for m in reader.got] == [b"gone"])
        assert link.wait_up(5)
        link.stop()
    probe = make_reader(broker.port, topics.status)
    eventually(lambda: [(m.payload, m.retain) for m in probe.got] == [(b"gone", True)])
    assert len(reader.got) == 1


@pytest.mark.broker
def test_stop_is_quick_and_leaves_no_thread(make_link: MakeLink, broker: Mosquitto) -> None:
    with Proxy(broker.port) as proxy:
        for mode in ("pass", "hold"):
            link = make_link(proxy.port)
            assert link.wait_up(5)
            proxy.mode = mode  # type: ignore[assignment]
            began = time.monotonic()
            link.stop()
            assert time.monotonic() - began < 2.5
            assert not link._thread.is_alive()
            proxy.mode = "pass"
    gone = make_link(1)  # Nobody listens at port 1.
    gone.stop()
    assert not gone._thread.is_alive()


@pytest.mark.broker
def test_stop_waits_for_what_was_published_last(
    broker: Mosquitto,
    make_link: MakeLink,
    make_reader: Callable[..., Any],
    topics: Topics,
    heard: Any,
    eventually: Callable[..., Any],
) -> None:
    reader = make_reader(broker.port, topics.status)
    link = make_link(broker.port, start=False)
    heard.farewell = lambda: link.publish(topics.status, b"stopped", retain=True)
    link.board(heard)
    link.start()
    assert link.wait_up(5)
    link.stop()
    eventually(lambda: [m.payload for m in reader.got] == [b"stopped"])


@pytest.mark.broker
def test_publish_refuses_what_is_no_topic(broker: Mosquitto, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    for topic in ("", "a/#", "a/+/b", "x" * 2000):
        with pytest.raises(UsageError):
            link.publish(topic, b"")


@pytest.mark.broker
def test_a_crowd_of_messages_is_refused_instead_of_kept(
    broker: Mosquitto, make_link: MakeLink, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "WAITING_MAX", 10)
    with Proxy(broker.port) as proxy:
        link = make_link(proxy.port)
        assert link.wait_up(5)
        proxy.mode = "hold"
        with pytest.raises(Busy):
            for _ in range(5000):
                link.publish(topics.metrics, b"x" * 10_000, qos=0)


@pytest.mark.broker
def test_many_threads_may_publish(broker: Mosquitto, make_link: MakeLink, topics: Topics) -> None:
    link = make_link(broker.port)
    assert link.wait_up(5)
    answers: list[Any] = []
    full = threading.Event()

    def work() -> None:
        for _ in range(100):
            link.publish(topics.records, b"x", on_done=done)

    def done(reason: Any) -> None:
        answers.append(reason)
        if len(answers) == 800:
            full.set()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert full.wait(10)
    assert set(answers) == {None}


def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(
    tmp_path: Path, make_link: MakeLink, topics: Topics
) -> None:
    with Amqtt(tmp_path / "amqtt") as broker:
        link = make_link(broker.port, answer_s=0.5)
        assert link.wait_up(10)
        assert link.limits.protocol == "3.1.1"
        assert link.complaints == []
        assert wait_all(link, topics.records, [b"x"] * 30) == [None] * 30


@pytest.mark.broker
def test_the_second_broker_serves_while_the_first_is_away(
    tmp_path: Path, broker: Mosquitto, make_link: MakeLink, topics: Topics
) -> None:
    first = Mosquitto(tmp_path / "first")
    where = (Endpoint("127.0.0.1", first.port), Endpoint("127.0.0.1", broker.port))
    link = make_link(0, endpoints=where)
    assert link.wait_up(5)
    with first:
        broker.kill()
        with link._changed:
            assert link._changed.wait_for(lambda: link.counters.connects == 2, 5)
        assert wait_all(link, topics.records, [b"x"]) == [None]


# --- TLS -----------------------------------------------------------------------------------


@pytest.mark.broker
def test_mutual_tls_and_certificates_that_change(
    tmp_path: Path, mosquitto_installed: None, make_link: MakeLink, topics: Topics
) -> None:
    broker = Mosquitto(tmp_path / "b", tls=True, client_certificates=True)
    files = broker.certificates
    assert files is not None
    with broker:
        where = Endpoint(
            "localhost", broker.port, tls=True, ca=str(files.ca), cert=str(files.client),
            key=str(files.client_key),
        )  # fmt: skip
        link = make_link(0, endpoint=where, files_every_s=0.1)
        assert link.wait_up(5), link.last_error
        files.client.write_bytes(files.client.read_bytes() + b"\n")
        with link._changed:
            assert link._changed.wait_for(lambda: link.counters.connects == 2, 5)
        assert link.last_error is not None and "changed" in link.last_error.sentence
        assert wait_all(link, topics.records, [b"x"]) == [None]


@pytest.mark.broker
def test_a_certificate_that_ends_soon_is_complained_of_until_it_is_renewed(
    tmp_path: Path, mosquitto_installed: None, make_link: MakeLink,
    eventually: Callable[..., Any],
) -> None:  # fmt: skip
    broker = Mosquitto(tmp_path / "b", tls=True, client_certificates=True, days=20)
    files = broker.certificates
    assert files is not None
    with broker:
        where = Endpoint("localhost", broker.port, tls=True, ca=str(files.ca),
                         cert=str(files.client), key=str(files.client_key))  # fmt: skip
        link = make_link(0, endpoint=where, files_every_s=0.1)
        assert link.wait_up(5), link.last_error
        complaint = eventually(lambda: link.complaints)[0]
        assert f"{files.client} ends on" in complaint.sentence and "Renew it" in complaint.advice
        renewed = make_certificates(tmp_path / "new", days=300)
        # A broker that trusts both authorities, as during any change of one.
        files.ca.write_bytes(files.ca.read_bytes() + renewed.ca.read_bytes())
        broker.restart()
        files.client_key.write_bytes(renewed.client_key.read_bytes())
        files.client.write_bytes(renewed.client.read_bytes())
        eventually(lambda: link.state == "up" and not link.complaints, timeout=15)
        assert wait_all(link, "x", [b"x"]) == [None]


@pytest.mark.broker
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_no_step_of_44_ms(
    tmp_path: Path, mosquitto_installed: None, make_link: MakeLink, tls: bool,
    eventually: Callable[..., Any],
) -> None:  # fmt: skip
    """Nagle's algorithm against delayed acknowledgements costs 40 ms and more: over 16 KiB with
    TLS, and with QoS 1 there and back, where PUBACK and PUBLISH are two writes in a row."""
    broker = Mosquitto(tmp_path / "b", tls=tls)
    with broker:
        where = Endpoint("localhost", broker.port, tls=tls,
                         ca=str(broker.certificates.ca) if broker.certificates else "")  # fmt: skip
        here = make_link(0, endpoint=where)
        there = make_link(0, endpoint=where, start=False, client_id="there")
        back = threading.Event()
        there.subscribe("ask", lambda m: there.publish("answer", m.payload) or True)  # type: ignore[func-returns-value]
        here.subscribe("answer", lambda _m: back.set() or True)  # type: ignore[func-returns-value]
        there.start()
        assert here.wait_up(5) and there.wait_up(5)
        for size in (300, 16_384, 64_000):
            alone, answered = [], []
            for _ in range(15):
                began = time.monotonic()
                assert wait_all(here, "alone", [b"x" * size]) == [None]
                alone.append(time.monotonic() - began)
                back.clear()
                began = time.monotonic()
                here.publish("ask", b"x" * size)
                assert back.wait(5)
                answered.append(time.monotonic() - began)
            assert statistics.median(alone) < 0.03, (size, alone)
            assert statistics.median(answered) < 0.035, (size, answered)


@pytest.mark.broker
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no client certificate", ("TLS", "lost", "certificate")),
        ("wrong authority", ("certificate refused",)),
        ("wrong name", ("certificate refused",)),
        ("no such file", ("can't be used",)),
    ],
)
def test_tls_problems_are_told_in_words(
    tmp_path: Path, mosquitto_installed: None, make_link: MakeLink, what: str,
    words: tuple[str, ...], eventually: Callable[..., Any],
) -> None:  # fmt: skip
    broker = Mosquitto(tmp_path / "b", tls=True, client_certificates=True, names="DNS:localhost")
    files = broker.certificates
    assert files is not None
    other = make_certificates(tmp_path / "other")
    keys: dict[str, Any] = {"ca": files.ca, "cert": files.client, "key": files.client_key}
    host = "localhost"
    if what == "no client certificate":
        keys = {"ca": files.ca}
    elif what == "wrong authority":
        keys["ca"] = other.ca
    elif what == "no such file":
        keys["cert"] = tmp_path / "absent.pem"
    else:
        host = "127.0.0.1"
    with broker:
        names = {key: str(value) for key, value in keys.items()}
        link = make_link(0, endpoint=Endpoint(host, broker.port, tls=True, **names))
        reason = eventually(lambda: link.last_error)
        assert any(word in reason.sentence for word in words), reason
        assert link.state != "up"


def test_certificate_ends_are_read_like_openssl_does(tmp_path: Path) -> None:
    files = make_certificates(tmp_path, days=20)
    end = certificates.ends_at(files.server)
    known = ssl._ssl._test_decode_cert(str(files.server))["notAfter"]  # type: ignore[attr-defined]
    assert end.timestamp() == ssl.cert_time_to_seconds(known)
    assert "ends on" in certificates.warning(files.server)
    assert certificates.warning(files.server, days=5) == ""
    late = datetime.now(timezone.utc) + timedelta(days=30)
    assert "ended on" in certificates.warning(files.server, now=late)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_is_told(tmp_path: Path, content: bytes) -> None:
    from edgeagent.errors import InputError

    path = tmp_path / "c.pem"
    path.write_bytes(content)
    with pytest.raises(InputError):
        certificates.ends_at(path)
    whole = make_certificates(tmp_path / "whole").server.read_text().splitlines()
    path.write_text("\n".join([*whole[:4], whole[-1]]) + "\n")
    with pytest.raises(InputError):
        certificates.ends_at(path)
