"""Counters, gauges, histograms."""

from __future__ import annotations

import math
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.metrics import Histogram, Meter, Registry

durations = st.lists(st.floats(1e-6, 900.0), min_size=1, max_size=300)


@given(durations, st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_one_thirtysecond_of_the_exact_one(
    values: list[float], share: float
) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert histogram.quantile(share) == pytest.approx(exact, rel=1 / 32 + 1e-9)


@given(durations)
def test_buckets_hold_every_value_once_and_below_their_bound(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    buckets = histogram.buckets()
    assert sum(count for _, count in buckets) == len(values) == histogram.count
    assert [bound for bound, _ in buckets] == sorted(bound for bound, _ in buckets)
    for bound, _ in buckets:
        assert any(bound * 31 / 33 <= value < bound * (1 + 1e-12) for value in values)


def test_values_outside_the_buckets_are_counted() -> None:
    histogram = Histogram()
    for value in (0.0, -1.0, 1e-12, 1e9):
        histogram.add(value)
    assert histogram.count == 4
    assert sum(count for _, count in histogram.buckets()) == 4
    assert histogram.snapshot()["max_ms"] == 1e12


def test_threads_that_add_and_one_that_reads_lose_no_duration() -> None:
    histogram, go = Histogram(), threading.Barrier(4)

    def work() -> None:
        go.wait()
        for _ in range(4000):
            histogram.add(0.25)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    go.wait()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        count = histogram.count
        assert seen <= count <= 12_000
        seen = count
    for thread in threads:
        thread.join()
    assert histogram.count == 12_000
    assert histogram.total_s == 3000.0
    assert [count for _, count in histogram.buckets()] == [12_000]


def test_empty_histogram_says_zero() -> None:
    assert Histogram().snapshot() == {
        "count": 0, "max_ms": 0.0, "mean_ms": 0.0, "p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0,
    }  # fmt: skip


def test_threads_lose_no_count() -> None:
    registry = Registry()
    go = threading.Barrier(4)

    def work() -> None:
        go.wait()
        for number in range(5000):
            registry.counter("samples").add()
            registry.histogram("step").add(number * 1e-6)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.counter("samples").value == 20_000
    assert registry.histogram("step").count == 20_000


def test_snapshot_leaves_out_gauges_that_were_never_set() -> None:
    registry = Registry()
    registry.counter("b").add(2)
    registry.gauge("a").set(1.5)
    registry.gauge("unset")
    registry.histogram("c").add(0.010)
    snapshot = registry.snapshot()
    assert list(snapshot) == ["a", "b", "c"]
    assert snapshot["a"] == 1.5 and snapshot["b"] == 2
    assert snapshot["c"]["count"] == 1
    assert snapshot["c"]["p50_ms"] == 10.0  # one value: the buckets' error is clamped away


def test_adding_is_cheap() -> None:
    # The best of several rounds: the machine may be busy, the code may not be slow.
    histogram = Histogram()
    best = math.inf
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(2000):
            histogram.add(0.0123)
        best = min(best, (time.perf_counter() - started) / 2000)
    assert best < 5e-6


def test_a_model_that_takes_much_longer_than_usual_is_slow() -> None:
    meter = Meter()

    def take(seconds: float, times: int = 1) -> str:
        for _ in range(times):
            meter.took(0.0, 0.0, seconds, seconds)
        return meter.slow

    assert take(0.5, 4) == "", "it is not known yet what is usual"
    assert take(0.02, 60) == ""
    assert take(0.52, 3) == "", "three moments are no state"
    assert take(0.52) == "its model takes 500 ms or more a sample, where 20 are usual"
    assert take(0.59, 4).startswith("its model takes 500 ms or more"), "not new at every look"
    assert take(0.02) == "", "one good step ends it"
    assert take(0.12, 4) == "", "what nobody notices is not told"
    assert take(0.6, 400) == "", "what lasts becomes the usual"
