"""The stream of events: none is lost, none is told twice, and it shows that it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.serve.http.exchange import Refused, Request
from edgeagent.serve.live import events
from edgeagent.serve.live.events import Events
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.types import Draft

Play = Callable[[Callable[[Events], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox.open(tmp_path, device="d", settings=OutboxSettings(), boot="b", machine="m")
    yield outbox
    outbox.close()


def request(**headers: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"method": "GET", "path": "/", "query_string": b"", "headers": named}
    return Request(scope, receive, 0)


@pytest.fixture
def play(box: Outbox) -> Play:
    def it(scene: Callable[[Events], Coroutine[Any, Any, None]]) -> None:
        its = Events(box)
        try:
            asyncio.run(asyncio.wait_for(scene(its), 20))
        finally:
            its.close()

    return it


async def next_part(stream: Any) -> bytes:
    part: bytes = await stream.__anext__()
    return part


def tell(box: Outbox, *numbers: int) -> None:
    for number in numbers:
        box.append(Draft(kind="event", pipeline="p", data={"n": number}))
    assert box.flush(5.0)


def test_what_is_committed_is_told_once(box: Outbox, play: Play) -> None:
    async def scene(its: Events) -> None:
        tell(box, 1)
        reply = await its.stream(request())
        stream = reply.stream
        assert await next_part(stream) == b"retry: 1000\n\n"
        waiting = asyncio.ensure_future(next_part(stream))
        await asyncio.to_thread(tell, box, 2, 3)
        told = await waiting
        if told.count(b"data: ") == 1:  # the two were committed one after the other
            told += await next_part(stream)
        assert [b'"n":%d' % n in told for n in (1, 2, 3)] == [False, True, True]
        await stream.aclose()  # type: ignore[union-attr]

    play(scene)


def test_more_than_fits_one_turn(box: Outbox, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_AT_ONCE", 2)

    async def scene(its: Events) -> None:
        tell(box, *range(5))
        reply = await its.stream(request(last_event_id=f"{box.epoch}-0"))
        stream = reply.stream
        await next_part(stream)
        parts = [await next_part(stream) for _ in range(3)]
        assert [part.count(b"data: ") for part in parts] == [2, 2, 1]
        await stream.aclose()  # type: ignore[union-attr]

    play(scene)


def test_a_quiet_stream_shows_that_it_lives(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_STILL_HERE_S", 0.01)

    async def scene(its: Events) -> None:
        stream = (await its.stream(request())).stream
        await next_part(stream)
        assert await next_part(stream) == b": still here\n\n"
        await stream.aclose()  # type: ignore[union-attr]

    play(scene)


def test_so_many_streams_and_no_more(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_STREAMS", 1)

    async def scene(its: Events) -> None:
        stream = (await its.stream(request())).stream
        await next_part(stream)
        with pytest.raises(Refused) as refused:
            await its.stream(request())
        assert refused.value.status == 503
        await stream.aclose()  # type: ignore[union-attr]
        await its.stream(request())

    play(scene)
