"""Sketches: how wrong they may be, and that the order of merging does not matter."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeagent.drift import shares
from edgeagent.drift.shares import Shares
from edgeagent.drift.sketch import RANK_ERROR, SIZE, Packed, Sketch, distance

NUMBERS = st.integers(-4096, 4096).map(float)
"""Values that a sketch keeps to the last bit."""
MANY = st.lists(NUMBERS, min_size=1, max_size=500)


def of(values: list[float]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


def merged(*sketches: Sketch) -> Sketch:
    whole = Sketch()
    for its in sketches:
        whole.merge(its)
    return whole


def worst_rank(sketch: Sketch, values: list[float]) -> float:
    """Largest difference between the sketch's shares and the true ones."""
    there, steps = sketch.steps()
    true = np.searchsorted(np.sort(values), there, side="right") / len(values)
    last = np.append(there[1:] != there[:-1], True)
    return float(np.abs(steps[1:] - true)[last].max())


def exact(a: list[float], b: list[float]) -> float:
    every = np.sort(np.concatenate([a, b]))
    ranks = [np.searchsorted(np.sort(its), every, side="right") / len(its) for its in (a, b)]
    return float(np.abs(ranks[0] - ranks[1]).max())


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=30, deadline=None)
@given(st.lists(MANY, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_in_whatever_order_they_are_merged_ranks_are_within_the_bound(
    parts: list[list[float]], rng: random.Random
) -> None:
    every = [value for part in parts for value in part]
    mixed = parts[:]
    rng.shuffle(mixed)
    left, right = merged(*map(of, parts)), merged(of(mixed[0]), merged(*map(of, mixed[1:])))
    for sketch in (left, right):
        assert sketch.n == len(every)
        assert (sketch.low, sketch.high) == (min(every), max(every))
        assert sum(len(level) << i for i, level in enumerate(sketch.levels)) == sketch.n
        assert worst_rank(sketch, every) <= 2 * RANK_ERROR
    assert distance(left, right) <= 2 * RANK_ERROR


@settings(max_examples=40, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=SIZE - 1), st.lists(NUMBERS, min_size=1, max_size=90))
def test_few_values_are_kept_as_they_are(a: list[float], b: list[float]) -> None:
    assert distance(of(a), of(b)) == pytest.approx(exact(a, b), abs=1e-6)
    assert distance(of(a), of(a[::-1])) == 0.0


@settings(max_examples=40, deadline=None)
@given(MANY)
def test_a_sketch_survives_its_file(values: list[float]) -> None:
    sketch = of(values)
    data = msgspec.msgpack.encode(Packed.of(sketch))
    back = msgspec.msgpack.decode(data, type=Packed).sketch()
    assert back.n == sketch.n
    assert distance(back, sketch) == 0.0
    assert len(data) <= 4 * (4 * SIZE) + 200


@given(st.floats(-1e30, 1e30))
def test_a_value_is_kept_to_a_fortieth_of_a_percent(value: float) -> None:
    (kept,) = of([value]).levels[0]
    assert kept == pytest.approx(value, rel=1 / 4096)


def test_what_does_not_add_up_is_refused() -> None:
    kept = Packed.of(of([1.0, 2.0, 3.0]))
    kept.n = 7
    with pytest.raises(ValueError, match="add up"):
        kept.sketch()


def test_many_values_take_no_more_room_than_ten_thousand() -> None:
    rng = np.random.default_rng(1)
    few, many = of(rng.normal(size=10_000).tolist()), of(rng.normal(size=30_000).tolist())
    assert sum(map(len, many.levels)) <= 4 * SIZE
    assert distance(few, many) < 2 * RANK_ERROR
    assert many.quantiles((0.0, 1.0)) == [many.low, many.high]
    assert many.quantiles((0.5,))[0] == pytest.approx(0.0, abs=0.1)


def test_no_number_is_no_value() -> None:
    sketch = of([1.0, float("nan"), float("inf"), -float("inf")])
    assert (sketch.n, sketch.high) == (1, 1.0)


@given(st.lists(st.sampled_from("abcdef"), min_size=1), st.lists(st.sampled_from("abcdef")))
def test_shares_are_merged_exactly(a: list[str], b: list[str]) -> None:
    apart, together = Shares(), Shares()
    other = Shares()
    for label in a:
        apart.add(label)
        together.add(label)
    for label in b:
        other.add(label)
        together.add(label)
    apart.merge(other)
    assert apart == together
    assert shares.distance(apart, together)[0] == 0.0


def test_the_label_whose_share_has_changed_most_is_named() -> None:
    was, now = Shares(), Shares()
    was.add("screw", 90)
    was.add("nut", 10)
    now.add("screw", 50)
    now.add("nut", 15)
    now.add("washer", 35)
    assert shares.distance(was, now) == (pytest.approx(0.4), "screw")


def test_labels_without_end_take_bounded_room() -> None:
    many = Shares()
    for number in range(1000):
        many.add(f"label {number}")
    assert many.n == 1000
    assert len(many.counts) <= 65
