"""A TCP proxy that behaves like a bad network, for tests and the demo.

One thread, any number of connections. `Proxy.mode` may be changed at any time:

========== ==================================================================================
pass       bytes go through (after ``delay_s``, at most ``rate`` bytes a second each way)
hold       a half-open connection: accepted and open, but nothing goes through any more
refuse     new connections are closed at once; those that stand are left alone
========== ==================================================================================
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["pass", "hold", "refuse"]

_CHUNK = 16384


@dataclass
class _Way:
    """One direction of one connection."""

    source: socket.socket
    target: socket.socket
    up: bool
    """From the client to the server."""
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    ended: bool = False
    free_at: float = 0.0
    """When the rate allows the next byte."""


class Proxy:
    """Listens on 127.0.0.1:``port`` and passes on to 127.0.0.1:``target``."""

    def __init__(self, target: int, *, delay_s: float = 0.0, rate: float = 0.0) -> None:
        """``delay_s`` each way; ``rate`` in bytes a second each way, 0 = without limit."""
        self.mode: Mode = "pass"
        self.delay_s = delay_s
        self.rate = rate
        self.bytes_up = 0
        self.bytes_down = 0
        self.accepted = 0
        self._target = target
        self._ways: list[_Way] = []
        self._cut_at: int | None = None
        self._lock = threading.RLock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"proxy:{self.port}", daemon=True)
        self._thread.start()

    def cut(self, *, reset: bool = False) -> None:
        """Close all connections (with RST: no orderly end); new ones are still taken."""
        with self._lock:
            for way in list(self._ways):
                self._drop(way, reset=reset)

    def cut_after(self, bytes_up: int) -> None:
        """Cut everything once so many more bytes have gone up: inside a packet, if need be."""
        with self._lock:
            self._cut_at = self.bytes_up + bytes_up

    @property
    def connections(self) -> int:
        with self._lock:
            return sum(way.up for way in self._ways)

    def stop(self) -> None:
        self._stopping = True
        self._wake.send(b"x")
        self._thread.join(5)
        self.cut()
        for end in (self._listener, self._wake, self._woken):
            end.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- the thread

    def _run(self) -> None:
        while not self._stopping:
            with self._lock:
                ready = self._look()
            for key in ready:
                with self._lock:
                    self._serve(key)
            with self._lock:
                for way in list(self._ways):
                    self._write(way)

    def _look(self) -> list[object]:
        # Registered anew each time: the sets change with mode and backlog, and this is a test
        # tool. The lock is held only while it is set up and read, see `_select`.
        selector = selectors.DefaultSelector()
        try:
            selector.register(self._listener, selectors.EVENT_READ, self._listener)
            selector.register(self._woken, selectors.EVENT_READ, self._woken)
            for way in self._ways:
                if self.mode != "hold" and not way.ended and len(way.waiting) < 64:
                    selector.register(way.source, selectors.EVENT_READ, way)
            self._lock.release()
            try:
                events = selector.select(self._patience())
            finally:
                self._lock.acquire()
            return [key.data for key, _ in events]
        finally:
            selector.close()

    def _patience(self) -> float:
        dues = [max(way.waiting[0][0], way.free_at) for way in list(self._ways) if way.waiting]
        if not dues or self.mode == "hold":
            return 0.05
        return max(0.0, min(0.05, min(dues) - time.monotonic()))

    def _serve(self, ready: object) -> None:
        if ready is self._listener:
            self._accept()
        elif isinstance(ready, _Way) and ready in self._ways:
            self._read(ready)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if self.mode == "refuse":
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=2)
        except OSError:
            client.close()
            return
        self.accepted += 1
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ways += [_Way(client, server, True), _Way(server, client, False)]

    def _read(self, way: _Way) -> None:
        try:
            data = way.source.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            way.waiting.append((time.monotonic() + self.delay_s, data))
        else:
            way.ended = True
            self._write(way)

    def _write(self, way: _Way) -> None:
        while way.waiting and self.mode != "hold":
            due, data = way.waiting[0]
            now = time.monotonic()
            if now < max(due, way.free_at):
                return
            part = data
            if self.rate:
                part = data[: max(1, int(self.rate / 50))]
            part = self._until_cut(way, part)
            try:
                sent = way.target.send(part) if part else 0
            except BlockingIOError:
                return
            except OSError:
                self._drop(way)
                return
            self._count(way, sent, now)
            if way not in self._ways:
                return
            way.waiting.popleft()
            if sent < len(data):
                way.waiting.appendleft((due, data[sent:]))
        if way.ended and not way.waiting:
            self._drop(way)

    def _until_cut(self, way: _Way, part: bytes) -> bytes:
        if way.up and self._cut_at is not None:
            return part[: max(0, self._cut_at - self.bytes_up)]
        return part

    def _count(self, way: _Way, sent: int, now: float) -> None:
        if self.rate:
            way.free_at = max(now, way.free_at) + sent / self.rate
        if not way.up:
            self.bytes_down += sent
            return
        self.bytes_up += sent
        if self._cut_at is not None and self.bytes_up >= self._cut_at:
            self._cut_at = None
            self.cut()

    def _drop(self, way: _Way, *, reset: bool = False) -> None:
        """Close both directions of a connection."""
        for other in [w for w in self._ways if {w.source, w.target} == {way.source, way.target}]:
            self._ways.remove(other)
            if reset:
                linger = struct.pack("ii", 1, 0)
                other.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            other.source.close()
