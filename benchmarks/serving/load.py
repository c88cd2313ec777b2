"""A closed loop of connections in one thread: each sends its next request when it was answered."""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence

from msgspec import Struct


class Run(Struct):
    """What came of it; times in seconds."""

    took: list[float]
    statuses: dict[int, int]
    span_s: float

    def quantile_us(self, share: float) -> float:
        ordered = sorted(self.took)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6, 1)

    @property
    def rate(self) -> float:
        return round(len(self.took) / self.span_s, 1)


def post(path: str, body: bytes, **headers: str) -> bytes:
    """A request as it goes over the wire."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self.got = b""
        self.awaited = -1

    def send(self, request: bytes) -> None:
        self.got, self.awaited, self.began = b"", -1, time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> int:
        """The status once all is there, else 0."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server ended the connection")
        self.got += part
        if self.awaited < 0:
            end = self.got.find(b"\r\n\r\n")
            if end < 0:
                return 0
            lines = self.got[:end].lower().split(b"\r\n")
            # A line of its own: inference-header-content-length ends in the same words.
            size = next(line for line in lines if line.startswith(b"content-length:"))
            self.awaited = end + 4 + int(size.split(b":")[1])
        return int(self.got[9:12]) if len(self.got) >= self.awaited else 0


def loop(
    port: int, requests: Sequence[bytes], connections: int, span_s: float, rate: float = 0.0
) -> Run:
    """Ask for ``span_s`` over so many connections; ``requests`` in turn.

    ``rate``: requests a second at most, 0 = as fast as answers come.
    """
    pace_s = connections / rate if rate else 0.0
    resting: deque[tuple[float, _Connection]] = deque()
    chosen = selectors.DefaultSelector()
    opened = [_Connection(port) for _ in range(connections)]
    took: list[float] = []
    statuses: dict[int, int] = {}
    turn = 0
    began = time.perf_counter()
    for connection in opened:
        chosen.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(requests[turn % len(requests)])
        turn += 1
    while (now := time.perf_counter()) - began < span_s:
        while resting and resting[0][0] <= now:
            resting.popleft()[1].send(requests[turn % len(requests)])
            turn += 1
        patience_s = max(0.0, resting[0][0] - now) if resting else 0.5
        for key, _ in chosen.select(patience_s):
            connection = key.data
            status = connection.receive()
            if not status:
                continue
            took.append(time.perf_counter() - connection.began)
            statuses[status] = statuses.get(status, 0) + 1
            if pace_s:
                resting.append((connection.began + pace_s, connection))
                continue
            connection.send(requests[turn % len(requests)])
            turn += 1
    for connection in opened:
        connection.socket.close()
    return Run(took, statuses, now - began)
