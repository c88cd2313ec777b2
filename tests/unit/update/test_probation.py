"""Judging a version on probation: not fooled by the world, not blind to a model gone wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config.model import Expect
from edgeagent.prove.agreement import Agreement
from edgeagent.update.behaviour import MINUTE_MS, Behaviour, Span
from edgeagent.update.chance import (
    binomial_at_least,
    chi_square_above,
    homogeneity,
    poisson_at_least,
    poisson_at_most,
)
from edgeagent.update.probation import Fault, differs, dispersion, distance, judge

VERSIONS = ("1.2.0", "1.3.0")
FPS = 10


def poisson(rng: random.Random, mean: float) -> int:
    """Knuth's way; means here are small."""
    if mean <= 0:
        return 0
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def minute(rng: random.Random, rates: Mapping[str, float]) -> Span:
    things = {label: n for label, rate in rates.items() if (n := poisson(rng, rate))}
    return Span(ms=MINUTE_MS, steps=60 * FPS, things=things, events=dict(things))


def stretch(
    seed: int, minutes: int, rates: Mapping[str, float], *, p95: float = 10.0, times: float = 1.0
) -> Behaviour:
    rng = random.Random(seed)
    told = {label: rate * times for label, rate in rates.items()}
    steps = minutes * 60 * FPS
    took = [(p95 / 2, steps - steps // 21), (p95, steps // 21)]
    return Behaviour("parts@1.2.0/int8", [minute(rng, told) for _ in range(minutes)], p95_ms=p95,
                     p50_ms=p95 / 2, took=took)  # fmt: skip


def verdict(before: Behaviour, after: Behaviour, **more: object) -> Fault | None:
    return judge(before, after, versions=VERSIONS, **more)  # type: ignore[arg-type]


seeds = st.integers(0, 10**6)
mixes = st.dictionaries(
    st.sampled_from(["whole", "crack", "missing", "person", "car"]),
    st.floats(0.2, 20.0), min_size=1, max_size=5,
)  # fmt: skip


@given(seeds, mixes, st.floats(0.0, 2.0), st.integers(1, 15))
@settings(max_examples=200, deadline=None)
def test_a_quiet_or_a_busy_hour_is_no_fault(
    seed: int, rates: dict[str, float], times: float, minutes: int
) -> None:
    before = stretch(seed, 60, rates)
    assert verdict(before, stretch(seed + 1, minutes, rates, times=times)) is None


@given(seeds, st.floats(3.0, 20.0), st.floats(0.0, 0.6))
@settings(max_examples=100, deadline=None)
def test_permuted_labels_are_seen(seed: int, rate: float, second: float) -> None:
    rates = {"whole": rate, "crack": rate * second / 2, "missing": rate * second / 4}
    permuted = {"missing": rate, "whole": rate * second / 2, "crack": rate * second / 4}
    fault = verdict(stretch(seed, 60, rates), stretch(seed + 1, 15, permuted))
    assert fault is not None
    assert fault.code == "labels"
    assert "before" in fault.sentence
    assert "since 1.3.0" in fault.sentence


def test_a_label_that_floods_is_told_with_both_rates() -> None:
    before = stretch(3, 60, {"crack": 0.4})
    fault = verdict(before, stretch(4, 10, {"crack": 6.1}))
    assert fault is not None
    assert fault.code == "rate"
    assert fault.sentence.startswith("crack 0.")
    assert "/min before, " in fault.sentence
    assert fault.sentence.endswith("/min since 1.3.0")


@given(seeds, st.floats(1.0, 3.0), st.floats(8.0, 15.0))
@settings(max_examples=100, deadline=None)
def test_a_bias_on_one_class_is_seen(seed: int, rate: float, times: float) -> None:
    before = stretch(seed, 60, {"whole": rate * 2, "crack": rate})
    after = stretch(seed + 1, 15, {"whole": rate * 2, "crack": rate * times})
    assert verdict(before, after) is not None


def test_a_night_like_those_before_is_no_fault() -> None:
    """By day cars, by night people: what is usual here includes both."""
    rng = random.Random(5)
    day, night = {"car": 10.0, "person": 1.0}, {"car": 0.3, "person": 2.0}
    hours = [
        Span(ms=60 * MINUTE_MS, steps=36_000,
             things={label: poisson(rng, 60 * rate) for label, rate in rates.items()})
        for rates in (*[day] * 10, *[night] * 10)
    ]  # fmt: skip
    before = stretch(6, 60, day)
    before.hours = hours
    assert verdict(before, stretch(7, 15, night)) is None
    # Without having seen a night it is another world, and nobody can know.
    before.hours = []
    assert verdict(before, stretch(7, 15, night)) is not None


def test_what_comes_in_crowds_counts_for_less() -> None:
    steady = [Span(ms=MINUTE_MS, things={"car": 5}) for _ in range(20)]
    crowds = [Span(ms=MINUTE_MS, things={"car": 50 if n % 10 == 0 else 0}) for n in range(20)]
    assert dispersion(steady) == 1.0
    assert dispersion(crowds) > 20


def test_nothing_is_said_of_what_was_hardly_seen() -> None:
    before = stretch(1, 60, {"crack": 0.1})
    assert verdict(before, stretch(2, 1, {"crack": 4.0})) is None
    assert verdict(Behaviour(), stretch(2, 15, {"crack": 4.0})) is None
    assert judge(None, stretch(2, 15, {"crack": 4.0})) is None


def test_errors_times_and_restarts() -> None:
    before, rates = stretch(1, 60, {"whole": 5.0}), {"whole": 5.0}
    failing = stretch(2, 5, rates)
    failing.minutes[-1].failed = 120
    fault = verdict(before, failing)
    assert fault == Fault("errors", "120 of 3120 samples failed since 1.3.0, none before")

    fault = verdict(before, stretch(2, 5, rates, p95=31.0))
    assert fault is not None
    assert fault.sentence == (
        "one sample in 20 takes longer than 31 ms since 1.3.0, 10 ms before"
    )  # fmt: skip
    # Half a minute after the change the caches are still cold.
    early = stretch(2, 1, rates, p95=31.0)
    early.minutes[-1].ms = MINUTE_MS / 2
    assert verdict(before, early) is None

    stalling = stretch(2, 5, rates)
    stalling.stalls, stalling.worst_ms = 3, 2900.0
    fault = verdict(before, stalling)
    assert fault is not None
    assert fault.sentence.startswith("3 samples stalled since 1.3.0, for up to 2.9 s")

    again = stretch(2, 5, rates)
    again.restarts = 2
    assert verdict(before, again) is not None


def test_memory_that_goes_on_growing() -> None:
    before, after = stretch(1, 60, {"whole": 5.0}), stretch(2, 12, {"whole": 5.0})
    before.memory_mb = [60.0] * 60
    after.memory_mb = [60.0 + 9 * n for n in range(12)]
    fault = verdict(before, after)
    assert fault is not None
    assert fault.sentence.startswith("the agent grew from 60 to 159 MB in 12 min since 1.3.0")
    after.memory_mb = [60.0, *[100.0] * 11]  # larger, and no more than that
    assert verdict(before, after) is None


@pytest.mark.parametrize(("events", "fits"), [(0.0, False), (0.5, True), (1.0, True), (9.0, False)])
def test_what_the_configuration_expects(events: float, fits: bool) -> None:
    """events: for each minute."""
    expect = Expect(events_per_hour=(20.0, 120.0))
    after = stretch(2, 60, {"crack": events})
    fault = judge(None, after, versions=VERSIONS, expect=expect)
    assert (fault is None) == fits
    assert fault is None or "expect.events_per_hour is 20 to 120" in fault.sentence
    slow = judge(None, stretch(2, 15, {}, p95=50.0), versions=VERSIONS, expect=Expect(p95_ms=40.0))
    assert slow is not None
    assert slow.code == "expect"


# --- beside each other on the same samples ---------------------------------------------------


def seen(label: str, score: float = 0.9, left: float = 0.2) -> dict[str, object]:
    return {
        "kind": "detection", "label": label, "score": score,
        "box": [left, 0.2, left + 0.2, 0.4],
    }  # fmt: skip


def beside(pairs: list[tuple[list[dict[str, object]], list[dict[str, object]]]]) -> Agreement:
    agreement = Agreement()
    for old, new in pairs:
        agreement.add(old, new, 0.5)
    return agreement


def test_the_world_explains_what_both_versions_see() -> None:
    """Ten times as many cracks, and the old version sees them too."""
    before, after = stretch(1, 60, {"crack": 0.4}), stretch(2, 15, {"crack": 8.0})
    assert verdict(before, after) is not None
    both = beside([([seen("crack")], [seen("crack", 0.8)])] * 40)
    assert verdict(before, after, beside=(both,)) is None


def test_blind_flooding_and_confused_versions_are_found_beside_the_old_one() -> None:
    blind = beside([([seen("crack")], [])] * 30)
    assert differs(blind, *VERSIONS) == Fault(
        "beside", "on the same 30 samples 1.3.0 misses crack 30 times"
    )
    confused = beside([([seen("whole")], [seen("crack")])] * 30)
    told = differs(confused, *VERSIONS)
    assert told is not None
    assert told.sentence.endswith("what 1.2.0 calls whole 1.3.0 calls crack, 30 times")
    flood = beside([([seen("whole")], [seen("whole"), seen("crack", left=0.6)])] * 30)
    told = differs(flood, *VERSIONS)
    assert told is not None
    assert "1.3.0 sees crack 30 times where 1.2.0 sees nothing" in told.sentence
    rare = [([seen("whole")], [seen("whole")])] * 200 + [([seen("crack")], [])] * 25
    told = differs(beside(rare), *VERSIONS)
    assert told is not None
    assert told.sentence == "on the same 225 samples 1.2.0 sees crack 25 times, 1.3.0 0 times"


def test_what_both_saw_is_told_with_the_rates_that_people_notice() -> None:
    flood = beside([([seen("whole")], [seen("crack")])] * 30)
    before, after = stretch(1, 60, {"crack": 0.4, "whole": 6.0}), stretch(2, 10, {"crack": 6.1})
    fault = verdict(before, after, beside=(flood,))
    assert fault is not None
    assert fault.sentence.startswith(
        "on the same 30 samples what 1.2.0 calls whole 1.3.0 calls crack, 30 times; "
    )
    assert fault.sentence.endswith("/min since 1.3.0")
    same = verdict(before, stretch(2, 10, {"crack": 0.4, "whole": 6.0}), beside=(flood,))
    assert same is not None
    assert same.sentence.endswith("30 times")


def test_an_improvement_is_no_fault() -> None:
    better = [([seen("whole")], [seen("whole", 0.99)])] * 60
    better += [([], [seen("crack")])] * 15 + [([seen("crack", 0.52)], [])] * 15
    assert differs(beside(better), *VERSIONS) is None
    assert differs(beside([([seen("whole")], [])] * 5), *VERSIONS) is None


# --- statistics ------------------------------------------------------------------------------


def test_tails_agree_with_tables() -> None:
    assert binomial_at_least(8, 10, 0.5) == pytest.approx(56 / 1024)
    assert binomial_at_least(0, 10, 0.5) == 1.0
    assert poisson_at_most(2, 3.0) == pytest.approx(0.42319, abs=1e-5)
    assert poisson_at_least(3, 3.0) == pytest.approx(1 - 0.42319, abs=1e-5)
    assert poisson_at_least(60, 10.0) < 1e-20
    assert chi_square_above(3.841, 1) == pytest.approx(0.05, abs=0.003)
    assert chi_square_above(18.307, 10) == pytest.approx(0.05, abs=0.003)


@given(mixes, mixes)
def test_distances_of_mixes(one: dict[str, float], other: dict[str, float]) -> None:
    a = {label: round(10 * rate) for label, rate in one.items()}
    b = {label: round(10 * rate) for label, rate in other.items()}
    assert distance(a, a) == pytest.approx(0)
    assert distance(a, b) == pytest.approx(distance(b, a))
    assert 0 <= distance(a, b) <= 1 + 1e-9
    assert homogeneity(a, a) == 1.0
    assert 0 <= homogeneity(a, b) <= 1
    assert homogeneity(a, b, spread=4.0) >= homogeneity(a, b) - 1e-12
