"""The server with real sockets: TLS, unix sockets, clients that are slow, deaf or too many."""

from __future__ import annotations

import asyncio
import http.client
import json
import select
import socket
import ssl
import stat
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Busy, ConfigError
from edgeagent.serve.http.door import Door
from edgeagent.serve.http.exchange import Request, Response, answer
from edgeagent.serve.http.router import Route, Router
from edgeagent.serve.http.server import Listen, Server
from edgeagent.testing.broker import make_certificates

guard = pytest.importorskip("edgeagent.serve.http.guard", reason="pip install 'edgeagent[serve]'")


async def echo(request: Request) -> Response:
    return answer({"bytes": len(await request.body())})


async def unread(_request: Request) -> Response:
    return answer({})


async def fails(_request: Request) -> Response:
    raise ZeroDivisionError("the inside of the server")


streaming = threading.Semaphore(0)
"""Released by each stream that has ended."""


async def endless(_request: Request) -> Response:
    async def parts() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            streaming.release()

    return Response(type=b"text/plain", stream=parts())


async def quiet(_request: Request) -> Response:
    async def parts() -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            await asyncio.sleep(3600)
        finally:
            streaming.release()

    return Response(type=b"text/plain", stream=parts())


ROUTES = [
    Route("GET", "/quiet", quiet, "", ""),
    Route("POST", "/echo", echo, "", ""), Route("POST", "/unread", unread, "", ""),
    Route("GET", "/fails", fails, "", ""), Route("GET", "/endless", endless, "", ""),
    Route("POST", "/change", echo, "", "", changes=True),
]  # fmt: skip


async def nothing() -> None: ...


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def start(address: str = "127.0.0.1:0", begin: Any = nothing, **tls: str) -> Server:
        door = Door("0123456789abcdef", [], exposed=False)
        server = Server(
            Listen(address, **tls), Router(ROUTES, door, 100_000),
            begin=begin, tick=nothing, end=nothing, background=lambda: None,
        )  # fmt: skip
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def asked(server: Server, method: str, path: str, body: Any = b"", **headers: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_tls_and_nothing_but_tls(serve: Callable[..., Server], tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    server = serve(cert=str(files.server), key=str(files.server_key))
    assert server.listen.where.startswith("https://")
    context = ssl.create_default_context(cafile=str(files.ca))
    secure = http.client.HTTPSConnection("localhost", server.port, context=context, timeout=10)
    secure.sock = context.wrap_socket(connected(server), server_hostname="localhost")
    secure.request("POST", "/echo", b"abc")
    assert json.loads(secure.getresponse().read()) == {"bytes": 3}
    version = secure.sock.version()
    secure.close()
    assert version in ("TLSv1.2", "TLSv1.3")
    with connected(server) as plain:
        plain.sendall(b"GET /fails HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not rest(plain).startswith(b"HTTP/1.1 200")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with connected(server) as raw, pytest.raises((ssl.SSLError, ConnectionResetError)):
        old.wrap_socket(raw)


def test_certificates_that_are_none_are_a_fault_of_the_configuration(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    for name in ("none.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=r"serve\.tls"):
            serve(cert=str(tmp_path / name), key=str(tmp_path / name))


def test_a_unix_socket_for_its_group_only(serve: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / "run" / "http.sock"
    server = serve(f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(str(path))
    connection.request("POST", "/echo", b"abcd")
    assert json.loads(connection.getresponse().read()) == {"bytes": 4}
    connection.close()
    server.stop()
    assert not path.exists()
    serve(f"unix:{path}")  # and again, over what a killed one has left


def test_an_address_that_is_taken_is_told(serve: Callable[..., Server]) -> None:
    taken = serve()
    with pytest.raises(Busy, match=r"serve\.listen"):
        serve(f"127.0.0.1:{taken.port}")


def test_bodies_in_chunks_and_requests_in_a_row(serve: Callable[..., Server]) -> None:
    server = serve()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/echo", iter([b"ab", b"cde"]))
        assert json.loads(connection.getresponse().read()) == {"bytes": 5}
        # A body that nobody reads is not taken for the next request.
        connection.request("POST", "/unread", b"GET /fails HTTP/1.1\r\n\r\n" * 100)
        assert connection.getresponse().read() == b"{}"
    connection.close()
    with connected(server) as pipelined:
        one = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab"
        pipelined.sendall(
            one * 20 + one.replace(b"\r\nContent", b"\r\nConnection: close\r\nContent")
        )
        assert rest(pipelined).count(b'{"bytes":2}') == 21


def test_a_body_that_is_too_large_gets_an_answer_that_can_be_read(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    assert asked(server, "POST", "/echo", b"a" * 5_000_000) == 413
    assert asked(server, "POST", "/echo", iter([b"a" * 50_000] * 40)) == 413
    assert asked(server, "POST", "/change", b"a" * 5_000_000) == 401
    with connected(server) as polite:  # asks first, and then does not send it
        polite.sendall(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                       b"Content-Length: 5000000\r\n\r\n")  # fmt: skip
        assert rest(polite).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /x HTTP/1.1\r\nHost: localhost\r\nA B: 1\r\n\r\n",
        b"GET /x HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_no_good_request_gets_a_4xx(serve: Callable[..., Server], head: bytes) -> None:
    server = serve()
    with connected(server) as bad:
        bad.sendall(head)
        bad.shutdown(socket.SHUT_WR)
        said = rest(bad)
    assert said.startswith(b"HTTP/1.1 4"), said
    assert said.count(b"connection: close\r\n") == 1
    assert asked(server, "POST", "/echo") == 200


def test_a_fault_of_ours_does_not_show_its_inside(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/fails")
    reply = connection.getresponse()
    assert (reply.status, b"inside" in reply.read()) == (500, False)
    connection.close()
    assert "the inside of the server" in caplog.text


def test_who_sends_too_slowly_is_cut_off(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "HEAD_S", 0.5)
    monkeypatch.setattr(guard, "BODY_S", 0.5)
    server = serve()
    heads = [b"", b"GET /x HTT", b"GET /x HTTP/1.1\r\nX: ",
             b"POST /echo HTTP/1.1\r\nHost: [::]\r\nContent-Length: 99\r\n\r\nab"]  # fmt: skip
    slow = [connected(server) for _ in heads]
    for connection, head in zip(slow, heads, strict=True):
        connection.sendall(head)
    for connection in slow[2:]:  # a byte now and then is not enough
        while not select.select([connection], [], [], 0.05)[0]:
            connection.sendall(b"a")
    for connection in slow:
        assert rest(connection).startswith(b"HTTP/1.1 408")
        connection.close()
    # A connection that has been of use may be quiet for longer.
    kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(2):
        kept.request("POST", "/echo", b"abc")
        assert kept.getresponse().read()
        time.sleep(1.6)
    kept.close()


def test_too_many_connections_are_told_to_come_back(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CONNECTIONS", 5)
    server = serve()
    held = [connected(server) for _ in range(5)]
    for connection in held:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    with connected(server) as sixth:
        said = rest(sixth)
    assert said.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in said
    for connection in held:
        connection.close()
    deadline = time.monotonic() + 5.0
    while asked(server, "POST", "/echo") != 200:
        assert time.monotonic() < deadline


def test_who_does_not_read_is_cut_off(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "STUCK_S", 0.5)
    server = serve()
    stuck = connected(server)
    stuck.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert stuck.recv(100).startswith(b"HTTP/1.1 200")
    assert streaming.acquire(timeout=10.0)
    stuck.close()


def test_a_stream_ends_with_its_client(serve: Callable[..., Server]) -> None:
    server = serve()
    with connected(server) as reading:
        reading.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert reading.recv(1000).startswith(b"HTTP/1.1 200")
    assert streaming.acquire(timeout=5.0)


def test_stopping_ends_streams_that_have_no_end(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    port = server.port
    with connected(server) as deaf, connected(server) as quiet:
        for connection, path in ((deaf, b"/endless"), (quiet, b"/quiet")):
            connection.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
            head = connection.recv(1000)
            assert head.startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 1.0
        assert (head + rest(quiet)).endswith(b"first\r\n")
    for _ in range(2):
        assert streaming.acquire(timeout=5.0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
    assert not caplog.records


def test_what_takes_long_at_the_start_holds_up_nobody(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    async def for_ever() -> None:
        await asyncio.sleep(3600)

    async def broken() -> None:
        raise ZeroDivisionError("a part of it")

    slow = serve(begin=for_ever)
    assert asked(slow, "POST", "/echo") == 200
    began = time.monotonic()
    slow.stop()
    assert time.monotonic() - began < 1.0
    assert asked(serve(begin=broken), "POST", "/echo") == 200
    assert "a part of it" in caplog.text
