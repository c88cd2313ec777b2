"""A broker that says no is not waited for as long as one that is slow."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from edgeagent.errors import LinkDown
from edgeagent.fleet.meeting import meet
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto, free_port


def link(port: int) -> Link:
    settings = LinkSettings("desk", (Endpoint("127.0.0.1", port),))
    return Link(settings, Topics("edgeagent", "desk").echo)


def test_one_that_refuses_is_soon_given_up_with_what_mends_it() -> None:
    began = time.monotonic()
    with pytest.raises(LinkDown, match=r"no broker: .*connection refused") as refused:
        meet(link(free_port()), 8.0)
    assert time.monotonic() - began < 6.0
    assert refused.value.remedy == "Does the broker run there?"


def test_one_that_is_slow_gets_all_of_the_time() -> None:
    began = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as slow,
        pytest.raises(LinkDown, match=r"127\.0\.0\.1:\d+ gives no answer"),
    ):
        meet(link(slow.getsockname()[1]), 1.5)
    assert time.monotonic() - began >= 1.5


def test_one_that_restarts_is_met(tmp_path: Path, mosquitto_installed: None) -> None:
    late = Mosquitto(tmp_path / "broker")
    late.stop()
    its = link(late.port)
    back = threading.Timer(1.0, late.start)
    back.start()
    try:
        meet(its, 30.0)
        assert its.state == "up"
    finally:
        its.stop()
        back.join()
        late.stop()


def test_one_that_speaks_an_older_version_slowly_gets_all_of_the_time() -> None:
    """Its no to MQTT 5 comes at once; its answer to 3.1.1 does not."""
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as older:
        its = link(older.getsockname()[1])
        refusing = threading.Thread(target=_refuse_five, args=(older,))
        refusing.start()
        with pytest.raises(LinkDown, match="does not speak this version"):
            meet(its, 2.0)
        refusing.join()
    assert time.monotonic() - began >= 2.0


def _refuse_five(older: socket.socket) -> None:
    """CONNACK 0x01 of MQTT 3.1.1: unacceptable protocol version."""
    connection, _ = older.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"\x20\x02\x00\x01")
