"""The numbers, held against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.evaluate import curves
from edgeagent.evaluate.compare import mcnemar, paired_errors

pairs = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=40)


def arrays(given: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score / 10 for score, _ in given]), np.array([truth for _, truth in given])


@given(pairs)
def test_auc_is_how_often_a_positive_scores_above_a_negative(given: list[tuple[int, bool]]) -> None:
    scores, truth = arrays(given)
    won = [
        1.0 if yes > no else 0.5 if yes == no else 0.0
        for yes in scores[truth]
        for no in scores[~truth]
    ]
    expected = sum(won) / len(won) if won else None
    assert curves.auc(scores, truth) == (None if expected is None else pytest.approx(expected))


@given(pairs, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_the_suggested_threshold_is_the_lowest_that_is_right_so_often(
    given: list[tuple[int, bool]], precision: float
) -> None:
    scores, right = arrays(given)
    good = [
        score for score in sorted(set(scores)) if right[scores >= score].mean() >= precision - 1e-12
    ]
    found = curves.sure_from(scores, right, precision)
    if not good:
        assert found is None
        return
    assert found is not None
    inside = scores >= found["threshold"]
    assert inside.tolist() == (scores >= good[0]).tolist()
    assert found["answered"] == pytest.approx(inside.mean(), abs=1e-4)


@given(pairs, st.integers(0, 5))
def test_best_f1_is_the_best_of_all_thresholds(
    given: list[tuple[int, bool]], never_found: int
) -> None:
    scores, hit = arrays(given)
    wanted = float(hit.sum() + never_found)
    found = curves.best_f1(scores, hit, wanted)
    if not wanted:
        assert found is None
        return
    every = [
        2 * hit[scores >= score].sum() / ((scores >= score).sum() + wanted) for score in set(scores)
    ]
    assert found is not None and found["f1"] == pytest.approx(max(every), abs=1e-4)


def test_calibration_error_of_known_cases() -> None:
    sure = np.array([0.9] * 10 + [0.6] * 10)
    right = np.array([True] * 9 + [False] + [True] * 3 + [False] * 7)
    told = curves.calibration(sure, right)
    assert told["ece"] == pytest.approx(0.5 * 0.0 + 0.5 * 0.3)
    assert [(its["count"], its["accuracy"]) for its in told["bins"]] == [(10, 0.3), (10, 0.9)]
    assert curves.calibration(np.ones(4), np.ones(4, bool))["ece"] == 0


def test_intervals_of_shares_as_published() -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I.
    assert curves.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert curves.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert curves.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    one = np.array([True] * 10 + [False] * 2 + [True] * 50)
    other = np.array([False] * 10 + [True] * 2 + [True] * 50)
    found = mcnemar(one, other)
    assert found["p"] == pytest.approx(2 * (1 + 12 + 66) / 2**12, rel=1e-2)
    assert found["significant"] and found["only_first_right"] == 10
    assert mcnemar(one, one)["p"] == 1.0
    many = np.arange(4000) < 2100
    # By the normal approximation with its correction, which is good for so many.
    z = (200 - 1) / math.sqrt(4000)
    assert mcnemar(many, ~many)["p"] == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.02)


def test_a_shift_of_errors_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    errors = rng.exponential(1.0, 200)
    assert paired_errors(errors, errors + rng.normal(0.3, 0.5, 200))["significant"]
    assert not paired_errors(errors, errors + rng.normal(0.0, 0.5, 200))["significant"]


def test_roc_begins_and_ends_in_the_corners() -> None:
    scores, truth = np.linspace(0, 1, 1000), np.arange(1000) % 3 == 0
    points = curves.roc(scores, truth, points=50)
    assert points[0] == (0.0, 0.0) and points[-1] == (1.0, 1.0) and len(points) <= 50
