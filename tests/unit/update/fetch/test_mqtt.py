"""Files over a real broker: whole, resumed, refused, and nothing but what was asked for."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Busy, NotFound, Unavailable, Untrusted
from edgeagent.sync.budget import Budget, BudgetSettings
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener
from edgeagent.testing.proxy import Proxy
from edgeagent.update.fetch.mqtt import MqttCarrier
from edgeagent.update.fetch.pace import LARGEST, Pace
from edgeagent.update.fetch.part import Part

pytestmark = pytest.mark.broker
GO = threading.Event()
"""Never set: nobody stops the transfer."""
LIES = [
    ("9999999", b"x" * LARGEST),
    ("0", b"short"),
    ("-1", b"x"),
    ("info", b"nonsense"),
    ("info", b"\xff"),
    ("x", b""),
]


def put(shelf: Path, path: str, data: bytes) -> str:
    file = shelf / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 4096, 70_001])
def test_a_small_file_comes_whole(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, size: int
) -> None:
    data = os.urandom(size)
    put(shelf, "metadata/timestamp.json", data)
    serve()
    carrier = MqttCarrier(ask(broker.port).exchange)
    assert carrier.read("metadata/timestamp.json", 1 << 20, GO) == data
    assert carrier.read("metadata/2.root.json", 1 << 20, GO) is None
    assert carrier.repeated == 0


def test_a_large_file_comes_whole(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    data = os.urandom(3_000_001)
    sha256 = put(shelf, "targets/m", data)
    server = serve()
    carrier = MqttCarrier(ask(broker.port).exchange)
    told: list[int] = []
    part = Part(tmp_path / "out" / "m", len(data), sha256, lambda done, _: told.append(done))
    carrier.bring("targets/m", part, GO)
    part.finish()
    assert (tmp_path / "out" / "m").read_bytes() == data
    assert sorted(told) == told
    assert told[-1] == len(data)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["m"]
    assert carrier.pace.chunk == LARGEST
    assert carrier.repeated == 0
    assert server.figures.bytes < len(data) * 1.02


def test_more_than_may_be_is_refused_before_it_comes(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any
) -> None:
    put(shelf, "metadata/timestamp.json", os.urandom(20_000_000))
    server = serve()
    with pytest.raises(Untrusted, match="at most 16384"):
        MqttCarrier(ask(broker.port).exchange).read("metadata/timestamp.json", 16384, GO)
    assert server.figures.bytes < 100_000


def test_another_file_than_the_signed_one_ends_it(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    put(shelf, "targets/m", os.urandom(500_000))
    serve()
    carrier = MqttCarrier(ask(broker.port).exchange)
    with pytest.raises(Untrusted, match="another file than the signed one"):
        carrier.bring("targets/m", Part(tmp_path / "m", 500_000, "0" * 64), GO)
    with pytest.raises(NotFound):
        carrier.bring("targets/n", Part(tmp_path / "n", 500_000, "0" * 64), GO)


@pytest.mark.parametrize(
    "path", ["../keys/root.pem", "/etc/passwd", "targets/../../x", "targets//m", "metadata/a b", "",
             "targets/" + "x" * 600, "targets/m\n"],
)  # fmt: skip
def test_no_path_leads_out(broker: Mosquitto, shelf: Path, serve: Any, ask: Any, path: str) -> None:
    """The device does not ask for it; the server does not answer with anything but what it
    has listed."""
    put(shelf, "targets/m", b"m")
    (shelf.parent / "keys").mkdir()
    (shelf.parent / "keys" / "root.pem").write_bytes(b"secret")
    serve()
    asker = ask(broker.port)
    with pytest.raises(Untrusted):
        MqttCarrier(asker.exchange).read(path, 100, GO)
    got: list[tuple[str, bytes]] = []
    asker.exchange.listen("a" * 16, lambda name, data: got.append((name, data)))
    asker.exchange.ask(
        json.dumps({"rid": "a" * 16, "path": path, "chunk": 1024, "first": 0, "count": 1}).encode()
    )
    until(lambda: got)
    assert got == [("info", b'{"error":"not found"}')]


@pytest.mark.parametrize(
    "request_",
    [b"", b"x", b"[]", b"{}", {"rid": "A"}, {"chunk": 0}, {"chunk": 1 << 20}, {"chunk": 1500},
     {"count": 0}, {"count": 10**9}, {"first": -1}, {"first": 1 << 40}, {"missing": "zz"},
     {"missing": "ff" * 1000}, {"path": 5}],
)  # fmt: skip
def test_a_server_answers_no_nonsense(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, request_: Any
) -> None:
    put(shelf, "targets/m", b"m" * 5000)
    server = serve()
    asker = ask(broker.port)
    good = {"rid": "a" * 16, "path": "targets/m", "chunk": 1024, "first": 0, "count": 9}
    payload = request_ if isinstance(request_, bytes) else json.dumps({**good, **request_}).encode()
    got: list[str] = []
    asker.exchange.listen("a" * 16, lambda name, _data: got.append(name))
    asker.exchange.ask(payload)
    until(lambda: server.figures.refused == 1)
    asker.exchange.ask(json.dumps({**good, "missing": "15"}).encode())
    until(lambda: len(got) == 4)
    assert got == ["info", "0", "2", "4"]


def test_a_killed_broker_costs_one_window(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    data = os.urandom(6_000_000)
    sha256 = put(shelf, "targets/m", data)
    server = serve()
    pace = Pace(chunks=4)
    carrier = MqttCarrier(ask(broker.port).exchange, pace)
    reached = threading.Event()
    killed = threading.Event()

    def progress(done: int, _all: int) -> None:
        if done > 3_000_000 and not reached.is_set():
            reached.set()
            assert killed.wait(20)

    part = Part(tmp_path / "m", len(data), sha256, progress)
    work = threading.Thread(target=carrier.bring, args=("targets/m", part, GO))
    work.start()
    assert reached.wait(20)
    broker.kill()
    broker.start()
    killed.set()
    work.join(30)
    assert not work.is_alive()
    part.finish()
    assert (tmp_path / "m").read_bytes() == data
    assert server.figures.bytes <= len(data) + 4 * LARGEST + 64 * 1024


def test_a_stopped_transfer_goes_on_where_it_was(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    data = os.urandom(4_000_000)
    sha256 = put(shelf, "targets/m", data)
    server = serve()
    carrier = MqttCarrier(ask(broker.port).exchange, Pace(chunks=4))
    stopped = threading.Event()
    part = Part(tmp_path / "m", len(data), sha256, lambda d, _: d > 2_000_000 and stopped.set())
    with pytest.raises(Busy, match="goes on later"):
        carrier.bring("targets/m", part, stopped)
    part.note()
    part.close()
    before = server.figures.bytes
    again = Part(tmp_path / "m", len(data), sha256)
    assert again.pieces.done > 2_000_000
    carrier.bring("targets/m", again, GO)
    again.finish()
    assert server.figures.bytes - before <= len(data) - 2_000_000
    assert (tmp_path / "m").read_bytes() == data


def test_nobody_answers(broker: Mosquitto, ask: Any) -> None:
    carrier = MqttCarrier(ask(broker.port).exchange, silence_s=0.5)
    with pytest.raises(Unavailable, match="does not answer over MQTT"):
        carrier.read("metadata/timestamp.json", 100, GO)


def test_two_servers_share_what_is_asked(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    data = os.urandom(2_000_000)
    sha256 = put(shelf, "targets/m", data)
    servers = [serve(), serve()]
    carrier = MqttCarrier(ask(broker.port).exchange)
    part = Part(tmp_path / "m", len(data), sha256)
    carrier.bring("targets/m", part, GO)
    part.finish()
    assert all(server.figures.requests > 0 for server in servers)
    assert sum(server.figures.bytes for server in servers) < len(data) * 1.02


def test_a_quota_is_told_and_a_busy_server_waited_for(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    data = os.urandom(300_000)
    sha256 = put(shelf, "targets/m", data)
    serve(quota=100_000)
    carrier = MqttCarrier(ask(broker.port).exchange)
    with pytest.raises(Busy, match="no more for now"):
        carrier.bring("targets/m", Part(tmp_path / "m", len(data), sha256), GO)


def test_a_server_with_a_rate_is_waited_for(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    data = os.urandom(150_000)
    sha256 = put(shelf, "targets/m", data)
    server = serve(rate=60_000)
    carrier = MqttCarrier(ask(broker.port).exchange)
    for name in ("a", "b"):
        part = Part(tmp_path / name, len(data), sha256)
        carrier.bring("targets/m", part, GO)
        part.finish()
    assert server.figures.busy > 0


def test_no_byte_beyond_the_budget(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    data = os.urandom(300_000)
    sha256 = put(shelf, "targets/m", data)
    serve()
    budget = Budget(BudgetSettings({"updates": {"hour": 100_000}}), _topics())
    asker = ask(broker.port, budget=budget)
    stopped = threading.Event()
    part = Part(tmp_path / "m", len(data), sha256)
    work = threading.Thread(target=_quietly, args=(MqttCarrier(asker.exchange), part, stopped))
    work.start()
    until(lambda: asker.exchange.held())
    time.sleep(0.5)
    stopped.set()
    work.join(10)
    assert 60_000 < part.pieces.done < 100_000
    assert budget.status()["hour"]["updates"] <= 100_000 + 2_000


def test_a_device_s_own_rate_is_kept(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    data = os.urandom(200_000)
    sha256 = put(shelf, "targets/m", data)
    serve()
    began = time.monotonic()
    part = Part(tmp_path / "m", len(data), sha256)
    MqttCarrier(ask(broker.port).exchange, Pace(limit=100_000)).bring("targets/m", part, GO)
    assert 1.0 < time.monotonic() - began < 4.0


def test_lies_and_floods_change_nothing(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    """Somebody who may write the device's topics sends chunks that nobody asked for, of wrong
    length, and answers that are none."""
    data = os.urandom(1_000_000)
    sha256 = put(shelf, "targets/m", data)
    serve()
    asker = ask(broker.port)
    liar = Listener(broker.port, "edgeagent/d1/fetch")
    stop = threading.Event()

    def lie() -> None:
        while not stop.is_set():
            for _, payload, _ in liar.got[-1:]:
                base = "edgeagent/d1/fetch/" + json.loads(payload)["rid"]
                for name, lies in LIES:
                    liar.client.publish(f"{base}/{name}", lies)
            time.sleep(0.001)

    liars = threading.Thread(target=lie)
    liars.start()
    try:
        part = Part(tmp_path / "m", len(data), sha256)
        MqttCarrier(asker.exchange, Pace(limit=1_000_000)).bring("targets/m", part, GO)
    finally:
        stop.set()
        liars.join()
        liar.client.loop_stop()
    part.finish()
    assert (tmp_path / "m").read_bytes() == data


def test_a_slow_link_gets_small_chunks(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    data = os.urandom(100_000)
    sha256 = put(shelf, "targets/m", data)
    server = serve()
    with Proxy(broker.port, delay_s=0.2, rate=20_000) as proxy:
        carrier = MqttCarrier(ask(proxy.port).exchange)
        part = Part(tmp_path / "m", len(data), sha256)
        before = proxy.bytes_down
        carrier.bring("targets/m", part, GO)
        assert proxy.bytes_down - before < 1.1 * len(data)
    part.finish()
    assert 12_000 < carrier.pace.rate < 25_000
    assert carrier.pace.chunk <= 16_384
    assert server.figures.bytes == len(data)


def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)
    return value


def _quietly(carrier: MqttCarrier, part: Part, stopped: threading.Event) -> None:
    with pytest.raises(Busy):
        carrier.bring("targets/m", part, stopped)


def _topics() -> Any:
    from edgeagent.sync.topics import Topics

    return Topics("edgeagent", "d1")


@pytest.mark.usefixtures("in_full")
def test_a_far_and_narrow_line_carries_each_chunk_once(
    broker: Mosquitto, shelf: Path, serve: Any, ask: Any, tmp_path: Path
) -> None:
    """Several requests are under way: the round trip is that of each, not of the last."""
    data = os.urandom(80_000)
    digest = put(shelf, "targets/m", data)
    serve()
    with Proxy(broker.port, delay_s=0.5, rate=20_000) as proxy:
        carrier = MqttCarrier(ask(proxy.port).exchange)
        part = Part(tmp_path / "m", len(data), digest)
        carrier.bring("targets/m", part, GO)
    part.finish()
    assert (tmp_path / "m").read_bytes() == data
    assert carrier.repeated == 0
    assert carrier.pace.round_trip >= 1.0
