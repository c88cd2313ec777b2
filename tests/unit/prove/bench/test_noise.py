"""A difference inside the noise is not called one, and one outside it is."""

from __future__ import annotations

import math
import random

from edgeagent.prove.bench.noise import compare


def measured(rng: random.Random, factor: float, turns: int = 20) -> tuple[list, list]:
    """Two things measured in turns on a device whose speed wanders: the second takes ``factor``
    times as long."""
    first, second = [], []
    state = 0.0
    for _ in range(turns):
        state = 0.8 * state + rng.gauss(0, 0.2)
        for into, times in ((first, 1.0), (second, factor)):
            own = [times * math.exp(state + abs(rng.gauss(0, 0.1))) for _ in range(9)]
            into.append(own)
    return first, second


def test_the_same_thing_twice_is_no_difference() -> None:
    rng = random.Random(5)
    called = sum(compare(*measured(rng, 1.0), seed=n).differs for n in range(100))
    assert called <= 10  # 95 % confidence


def test_a_real_difference_is_found_with_its_size() -> None:
    rng = random.Random(6)
    ratios = [compare(*measured(rng, 1.2), seed=n) for n in range(50)]
    assert sum(its.slower for its in ratios) >= 48
    assert sum(its.low <= 1.2 <= its.high for its in ratios) >= 42
    assert not any(its.faster for its in ratios)


def test_the_interval_is_the_same_for_the_same_seed() -> None:
    turns = measured(random.Random(7), 1.1)
    assert compare(*turns, seed=3) == compare(*turns, seed=3)
    assert compare(*turns, seed=3) != compare(*turns, seed=4)


def test_one_disturbed_turn_decides_nothing() -> None:
    first, second = measured(random.Random(8), 1.0)
    second[3] = [100 * value for value in second[3]]
    assert not compare(first, second).differs


def test_what_is_there_but_tiny_is_no_difference() -> None:
    ratio = compare([[1.0]] * 20, [[1.005]] * 20)
    assert ratio.low > 1
    assert not ratio.differs
    assert "no difference between B and A can be told" in ratio.sentence("A", "B")
