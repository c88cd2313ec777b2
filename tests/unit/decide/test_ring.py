"""What a pipeline notes, and the steps that it becomes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent import clock
from edgeagent.decide.block import Block, Seen
from edgeagent.decide.ring import Ring
from edgeagent.decide.rules import Facts, Scene
from edgeagent.decide.thought import Setup, Thought
from edgeagent.types import Detection, Frame, Label


class Receipt:
    def __init__(self, seq: int | None) -> None:
        self.seq = seq


def frame(number: int, ms: float = 0.0) -> Frame:
    return Frame("cam", number, np.zeros((1, 1, 3), np.uint8), 0, ms or 100.0 * number)


def thought(score: float = 0.9, **keys: Any) -> Thought:
    prediction = Detection("crack", score, (0, 0, 1, 1), track=1)
    return Thought(prediction, Facts("crack", score, "p", track=1), **keys)


def saw(ring: Ring, number: int, *thoughts: Thought) -> None:
    ring.saw(frame(number), ([its.prediction for its in thoughts if its.prediction], thoughts))


def test_samples_without_anything_are_one_step() -> None:
    ring = Ring("p", "cam")
    ring.begin(Setup("m"))
    for number in range(1, 5):
        saw(ring, number)
    ring.held(frame(5), "gate: still")
    ring.held(frame(6), "gate: still")
    ring.held(frame(7), "paused")
    saw(ring, 8, thought())
    saw(ring, 9)
    (block,) = ring.take()
    assert (block.pipeline, block.source, block.setup.model) == ("p", "cam", "m")
    assert [(its.frame, its.count, its.held, len(its.seen)) for its in block.steps] == [
        (1, 4, "", 0), (5, 2, "gate: still", 0), (7, 1, "paused", 0), (8, 1, "", 1), (9, 1, "", 0),
    ]  # fmt: skip
    assert (block.steps[0].ms, block.steps[0].last_ms) == (100.0, 400.0)
    assert ring.take() == [] and len(ring) == 0


def test_each_setup_has_a_block_of_its_own() -> None:
    ring = Ring("p")
    ring.begin(Setup("one"))
    saw(ring, 1, thought())
    ring.begin(Setup("two"))
    saw(ring, 2, thought())
    assert [its.setup.model for its in ring.take()] == ["one", "two"]
    saw(ring, 3, thought())
    assert [its.setup.model for its in ring.take()] == ["two"]


def test_what_is_not_taken_in_time_is_counted() -> None:
    ring = Ring("p", size=8)
    for number in range(20):
        saw(ring, number)
    (block,) = ring.take()
    assert block.lost == 12 and sum(its.count for its in block.steps) == 8
    saw(ring, 21)
    (block,) = ring.take()
    assert block.lost == 0


@pytest.mark.parametrize(
    ("its", "verdict"),
    [
        (thought(wanted=False), "rule"),
        (thought(wanted=True, hits=1), "few"),
        (thought(wanted=True, hits=3, median=0.4), "median"),
        (thought(wanted=True, refused=True), "limit"),
        (thought(wanted=True, event="p/1", phase="new"), "event"),
    ],
)
def test_verdicts(its: Thought, verdict: str) -> None:
    ring = Ring("p")
    saw(ring, 1, its)
    (block,) = ring.take()
    assert block.steps[0].seen[0].verdict == verdict


def test_what_was_no_candidate() -> None:
    ring = Ring("p")
    ring.begin(Setup(threshold=0.5))
    ring.saw(frame(1), ([Label("low", 0.1 * n) for n in range(1, 9)], ()))
    (block,) = ring.take()
    seen = block.steps[0].seen
    assert [round(its.score, 1) for its in seen] == [0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    assert [its.verdict for its in seen] == ["twin"] * 4 + ["low"] * 2
    ring.begin(Setup(threshold=0.5, events=False))
    ring.saw(frame(2), ([Label("crack", 0.9)], ()))
    assert ring.take()[0].steps[0].seen[0].verdict == "unrecorded"


def test_a_number_comes_once_the_store_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, late, never = Ring("p"), Receipt(None), Receipt(None)
    ring.told("p/1", Receipt(41))
    ring.told("p/2", late)
    ring.told("p/3", never)
    assert ring.take()[0].events == {"p/1": 41}
    assert ring.take() == []
    late.seq = 42
    assert ring.take()[0].events == {"p/2": 42}
    # A record that was refused has no number, and is not waited for for ever.
    later = clock.mono_ms() + 31_000.0
    monkeypatch.setattr(clock, "mono_ms", lambda: later)
    assert ring.take() == []
    never.seq = 43
    assert ring.take() == []


numbers = st.floats(0, 1000, allow_nan=False)


@given(
    score=st.floats(0, 1), age=numbers, value=st.one_of(st.just(math.nan), numbers),
    zones=st.lists(st.sampled_from(["a", "b"]), unique=True),
    dwell=st.dictionaries(st.sampled_from(["a", "b"]), numbers),
    counts=st.dictionaries(st.sampled_from(["crack", "whole"]), st.integers(1, 9)),
)  # fmt: skip
def test_a_rule_can_be_asked_again_about_what_is_kept(
    score: float, age: float, value: float, zones: list[str], dwell: dict[str, float],
    counts: dict[str, int],
) -> None:  # fmt: skip
    """Facts come back as they were, to the digits that are kept."""
    import msgspec

    facts = Facts("crack", score, "p", tuple(zones), age, 3, 2, 0.1, value, dwell=dwell)
    facts.scene = Scene(counts, time=600.0, day="mon", clock="synced")
    ring = Ring("p")
    saw(ring, 1, Thought(None, facts))
    block = msgspec.msgpack.decode(msgspec.msgpack.encode(ring.take()[0]), type=Block)
    seen: Seen = block.steps[0].seen[0]
    back = seen.facts("p")
    assert (back.label, back.pipeline, back.zones, back.track) == ("crack", "p", facts.zones, 3)
    assert back.score == pytest.approx(score, abs=1e-4)
    assert back.age == pytest.approx(age, abs=1e-3)
    assert back.value == pytest.approx(value, rel=1e-4, nan_ok=True)
    assert back.dwell == pytest.approx(dwell, abs=1e-3)
    assert back.scene.counts == counts and back.scene.day == "mon"
