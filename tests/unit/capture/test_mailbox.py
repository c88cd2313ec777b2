"""The hand-over between a source and a pipeline: nothing is lost without a count."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.capture.mailbox import Mailbox
from edgeagent.errors import SourceEnded
from edgeagent.types import Frame

PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(number: int) -> Frame:
    return Frame("s", number, PIXELS, 0, 0.0)


def balanced(mailbox: Mailbox) -> bool:
    return mailbox.offered == mailbox.taken + mailbox.dropped + len(mailbox)


def test_live_keeps_the_newest_and_counts_the_rest() -> None:
    mailbox = Mailbox(2, live=True)
    for number in range(5):
        assert mailbox.put(frame(number))
    assert [mailbox.get(0).number for _ in range(2)] == [3, 4]  # type: ignore[union-attr]
    assert mailbox.dropped == 3
    assert mailbox.get(0) is None
    assert balanced(mailbox)


@given(
    st.integers(1, 5),
    st.lists(st.sampled_from(["put", "get", "get"]), max_size=60),
    st.sampled_from(["end", "close"]),
)
def test_the_account_comes_out_even(size: int, steps: list[str], finish: str) -> None:
    mailbox = Mailbox(size, live=True)
    given_numbers: list[int] = []
    number = 0
    for step in steps:
        if step == "put":
            number += 1
            mailbox.put(frame(number))
        else:
            sample = mailbox.get(0)
            if sample is not None:
                given_numbers.append(sample.number)
        assert balanced(mailbox)
        assert len(mailbox) <= size
    getattr(mailbox, finish)()
    assert balanced(mailbox)
    assert not mailbox.put(frame(0))
    rest = []
    while True:
        try:
            sample = mailbox.get(0)
        except SourceEnded:
            break
        assert sample is not None
        rest.append(sample.number)
    assert not (rest and finish == "close")
    assert given_numbers + rest == sorted(given_numbers + rest)
    assert mailbox.offered == number
    assert balanced(mailbox)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 200))
def test_a_file_loses_nothing_between_threads(size: int, count: int) -> None:
    mailbox = Mailbox(size, live=False)
    got = []

    def take() -> None:
        while True:
            try:
                sample = mailbox.get(5.0)
            except SourceEnded:
                return
            assert sample is not None
            got.append(sample.number)

    taker = threading.Thread(target=take)
    taker.start()
    for number in range(count):
        assert mailbox.put(frame(number))
    mailbox.end()
    taker.join(10)
    assert got == list(range(count))
    assert mailbox.dropped == 0


@pytest.mark.parametrize("how", ["end", "close"])
def test_ending_frees_a_blocked_put(how: str) -> None:
    mailbox = Mailbox(1, live=False)
    mailbox.put(frame(1))
    answers: list[bool] = []
    putter = threading.Thread(target=lambda: answers.append(mailbox.put(frame(2))))
    putter.start()
    while not mailbox._room._waiters:  # type: ignore[attr-defined]
        time.sleep(0.001)
    getattr(mailbox, how)()
    putter.join(5)
    assert answers == [False]


def test_a_waiting_get_is_woken_by_a_sample_and_by_the_end() -> None:
    mailbox = Mailbox(1, live=True)
    got: list[object] = []

    def take() -> None:
        try:
            while True:
                got.append(mailbox.get(10.0))
        except SourceEnded:
            got.append("ended")

    taker = threading.Thread(target=take)
    taker.start()
    began = time.monotonic()
    first = frame(1)
    mailbox.put(first)
    while not got:
        time.sleep(0.001)
    mailbox.end()
    taker.join(5)
    assert got == [first, "ended"]
    assert time.monotonic() - began < 5


def test_get_gives_none_after_the_timeout() -> None:
    began = time.monotonic()
    assert Mailbox(1, live=True).get(0.05) is None
    assert 0.04 < time.monotonic() - began < 2.0


def test_a_mailbox_holds_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Mailbox(0, live=True)


def test_a_hand_over_costs_microseconds() -> None:
    mailbox = Mailbox(2, live=True)
    sample = frame(1)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(2000):
            mailbox.put(sample)
            mailbox.get(0)
        best = min(best, (time.perf_counter() - began) / 2000)
    # About 1 µs on a desktop; the limit is for a small board under load.
    assert best < 20e-6


def test_what_has_become_too_old_is_dropped_with_a_count() -> None:
    old = {0, 1}
    mailbox = Mailbox(4, live=True, stale=lambda sample: sample.number in old)
    for number in range(4):
        mailbox.put(frame(number))
    sample = mailbox.get(0.0)
    assert sample is not None
    assert sample.number == 2
    assert (mailbox.dropped, mailbox.stale) == (2, 2)
    old.add(3)
    assert mailbox.get(0.01) is None
    assert balanced(mailbox)
    mailbox.end()
    with pytest.raises(SourceEnded):
        mailbox.get(0.0)
