"""The HTTP protocol of uvicorn with what it lacks against bad clients: a limit on the head, a
time for the head and the body, a number of connections, and an end for those who do not read."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 16 * 1024
HEAD_S = 10.0
BODY_S = 60.0
STUCK_S = 30.0
"""So long a client may leave what it was sent unread."""
CONNECTIONS = 128

_WORDS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large",
          503: b"Service Unavailable"}  # fmt: skip


class Guarded(HttpToolsProtocol):
    """One connection. `overdue` is asked of each once a second by the server."""

    give_way: Callable[[], None] = staticmethod(lambda: None)
    """Called before anything is done with what has come."""
    _in_head = True
    _head = 0
    _due = math.inf
    _unread = 0
    _unread_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._due = self.loop.time() + HEAD_S
        if len(self.connections) > CONNECTIONS:
            self._refuse(503, "too many connections", b"retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        if self.parser is None or self.transport.is_closing():
            return
        self.give_way()
        if self._in_head:
            self._head += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "this server speaks HTTP/1.1 only")
        except httptools.HttpParserError as error:
            self._refuse(400, f"no HTTP request: {error}")
        else:
            if self._in_head and self._head > HEAD_BYTES:
                self._refuse(431, f"the head of the request is larger than {HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._due = self.loop.time() + HEAD_S

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > 100:
            raise ValueError("more than 100 header fields")

    def on_headers_complete(self) -> None:
        if sum(map(len, (part for pair in self.headers for part in pair))) > HEAD_BYTES:
            raise ValueError(f"the head is larger than {HEAD_BYTES} bytes")
        self._in_head, self._head = False, 0
        self._due = self.loop.time() + BODY_S
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._due = math.inf
        # What follows on the connection is the head of the next request.
        self._in_head = True
        super().on_message_complete()

    def shutdown(self) -> None:
        """As the server stops: an answer without an end ends, and none that has one is cut off."""
        cycle = self.cycle
        endless = cycle is not None and cycle.response_started and cycle.chunked_encoding
        if not endless or cycle.response_complete:
            super().shutdown()
            return
        cycle.disconnected = True
        cycle.message_event.set()
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def overdue(self, now: float) -> None:
        """End the connection if its client takes too long to send or to read."""
        if self.transport is None or self.transport.is_closing():
            return
        waiting = self.transport.get_write_buffer_size()
        if not waiting or waiting != self._unread:
            self._unread, self._unread_since = waiting, now
        elif now - self._unread_since > STUCK_S:
            self.transport.abort()
            return
        if now > self._due:
            self._refuse(408, "the request took too long to arrive")

    def _refuse(self, status: int, text: str, more: bytes = b"") -> None:
        """Answer without having understood, and end the connection."""
        cycle = self.cycle
        started: Any = cycle is not None and cycle.response_started and not cycle.response_complete
        if started:
            self.transport.abort()
            return
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        body = b'{"error":"%s"}' % text.encode("ascii", "replace").replace(b'"', b"'")
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"%bconnection: close\r\n\r\n%b" % (status, _WORDS[status], len(body), more, body)
        )
        self.transport.close()
        self._due = math.inf
