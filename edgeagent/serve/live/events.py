"""Events as they happen: a list, and a stream of server-sent events that loses none.

Format of the stream: html.spec.whatwg.org, "Server-sent events". Each has the id ``epoch-seq``;
a client that names the last one it got (``Last-Event-ID``, which browsers do by themselves) goes
on after it, as far as the records are still stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

import msgspec

from edgeagent.serve.http.aside import Aside
from edgeagent.serve.http.exchange import Refused, Request, Response, answer, overloaded
from edgeagent.serve.http.router import Route
from edgeagent.store.recent import Cursor

SSE = "text/event-stream"
MOST_STREAMS = 16
_STILL_HERE_S = 15.0
"""Something is sent so often: a client that is gone is found, and no proxy ends the stream."""
_AT_ONCE = 100
_MOST_LISTED = 1000
_ENCODE = msgspec.json.Encoder()


class Records(Protocol):
    """Where records are kept (a `store.outbox.Outbox`)."""

    def newest(self, kind: str, most: int) -> tuple[list[dict[str, Any]], Cursor]: ...

    def following(
        self, kind: str, cursor: Cursor, most: int
    ) -> tuple[list[dict[str, Any]], Cursor]: ...

    def on_commit(self, wake: Callable[[], None]) -> None: ...


class EventList(msgspec.Struct, frozen=True):
    events: list[dict[str, Any]]
    """Records of kind ``event`` as they are sent by MQTT, oldest first."""
    last: str
    """Where the stream goes on after them (``Last-Event-ID``)."""


class Events:
    """``GET /api/events`` and ``GET /api/events/stream``. Belongs to the server's thread."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.aside = Aside("serve:read")
        """Where what waits for disks or locks is read."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news: set[asyncio.Event] = set()
        records.on_commit(self._wake)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/events", self.list, "The newest events; ?last=N", "events",
                  holds=EventList),
            Route("GET", "/api/events/stream", self.stream, "Events as they happen", "events",
                  gives=(SSE,)),
        ]  # fmt: skip

    async def list(self, request: Request) -> Response:
        text = request.query().get("last", "100")
        if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= _MOST_LISTED):
            raise Refused(400, f"last: a whole number from 1 to {_MOST_LISTED}, got {text[:40]!r}")
        records, cursor = await self.aside.run(self._records.newest, "event", int(text))
        return answer(EventList(records, str(cursor)))

    async def stream(self, request: Request) -> Response:
        if len(self._news) >= MOST_STREAMS:
            raise overloaded(503, f"{MOST_STREAMS} streams are open", 10.0)
        named = request.header(b"last-event-id")
        cursor = Cursor.parse(named) if named else None
        if named and cursor is None:
            raise Refused(400, f"Last-Event-ID: epoch-seq, got {named[:40]!r}")
        if cursor is None:
            _, cursor = await self.aside.run(self._records.newest, "event", 1)
        headers = ((b"cache-control", b"no-store"),)
        return Response(type=SSE.encode(), headers=headers, stream=self._parts(cursor))

    async def _parts(self, cursor: Cursor) -> AsyncGenerator[bytes, None]:
        self._loop = asyncio.get_running_loop()
        news = asyncio.Event()
        self._news.add(news)
        try:
            yield b"retry: 1000\n\n"
            while True:
                news.clear()
                records, cursor = await self.aside.run(
                    self._records.following, "event", cursor, _AT_ONCE
                )
                if records:
                    yield b"".join(_told(record, cursor.epoch) for record in records)
                if len(records) == _AT_ONCE:
                    continue
                try:
                    await asyncio.wait_for(news.wait(), _STILL_HERE_S)
                except asyncio.TimeoutError:
                    yield b": still here\n\n"
        finally:
            self._news.discard(news)

    def close(self) -> None:
        self.aside.close()

    def _wake(self) -> None:
        """On the store's thread, after each commit."""
        if self._news and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        for news in self._news:
            news.set()


def _told(record: dict[str, Any], epoch: str) -> bytes:
    named = str(Cursor(epoch, record["seq"])).encode()
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        named, str(record["kind"]).encode(), _ENCODE.encode(record),
    )  # fmt: skip
