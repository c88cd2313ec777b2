"""Bodies that are too large, compressed, broken or never end."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.serve.http.exchange import Refused, Request, Response, document
from edgeagent.serve.inference.tensors import InferRequest

LIMIT = 10_000


def request(*parts: bytes, lost: bool = False, **headers: str) -> Request:
    """A request whose body comes in parts; ``lost``: the client leaves instead of ending it."""
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if not lost:
        waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"method": "POST", "path": "/", "query_string": b"", "headers": named}
    return Request(scope, receive, LIMIT)


def read(its: Request) -> bytes:
    return asyncio.run(its.body())


@settings(max_examples=40)
@given(st.binary(max_size=500), st.sampled_from(["gzip", "deflate", "raw", "identity"]))
def test_a_body_is_what_was_sent(body: bytes, coding: str) -> None:
    raw = zlib.compressobj(wbits=-15)
    sent = {
        "gzip": gzip.compress(body), "deflate": zlib.compress(body),
        "raw": raw.compress(body) + raw.flush(), "identity": body,
    }[coding]  # fmt: skip
    named = "deflate" if coding == "raw" else coding
    assert read(request(sent[:7], sent[7:], content_encoding=named)) == body


@pytest.mark.parametrize(
    ("its", "status"),
    [
        (lambda: request(b"a" * LIMIT, b"a"), 413),
        (lambda: request(content_length=str(LIMIT + 1)), 413),
        (lambda: request(gzip.compress(b"a" * (LIMIT + 1)), content_encoding="gzip"), 413),
        (lambda: request(gzip.compress(b"a" * 99)[:-9], content_encoding="gzip"), 400),
        (lambda: request(b"no gzip", content_encoding="gzip"), 400),
        (lambda: request(b"x", content_encoding="br"), 415),
        (lambda: request(b"x", content_encoding="gzip, gzip"), 415),
        (lambda: request(b"x", lost=True), 400),
    ],
)
def test_what_is_no_body_is_refused(its: Any, status: int) -> None:
    with pytest.raises(Refused) as refused:
        read(its())
    assert refused.value.status == status


def test_a_bomb_is_never_unpacked() -> None:
    import tracemalloc

    bomb = zlib.compress(b"\0" * 8_000_000, 9)
    assert len(bomb) < LIMIT
    tracemalloc.start()
    with pytest.raises(Refused) as refused:
        read(request(bomb, content_encoding="deflate"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.status == 413
    assert peak < 50 * LIMIT


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"inputs":1}', b"\xff", b"[" * 50_000, b'{"inputs":[{}]}']
)
def test_what_is_no_document_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        document(body, InferRequest)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("asked", "coding"),
    [("gzip", b"gzip"), ("deflate", b"deflate"), ("gzip, deflate, br", None), ("", None)],
)
def test_answers_are_compressed_for_those_who_ask_for_just_that(
    asked: str, coding: bytes | None
) -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Response(b"a" * 1000).send(request(accept_encoding=asked), send))
    headers = dict(sent[0]["headers"])
    body = sent[1]["body"]
    assert headers.get(b"content-encoding") == coding
    assert int(headers[b"content-length"]) == len(body)
    assert (zlib.decompress(body, 47) if coding else body) == b"a" * 1000
