"""One request and its answer, and what keeps a request from being larger than it may be."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
_ENCODE = msgspec.json.Encoder()
_DROP_S = 2.0


class Refused(Exception):
    """A request that is answered with an error status; it never leaves `edgeagent.serve`."""

    def __init__(
        self, status: int, text: str, *, headers: Headers = (), close: bool = False
    ) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers
        self.close = close
        """End the connection: what of the body has not been read is not worth reading."""


def overloaded(status: int, text: str, after_s: float = 1.0) -> Refused:
    """429 or 503: try again, and when."""
    return Refused(status, text, headers=((b"retry-after", b"%d" % max(1, round(after_s))),))


class Request:
    """What a handler is given; the body is read when it is asked for."""

    __slots__ = (
        "_receive", "_scope", "_whole", "headers", "limit", "method", "params", "path", "token",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._whole = False
        """All of the body has come."""
        self.limit = limit
        """Bytes that the body may have, as sent and as decompressed."""
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.params: dict[str, str] = {}
        """The named parts of the path."""
        self.token = False
        """It came with the device's token."""

    @property
    def viewer(self) -> str:
        """Who asks, as far as it can be known."""
        client = self._scope.get("client")
        where = client[0] if client else "unix socket"
        return f"http:{where}{' with the token' if self.token else ''}"

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    def query(self) -> dict[str, str]:
        """Raises Refused (400) for too many fields."""
        text = self._scope["query_string"].decode("latin-1")
        try:
            return dict(parse_qsl(text, max_num_fields=32))
        except ValueError as error:
            raise Refused(400, f"query: {error}") from error

    async def body(self) -> bytes:
        """The whole body, decompressed. Raises Refused (400, 413, 415)."""
        declared = self.headers.get(b"content-length")
        if declared is not None and int(declared) > self.limit:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the client went away", close=True)
            part = message.get("body", b"")
            size += len(part)
            if size > self.limit:
                raise self._too_large()
            parts.append(part)
            if not message.get("more_body"):
                self._whole = True
                break
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        coding = self.headers.get(b"content-encoding")
        return data if coding in (None, b"", b"identity") else self._inflated(coding, data)

    def _inflated(self, coding: bytes, data: bytes) -> bytes:
        if coding.strip().lower() not in (b"gzip", b"deflate", b"x-gzip"):
            raise Refused(415, "content-encoding: gzip, deflate or none", close=True)
        try:
            plain = _inflate(data, self.limit)
        except zlib.error as error:
            raise Refused(400, f"the compressed body is broken: {error}") from error
        if plain is None:
            raise self._too_large()
        return plain

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self.limit} bytes", close=True)

    async def drop(self) -> None:
        """Throw away what still comes of the body, for a while: a client that is cut off while it
        sends does not read the answer."""
        if self._whole or b"expect" in self.headers:
            return
        try:
            await asyncio.wait_for(self._drained(), _DROP_S)
        except asyncio.TimeoutError:
            return

    async def _drained(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return

    async def gone(self) -> None:
        """Returns when the client has gone away; to be cancelled."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _inflate(data: bytes, limit: int) -> bytes | None:
    """At most ``limit`` bytes of it; None = there are more. Raises zlib.error."""
    # 47: gzip and zlib by their heads; a few clients send raw deflate.
    for window in (47, -15):
        engine = zlib.decompressobj(window)
        try:
            plain = engine.decompress(data, limit + 1)
        except zlib.error:
            if window == -15:
                raise
            continue
        if len(plain) > limit or engine.unconsumed_tail:
            return None
        if not engine.eof:
            raise zlib.error("it is cut off")
        return plain
    return None


class Response(msgspec.Struct):
    """What is sent back: a body, or the parts of one that has no end."""

    body: bytes = b""
    type: bytes = JSON
    status: int = 200
    headers: Headers = ()
    stream: AsyncGenerator[bytes, None] | None = None

    async def send(self, request: Request, send: Send, *, close: bool = False) -> None:
        """Put it on the wire; `HEAD` gets the head only."""
        body, headers = self.body, [(b"content-type", self.type), *self.headers]
        if self.stream is None:
            coding = _asked_coding(request)
            if coding and body:
                body = _compressed(coding, body)
                headers.append((b"content-encoding", coding))
            headers.append((b"content-length", b"%d" % len(body)))
        if close:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.stream is not None and request.method != "HEAD":
            await self._flow(self.stream, request, send)
            body = b""
        body = b"" if request.method == "HEAD" else body
        if close:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await request.drop()
            body = b""
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _flow(
        self, stream: AsyncGenerator[bytes, None], request: Request, send: Send
    ) -> None:
        """Part by part, until it ends or nobody is there any more."""
        left = asyncio.ensure_future(request.gone())
        try:
            while not left.done():
                part = asyncio.ensure_future(anext(stream))
                await asyncio.wait({part, left}, return_when=asyncio.FIRST_COMPLETED)
                if not part.done():
                    part.cancel()
                    await asyncio.wait({part})
                    return
                try:
                    data = part.result()
                except StopAsyncIteration:
                    return
                await send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            left.cancel()
            await stream.aclose()


def _asked_coding(request: Request) -> bytes:
    """The one coding that a client asks for. Those that would take any (as browsers and most
    libraries say of themselves) get none: on a small board compressing costs more than it saves."""
    wanted = request.headers.get(b"accept-encoding", b"").strip().lower()
    return wanted if wanted in (b"gzip", b"deflate") else b""


def _compressed(coding: bytes, body: bytes) -> bytes:
    engine = zlib.compressobj(1, zlib.DEFLATED, 31 if coding == b"gzip" else 15)
    return engine.compress(body) + engine.flush()


def answer(value: Any, status: int = 200, headers: Headers = ()) -> Response:
    """A JSON answer."""
    return Response(_ENCODE.encode(value), JSON, status, headers)


def failure(error: Refused) -> Response:
    """An error as all clients of these protocols read it: ``{"error": "text"}``."""
    return answer({"error": str(error)}, error.status, error.headers)


def document(body: bytes, struct: type[Any], what: str = "the body") -> Any:
    """JSON as a Struct. Raises Refused (400) with the place of the fault."""
    try:
        return msgspec.json.decode(body, type=struct)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(400, f"{what}: {error}") from error


def parameters_of(given: Mapping[str, Any], name: str) -> int | None:
    """An optional whole number, 0 or more, of a request. Raises Refused (400)."""
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Refused(400, f"parameters.{name}: a whole number from 0 on, got {value!r:.40}")
    return value
