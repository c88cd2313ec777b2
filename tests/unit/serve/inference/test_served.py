"""Requests of one model: in turn, together, too many, too late, no longer wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import InferenceError
from edgeagent.serve.http.exchange import Refused
from edgeagent.serve.inference.served import Served, Terms

Held = Callable[..., Any]


def rows(count: int, value: float = 1.0) -> list[Any]:
    return [np.full((count, 4), value, np.float32)]


def play(held: Held, terms: Terms, scene: Callable[[Served, Any], Coroutine[Any, Any, None]],
         **model: Any) -> None:  # fmt: skip
    """One scene with a served model; nothing may be left over at its end."""
    predictor, session = held(**model)
    served = Served(predictor, terms)
    try:
        asyncio.run(scene(served, session))
    finally:
        session.gate.set()
        served.close()


async def begun(session: Any) -> None:
    """A run has begun."""
    assert await asyncio.to_thread(session.began.acquire, True, 5.0)


async def waiting(served: Served, count: int) -> None:
    async def look() -> None:
        while served.waiting != count:
            await asyncio.sleep(0)

    await asyncio.wait_for(look(), 5.0)


def test_requests_that_wait_are_put_together_and_each_gets_its_own(held: Held) -> None:
    async def scene(served: Served, session: Any) -> None:
        session.gate.clear()
        first = asyncio.ensure_future(served.infer(rows(1)))
        await begun(session)
        others = [asyncio.ensure_future(served.infer(rows(2, n))) for n in range(5)]
        await waiting(served, 5)
        session.gate.set()
        await first
        for n, (outputs, queued) in enumerate(await asyncio.gather(*others)):
            assert outputs[0].tolist() == rows(2, n)[0].tolist()
            assert queued > 0
        assert session.rows == [1, 8, 2]
        told = served.tally.document("echo", "1.0.0")
        assert (told["execution_count"], told["inference_count"]) == (3, 11)
        assert {its["batch_size"] for its in told["batch_stats"]} == {1, 2, 8}

    play(held, Terms(max_batch=8), scene)


def test_a_request_waits_for_others_no_longer_than_it_may(held: Held) -> None:
    async def scene(served: Served, session: Any) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await served.infer(rows(1))
        alone = loop.time() - began
        assert 0.2 <= alone < 2.0
        # A full batch waits for nobody.
        began = loop.time()
        await asyncio.gather(*(served.infer(rows(2, n)) for n in range(2)))
        assert loop.time() - began < 0.2
        assert session.rows == [1, 4]

    play(held, Terms(max_batch=4, max_delay_s=0.2), scene)


@pytest.mark.parametrize("terms", [Terms(), Terms(max_batch=8)])
def test_what_can_not_be_put_together_runs_alone(held: Held, terms: Terms) -> None:
    async def scene(served: Served, session: Any) -> None:
        session.gate.clear()
        jobs = [asyncio.ensure_future(served.infer(rows(1, n))) for n in range(4)]
        await waiting(served, 3)
        session.gate.set()
        await asyncio.gather(*jobs)
        assert session.rows == [1, 1, 1, 1]
        assert served.max_batch == 0

    play(held, terms, scene, shape=(1, 4))


def test_more_than_the_queue_holds_is_refused_at_once(held: Held) -> None:
    async def scene(served: Served, session: Any) -> None:
        session.gate.clear()
        first = asyncio.ensure_future(served.infer(rows(1)))
        await begun(session)
        others = [asyncio.ensure_future(served.infer(rows(1))) for _ in range(2)]
        await waiting(served, 2)
        with pytest.raises(Refused) as refused:
            await served.infer(rows(1))
        assert refused.value.status == 429
        assert int(dict(refused.value.headers)[b"retry-after"]) >= 1
        assert served.tally.rejected == {"full": 1}
        session.gate.set()
        await asyncio.gather(first, *others)
        await served.infer(rows(1))

    play(held, Terms(queue=2), scene)


def test_who_waits_too_long_is_told_and_nothing_is_run_for_it(held: Held) -> None:
    async def scene(served: Served, session: Any) -> None:
        session.gate.clear()
        first = asyncio.ensure_future(served.infer(rows(1)))
        await begun(session)
        with pytest.raises(Refused) as refused:
            await served.infer(rows(3), timeout_s=0.05)
        assert refused.value.status == 503
        assert dict(refused.value.headers)[b"retry-after"]
        session.gate.set()
        await first
        await served.infer(rows(1))
        assert session.rows == [1, 1]
        assert served.tally.rejected == {"late": 1}

    play(held, Terms(), scene)


def test_nothing_is_run_for_a_client_that_went_away(held: Held) -> None:
    async def scene(served: Served, session: Any) -> None:
        session.gate.clear()
        first = asyncio.ensure_future(served.infer(rows(1)))
        await begun(session)
        left = asyncio.Event()
        gone = asyncio.ensure_future(served.infer(rows(3), gone=left.wait))
        await waiting(served, 1)
        left.set()
        with pytest.raises(Refused, match="went away"):
            await gone
        session.gate.set()
        await first
        await served.infer(rows(1))
        assert session.rows == [1, 1]
        assert served.tally.rejected == {"gone": 1}

    play(held, Terms(), scene)


def test_priorities_are_answered_in_their_order(held: Held) -> None:
    async def scene(served: Served, session: Any) -> None:
        session.gate.clear()
        first = asyncio.ensure_future(served.infer(rows(1)))
        await begun(session)
        order = []

        async def ask(count: int, priority: int) -> None:
            await served.infer(rows(count), priority=priority)
            order.append(count)

        asked = [(2, 0), (3, 2), (4, 1), (5, 0)]
        jobs = [asyncio.ensure_future(ask(*one)) for one in asked]
        await waiting(served, 4)
        session.gate.set()
        await asyncio.gather(first, *jobs)
        assert session.rows == [1, 4, 3, 2, 5]

    play(held, Terms(), scene)


def test_an_error_of_the_runtime_reaches_all_of_a_batch_and_no_other(held: Held) -> None:
    async def scene(served: Served, session: Any) -> None:
        session.gate.clear()
        first = asyncio.ensure_future(served.infer(rows(1)))
        await begun(session)
        jobs = [asyncio.ensure_future(served.infer(rows(1))) for _ in range(3)]
        await waiting(served, 3)
        session.error = InferenceError("out of luck")
        session.gate.set()
        told = await asyncio.gather(first, *jobs, return_exceptions=True)
        assert all(isinstance(its, InferenceError) for its in told)
        session.error = None
        await served.infer(rows(1))

    play(held, Terms(max_batch=8), scene)


def test_closing_answers_those_that_wait(held: Held) -> None:
    async def scene(served: Served, session: Any) -> None:
        session.gate.clear()
        first = asyncio.ensure_future(served.infer(rows(1)))
        await begun(session)
        waits = asyncio.ensure_future(served.infer(rows(1)))
        await waiting(served, 1)
        closing = asyncio.ensure_future(asyncio.to_thread(served.close))
        with pytest.raises(Refused, match="unloaded"):
            await waits
        session.gate.set()
        await asyncio.gather(first, closing)
        with pytest.raises(Refused, match="unloaded"):
            await served.infer(rows(1))

    play(held, Terms(), scene)


def test_a_shadow_is_asked_only_when_nothing_waits(held: Held) -> None:
    async def scene(served: Served, session: Any) -> None:
        seen: list[Any] = []
        session.gate.clear()
        first = asyncio.ensure_future(served.infer(rows(1)))
        await begun(session)
        waits = asyncio.ensure_future(served.infer(rows(1)))
        await waiting(served, 1)
        assert not served.offer(rows(1), seen.append)
        session.gate.set()
        await asyncio.gather(first, waits)
        assert served.offer(rows(3), seen.append)
        await waiting(served, 0)
        await served.ask(lambda _: None)
        assert [its[0].shape for its in seen] == [(3, 4)]

    play(held, Terms(), scene)
