"""Early stopping: figures of LoadGen, and that its promise holds."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.prove.bench import stopping


def at_most(count: int, trials: int, chance: float) -> float:
    """P(X ≤ count), with whole numbers as long as possible."""
    return math.fsum(
        math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(count + 1)
    )


@pytest.mark.parametrize(("percentile", "queries"), [(0.90, 64), (0.97, 219), (0.99, 662)])
def test_the_least_numbers_are_those_of_loadgen(percentile: float, queries: int) -> None:
    assert stopping.least_queries(percentile) == queries
    assert stopping.allowed_over(queries, percentile) == 1
    assert stopping.allowed_over(queries - 1, percentile) == 0


def test_as_many_slow_queries_are_left_out_as_loadgen_says() -> None:
    """A summary of LoadGen: "Processed at least 64 queries (2048). Would discard 172 highest
    latency queries", at p90."""
    latencies = [float(n) for n in range(2048)]
    assert stopping.estimate(latencies, 0.90) == sorted(latencies)[-173]


@given(st.integers(70, 1000), st.sampled_from([0.9, 0.97, 0.99]))
@settings(max_examples=25, deadline=None)
def test_the_largest_number_is_taken_that_the_rule_allows(queries: int, percentile: float) -> None:
    over = stopping.allowed_over(queries, percentile)
    if over:
        assert at_most(over, queries, 1 - percentile) <= 0.01
    assert at_most(over + 1, queries, 1 - percentile) > 0.01


def test_too_few_queries_promise_nothing() -> None:
    assert stopping.estimate([1.0] * 63, 0.90) is None
    assert stopping.estimate([1.0] * 63 + [9.0], 0.90) == 9.0
    assert not stopping.meets([1.0] * 661, 2.0, 0.99)
    assert stopping.meets([1.0] * 661 + [3.0], 2.0, 0.99)
    assert not stopping.meets([1.0] * 660 + [3.0, 3.0], 2.0, 0.99)


def test_a_promise_is_broken_once_in_a_hundred_times() -> None:
    """Of many measurements of one distribution few promise less than its true p90."""
    rng = random.Random(11)
    true_p90 = -math.log(0.1)
    broken = 0
    for _ in range(1500):
        promised = stopping.estimate([rng.expovariate(1.0) for _ in range(200)], 0.90)
        assert promised is not None
        broken += promised < true_p90
    assert broken <= 30
