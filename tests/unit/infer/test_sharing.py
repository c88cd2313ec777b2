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
    """A seat that is only a place in the line."""

    def __init__(self, weight: float) -> None:
        self.weight, self.virtual_s = weight, 0.0


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
    for seat in seats:
        turns.wait(seat)
    for _ in range(400):
        seat = turns.next()
        place = seats.index(seat)
        cost = costs[place % len(costs)]
        had[place] += cost  # type: ignore[assignment]
        seat.virtual_s += cost / seat.weight
        turns.wait(seat)
    shares = [had[place] / seat.weight for place, seat in enumerate(seats)]
    longest = max(costs) / min(weights)
    assert max(shares) - min(shares) <= 2 * longest + 1e-6


def test_who_slept_gets_no_more_than_the_others() -> None:
    turns = Turns()
    busy, late = Waiting(1.0), Waiting(1.0)
    for _ in range(50):
        turns.wait(busy)  # type: ignore[arg-type]
        assert turns.next() is busy
        busy.virtual_s += 1.0
    turns.wait(late)  # type: ignore[arg-type]
    assert late.virtual_s == pytest.approx(49.0)


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


class Slow:
    """A session that says when it runs, and waits until it may end."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs
        self.receipt, self.stateless = session.receipt, True
        self.runs, self.may = threading.Semaphore(0), threading.Semaphore(0)

    def run(self, tensors: Any) -> Any:
        self.runs.release()
        assert self.may.acquire(timeout=10)
        return self._session.run(tensors)

    def hand_over(self) -> None:
        self._session.hand_over()

    def close(self) -> None:
        self._session.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[Slow]:
    made: list[Slow] = []

    def opened(*asked: Any) -> Any:
        session, variant = open_package(*asked)
        made.append(Slow(session))
        return made[-1], variant

    monkeypatch.setattr("edgeagent.infer.sharing.open_package", opened)
    return made


def test_the_wait_is_told(parts: Package, slow: list[Slow]) -> None:
    sharing = Sharing(1)
    first, second = seats_at(sharing, parts, 1, 1)
    asked = tensors_for(first, 0)
    threads = [threading.Thread(target=seat.run, args=(asked,)) for seat in (first, second)]
    threads[0].start()
    assert slow[0].runs.acquire(timeout=10)
    began = time.perf_counter()
    threads[1].start()
    while not first._shared.turns._waiting:
        assert time.perf_counter() - began < 10
    held = time.perf_counter()
    slow[0].may.release()
    assert slow[0].runs.acquire(timeout=10)
    asked_for = time.perf_counter() - began
    slow[0].may.release()
    for thread in threads:
        thread.join(10)
    assert 0 < second.waited_s <= asked_for
    assert second.waited_s >= asked_for - (held - began) - 0.5
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


def test_several_sessions_run_at_the_same_time(parts: Package, slow: list[Slow]) -> None:
    sharing = Sharing(2)
    seats = seats_at(sharing, parts, 1, 1, 1)
    asked = tensors_for(seats[0], 5)
    assert len(slow) == 2
    threads = [threading.Thread(target=seat.run, args=(asked,)) for seat in seats]
    for thread in threads:
        thread.start()
    for session in slow:
        assert session.runs.acquire(timeout=10), "both run, before any has ended"
    assert len(seats[0]._shared.turns._waiting) <= 1
    for _ in range(3):
        for session in slow:
            session.may.release()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    for seat in seats:
        seat.close()
    assert not sharing._open
