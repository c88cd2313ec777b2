"""The proxy that stands for bad networks, against a plain echo server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edgeagent.testing.proxy import Proxy


@pytest.fixture
def echo_port() -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(65536):
                    sock.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield int(listener.getsockname()[1])
    listener.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def receive(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            break
        data += part
    return data


def test_bytes_pass_both_ways(echo_port: int, eventually: Callable[..., Any]) -> None:
    payload = bytes(range(256)) * 4000
    with Proxy(echo_port) as proxy, connect(proxy.port) as sock:
        threading.Thread(target=sock.sendall, args=(payload,), daemon=True).start()
        assert receive(sock, len(payload)) == payload
        # The proxy counts after it has written: we may have read the last bytes before that.
        assert eventually(lambda: proxy.bytes_up == proxy.bytes_down == len(payload))
        assert proxy.connections == 1


def test_delay_and_rate(echo_port: int) -> None:
    with Proxy(echo_port, delay_s=0.05) as proxy, connect(proxy.port) as sock:
        began = time.monotonic()
        sock.sendall(b"x")
        assert receive(sock, 1) == b"x"
        assert 0.1 <= time.monotonic() - began < 0.5
    with Proxy(echo_port, rate=50_000) as proxy, connect(proxy.port) as sock:
        began = time.monotonic()
        sock.sendall(b"x" * 20_000)
        receive(sock, 20_000)
        assert 0.35 <= time.monotonic() - began < 2.0


def test_hold_is_silent_and_pass_goes_on(echo_port: int) -> None:
    with Proxy(echo_port) as proxy, connect(proxy.port) as sock:
        proxy.mode = "hold"
        sock.sendall(b"abc")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(5)
        proxy.mode = "pass"
        assert receive(sock, 3) == b"abc"


@pytest.mark.parametrize("reset", [False, True])
def test_cut(echo_port: int, reset: bool) -> None:
    with Proxy(echo_port) as proxy, connect(proxy.port) as sock:
        sock.sendall(b"x")
        assert receive(sock, 1) == b"x"
        proxy.cut(reset=reset)
        if reset:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        else:
            assert sock.recv(1) == b""
        assert proxy.connections == 0
        with connect(proxy.port) as again:
            again.sendall(b"y")
            assert receive(again, 1) == b"y"


def test_cut_within_a_message(echo_port: int, eventually: Callable[..., Any]) -> None:
    with Proxy(echo_port) as proxy, connect(proxy.port) as sock:
        proxy.cut_after(700)
        sock.sendall(b"x" * 1000)
        eventually(lambda: proxy.bytes_up == 700 and proxy.connections == 0)


def test_refuse(echo_port: int) -> None:
    with Proxy(echo_port) as proxy:
        proxy.mode = "refuse"
        with connect(proxy.port) as sock:
            assert sock.recv(1) == b""


def test_no_server_behind_it() -> None:
    with Proxy(1) as proxy, connect(proxy.port) as sock:
        assert sock.recv(1) == b""


def test_nothing_is_left_after_stop(echo_port: int) -> None:
    before = threading.active_count()
    proxy = Proxy(echo_port)
    sock = connect(proxy.port)
    proxy.stop()
    assert sock.recv(1) == b""
    sock.close()
    with pytest.raises(OSError):
        connect(proxy.port)
    assert threading.active_count() <= before + 1  # The echo server's own, at most.
