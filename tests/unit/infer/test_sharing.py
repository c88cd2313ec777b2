"""One session for several pipelines: fair turns, right answers, closed by the last."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config.model import Runtime
from edgeagent.errors import EdgeAgentError, InferenceError, NotFound
from edgeagent.infer import open_package
from edgeagent.infer.sharing import Seat, Sharing, Turns
from edgeagent.manifest import Package, load_package

pytest.importorskip("onnxruntime")


@pytest.fixture
def parts(repository: Path) -> Package:
    return load_package(repository / "models" / "parts" / "1.0.0")


def seats_at(sharing: Sharing, package: Package, *weights: float) -> list[Seat]:
    opened = [sharing.open(package, Runtime(), weight)[0] for weight in weights]
    assert all(isinstance(seat, Seat) for seat in opened)
    return [seat for seat in opened if isinstance(seat, Seat)]


def tensors_for(seat: Seat, value: int) -> list[Any]:
    rng = np.random.default_rng(value)
    return [
        (rng.random([max(1, n) for n in spec.shape]) * 255).astype(spec.dtype)
        for spec in seat.inputs
    ]


def together(*works: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


def test_answers_are_those_of_a_session_of_ones_own(parts: Package) -> None:
    sharing = Sharing(1)
    seats = seats_at(sharing, parts, 1, 1, 1)
    asked = [tensors_for(seats[0], number) for number in range(3)]
    alone, _ = open_package(parts, Runtime())
    wanted = [alone.run(tensors) for tensors in asked]
    alone.close()

    def ask(place: int) -> None:
        for _ in range(20):
            for told, known in zip(seats[place].run(asked[place]), wanted[place], strict=True):
                np.testing.assert_array_equal(told, known)

    together(*(lambda place=place: ask(place) for place in range(3)))  # type: ignore[misc]
    for seat in seats:
        seat.close()


def test_the_last_one_closes_it(parts: Package) -> None:
    sharing = Sharing(1)
    first, second = seats_at(sharing, parts, 1, 1)
    assert (first.seats, second.seats) == (2, 2)
    session = first._shared.sessions[0]
    first.close()
    first.close()
    assert second.seats == 1
    with pytest.raises(InferenceError, match="the session is closed"):
        first.run(tensors_for(second, 0))
    assert second.run(tensors_for(second, 0))
    second.close()
    with pytest.raises(InferenceError):
        session.run(tensors_for(second, 0))
    (anew,) = seats_at(sharing, parts, 1)
    assert anew.run(tensors_for(anew, 0))
    anew.close()


def test_opened_at_once_it_is_opened_once(parts: Package) -> None:
    sharing = Sharing(1)
    opened: list[Any] = []
    together(*[lambda: opened.append(sharing.open(parts, Runtime())[0])] * 4)
    assert len({id(seat._shared) for seat in opened}) == 1
    assert len(opened[0]._shared.sessions) == 1
    assert opened[0].seats == 4
    for seat in opened:
        seat.close()
    assert not sharing._open


def test_what_can_not_be_opened_leaves_nothing(parts: Package) -> None:
    sharing = Sharing(1)
    for _ in range(2):
        with pytest.raises(NotFound, match="no variant 'int4'"):
            sharing.open(parts, Runtime(variant="int4"))
    assert not sharing._open


def test_run_otherwise_it_is_another_session(parts: Package) -> None:
    sharing = Sharing(1)
    one, other = (sharing.open(parts, Runtime(threads=n))[0] for n in (1, 2))
    assert isinstance(one, Seat)
    assert isinstance(other, Seat)
    assert one._shared is not other._shared
    one.close()
    other.close()


def test_what_remembers_is_not_shared(assets: Path, tmp_path: Path) -> None:
    """A streaming model keeps its last windows inside: those of two pipelines would mix."""
    (tmp_path / "model.toml").write_text(
        'name = "nabu"\nversion = "1.0.0"\ntask = "keyword"\nlabels = ["nabu"]\n'
        '[[input]]\nname = "x"\nkind = "tensor"\n[output]\ndecoder = "classify"\n'
        '[[variant]]\nfile = "okay_nabu.tflite"\nruntime = "litert"\nprecision = "int8"\n'
    )
    shutil.copyfile(assets / "models/okay_nabu.tflite", tmp_path / "okay_nabu.tflite")
    sharing = Sharing(1)
    opened = [sharing.open(load_package(tmp_path), Runtime())[0] for _ in range(2)]
    assert not any(isinstance(session, Seat) for session in opened)
    assert opened[0] is not opened[1]
    assert not sharing._open
    for session in opened:
        session.close()


class Waiting:
    """A seat that is only a place in the order."""

    def __init__(self, weight: float) -> None:
        self.weight, self.virtual_s = weight, 0.0
        self.turn = threading.Lock()
        self.turn.acquire()
        self.given = None


@settings(max_examples=100, deadline=None)
@given(
    weights=st.lists(st.sampled_from([1.0, 2.0, 4.0]), min_size=2, max_size=5),
    costs=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=5),
)
def test_time_is_shared_by_weight(weights: list[float], costs: list[float]) -> None:
    """Whoever always asks gets its share, however long its runs take: no two differ by more than
    the longest run of each."""
    turns = Turns()
    seats: list[Any] = [Waiting(weight) for weight in weights]
    had: Counter[int] = Counter()
    turns.add("the session")  # type: ignore[arg-type]
    turns.take(seats[0])
    turns._waiting += seats[1:]
    running = 0
    for _ in range(400):
        cost = costs[running % len(costs)]
        had[running] += cost  # type: ignore[assignment]
        # It asks again before it gives the turn on: it always has something to do.
        turns._waiting.append(seats[running])
        seats[running].virtual_s += cost / seats[running].weight
        turns.leave(seats[running], "the session", 0.0)  # type: ignore[arg-type]
        running = next(n for n, seat in enumerate(seats) if seat.turn.acquire(blocking=False))
    shares = [had[place] / seat.weight for place, seat in enumerate(seats)]
    longest = max(costs) / min(weights)
    assert max(shares) - min(shares) <= 2 * longest + 1e-6


def test_who_slept_gets_no_more_than_the_others() -> None:
    turns = Turns()
    turns.add("the session")  # type: ignore[arg-type]
    busy, late = Waiting(1.0), Waiting(1.0)
    for _ in range(50):
        turns.take(busy)  # type: ignore[arg-type]
        turns.leave(busy, "the session", 1.0)  # type: ignore[arg-type]
    turns.take(late)  # type: ignore[arg-type]
    assert late.virtual_s == pytest.approx(49.0)
    turns.leave(late, "the session", 1.0)  # type: ignore[arg-type]


def test_an_error_gives_the_turn_on(parts: Package) -> None:
    sharing = Sharing(1)
    first, second = seats_at(sharing, parts, 1, 1)
    with pytest.raises(EdgeAgentError):
        first.run([np.zeros((1,), np.uint8)])
    done = threading.Event()
    thread = threading.Thread(target=lambda: (second.run(tensors_for(second, 0)), done.set()))
    thread.start()
    assert done.wait(10)
    thread.join(10)
    first.close()
    second.close()


def test_the_wait_is_told(parts: Package) -> None:
    sharing = Sharing(1)
    first, second = seats_at(sharing, parts, 1, 1)
    held_session = first._shared.turns.take(first)
    thread = threading.Thread(target=lambda: second.run(tensors_for(second, 0)))
    began = time.perf_counter()
    thread.start()
    while not first._shared.turns._waiting:
        assert time.perf_counter() - began < 10
        time.sleep(0.001)
    held = time.perf_counter()
    time.sleep(0.05)
    first._shared.turns.leave(first, held_session, 0.05)
    thread.join(10)
    assert 0.05 <= second.waited_s <= time.perf_counter() - began
    assert held - began < 10
    first.close()
    second.close()


def test_on_a_processor_there_are_as_many_sessions_as_can_run(parts: Package) -> None:
    processors = len(os.sched_getaffinity(0))
    sharing = Sharing()
    seats = seats_at(sharing, parts, *[1.0] * (processors + 2))
    sessions = seats[0]._shared.sessions
    assert len(sessions) == processors
    assert len(seats_at(sharing, parts, 1.0)[0]._shared.sessions) == processors
    two = sharing.open(parts, Runtime(threads=64))[0], sharing.open(parts, Runtime(threads=64))[0]
    assert isinstance(two[0], Seat)
    assert len(two[0]._shared.sessions) == 1, "each of them takes all processors"


def test_several_sessions_run_at_the_same_time_and_give_the_same_answers(parts: Package) -> None:
    sharing = Sharing(2)
    seats = seats_at(sharing, parts, 1, 1, 1)
    asked = tensors_for(seats[0], 5)
    wanted = seats[0].run(asked)
    first = seats[0]._shared.turns.take(seats[0])
    # One session is taken; the others run in the second meanwhile.
    together(*(lambda seat=seat: seat.run(asked) for seat in seats[1:]))  # type: ignore[misc]
    for told, known in zip(seats[1].run(asked), wanted, strict=True):
        np.testing.assert_array_equal(told, known)
    seats[0]._shared.turns.leave(seats[0], first, 0.0)
    for seat in seats:
        seat.close()
    assert not sharing._open
