"""Choosing what to keep of good pictures, and the threshold that follows."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.prove.remember import FOLDS, remember, spread, threshold_of

PIXELS = np.array([[1.0], [0.0]], np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 60), st.integers(0, 99))
def test_spread_points_leave_none_far_away(count: int, kept: int, seed: int) -> None:
    """At most twice as far as with the best choice (Gonzalez 1985); checked by the way it is
    made: no point lies farther from the chosen ones than those lie from each other."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3)).astype(np.float32)
    chosen = spread(points, kept, rng)
    assert len(chosen) == len(set(chosen.tolist())) == min(kept, count)
    away = np.linalg.norm(points[:, None] - points[chosen][None], axis=2).min(axis=1).max()
    between = np.linalg.norm(points[chosen][:, None] - points[chosen][None], axis=2)
    np.fill_diagonal(between, np.inf)
    assert away <= between.min() + 1e-3


def test_one_good_picture_in_a_hundred_lies_above() -> None:
    rng = np.random.default_rng(1)
    threshold = threshold_of(rng.gumbel(2.0, 0.1, 50).tolist())
    assert 0.001 < (rng.gumbel(2.0, 0.1, 20000) > threshold).mean() < 0.03


@given(st.lists(st.floats(0.1, 10), min_size=5, max_size=60))
def test_no_picture_it_was_made_of_lies_above(scores: list[float]) -> None:
    assert threshold_of(scores) > max(scores)


def test_pictures_with_a_foreign_cell_lie_apart() -> None:
    rng = np.random.default_rng(2)
    base = rng.normal(size=(6, 8, 5)).astype(np.float32)

    def picture() -> np.ndarray:
        return (base + rng.normal(0, 0.1, base.shape)).astype(np.float32)

    memory, scores = remember([picture() for _ in range(20)], PIXELS)
    assert len(scores) == 20 and 0.8 < np.median(scores) < 3
    threshold = threshold_of(scores)
    assert memory.unlikeness(picture()).max() < threshold
    odd = picture()
    odd[2:4, 3:5] += 4
    heat = memory.unlikeness(odd)
    assert heat.max() > threshold
    assert np.unravel_index(int(heat.argmax()), heat.shape)[0] in (2, 3)


def test_fewest_pictures_and_pictures_all_alike() -> None:
    same = np.ones((4, 4, 3), np.float32)
    memory, scores = remember([same] * FOLDS, PIXELS)
    assert np.isfinite(scores).all() and np.isfinite(memory.unlikeness(same)).all()
    assert threshold_of(scores) >= max(scores)
    assert memory.unlikeness(same + 1).max() > 10 * max(scores)
