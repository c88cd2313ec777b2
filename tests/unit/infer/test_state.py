"""State tensors that go round: hidden, zero at first, fed back, forgotten on reset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.errors import InferenceError, ModelError
from edgeagent.infer.session import Receipt
from edgeagent.infer.state import Carrying
from edgeagent.manifest import StateSpec
from edgeagent.types import Quantization, TensorSpec

HALF = Quantization(0.5, -3)


class Adding:
    """A model with a memory outside itself: the sum of all that it was given."""

    def __init__(self) -> None:
        self.inputs = (
            TensorSpec("sum", (-1, 1), "int32"),
            TensorSpec("x", (1, 1), "int32"),
            TensorSpec("h", (2,), "int8", HALF),
        )
        self.outputs = (
            TensorSpec("hn", (2,), "int8", HALF),
            TensorSpec("y", (1, 1), "int32"),
            TensorSpec("sum_out", (1, 1), "int32"),
        )
        self.receipt = Receipt("none", "", {}, 1)
        self.seen: list[list[Any]] = []
        self.calls: list[str] = []
        self.broken = False

    def run(self, tensors: Sequence[Any]) -> list[Any]:
        if self.broken:
            raise InferenceError("broken")
        total, x, h = tensors
        self.seen.append([total.tolist(), h.tolist()])
        return [h + np.int8(1), x * 10, total + x]

    def reset(self) -> None:
        self.calls.append("reset")

    def hand_over(self) -> None:
        self.calls.append("hand_over")

    def close(self) -> None:
        self.calls.append("close")


STATES = [StateSpec("sum", "sum_out"), StateSpec("h", "hn")]


def number(value: int) -> list[Any]:
    return [np.array([[value]], np.int32)]


def test_states_are_hidden_and_carried() -> None:
    inner = Adding()
    session = Carrying(inner, STATES)
    assert [spec.name for spec in session.inputs] == ["x"]
    assert [spec.name for spec in session.outputs] == ["y"]
    assert [session.run(number(n))[0].item() for n in (1, 2, 3)] == [10, 20, 30]
    # Zero as it is stored: −3 in a tensor with that zero point.
    assert inner.seen == [
        [[[0]], [-3, -3]],
        [[[1]], [-2, -2]],
        [[[3]], [-1, -1]],
    ]


def test_reset_forgets_here_and_inside() -> None:
    inner = Adding()
    session = Carrying(inner, STATES)
    session.run(number(5))
    session.reset()
    session.run(number(7))
    assert inner.seen[-1] == [[[0]], [-3, -3]]
    session.hand_over()
    session.close()
    assert inner.calls == ["reset", "hand_over", "close"]


def test_a_failed_call_leaves_the_state() -> None:
    inner = Adding()
    session = Carrying(inner, STATES)
    session.run(number(5))
    inner.broken = True
    with pytest.raises(InferenceError):
        session.run(number(6))
    inner.broken = False
    session.run(number(0))
    assert inner.seen[-1] == [[[5]], [-2, -2]]


def test_the_receipt_is_the_inner_ones() -> None:
    inner = Adding()
    session = Carrying(inner, STATES)
    session.receipt = Receipt("other", "", {"CPU": 1}, 2)
    assert inner.receipt.runtime == session.receipt.runtime == "other"


@pytest.mark.parametrize("given_", [[], number(1) * 2])
def test_wrong_number_of_inputs(given_: list[Any]) -> None:
    with pytest.raises(InferenceError, match=r"takes 1 inputs besides its state \(x\)"):
        Carrying(Adding(), STATES).run(given_)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (StateSpec("h0", "hn"), "in = 'h0'"),
        (StateSpec("h", "h1"), "out = 'h1'"),
        (StateSpec("h", "y"), "can't be fed"),
        (StateSpec("sum", "hn"), "can't be fed"),
    ],
)
def test_states_that_do_not_fit(state: StateSpec, words: str) -> None:
    with pytest.raises(ModelError, match=r"\[\[state\]\]|can't be fed") as caught:
        Carrying(Adding(), [state])
    assert words in str(caught.value)


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(-1000, 1000), st.none()), max_size=40))
def test_the_sum_is_that_of_the_numbers_since_the_last_reset(steps: list[int | None]) -> None:
    inner = Adding()
    session = Carrying(inner, STATES)
    since: list[int] = []
    for step in steps:
        if step is None:
            session.reset()
            since = []
            continue
        session.run(number(step))
        assert inner.seen[-1][0] == [[sum(since)]]
        since.append(step)
