"""The memory of good pictures: which patches are kept, and what is usual among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeagent.interpret.patches import NEIGHBOURS, Memory, nearest, smoothed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

FOLDS = 5
KEPT = 1500
"""Patches in a memory at most."""
_LOOKED_AT = 30_000
"""Patches from which those are chosen."""
_STEADY = 0.3
"""Directions in which features hardly vary count less: their noise is no sign. In parts of
the mean variance of features that were brought to one scale."""
_FALSE = 0.01
"""Share of good pictures that may lie above the threshold."""


def remember(
    pictures: Sequence[Floats], pixels: Floats, views: int = 1
) -> tuple[Memory, list[float]]:
    """A memory of good pictures, and the score that each has for a memory without its fold:
    the middle one of its views, so that no single move of a picture decides.

    Pictures next to each other are of one fold: series of a camera show the same thing twice,
    and a picture must not be judged by its twin.

    Args:
        pictures: maps (rows, columns, features) of each, all of one form; at least `FOLDS`.
        pixels: what leads from the input tensor to grey levels (`Cells`).
        views: so many of them in a row are of one picture, and so of one fold.
    """
    rng = np.random.default_rng(0)
    grid = pictures[0].shape[:2]
    cells = grid[0] * grid[1]
    taken = len(pictures) // views
    owners = np.repeat(np.arange(taken) * FOLDS // taken, views * cells)
    looked = rng.permutation(len(owners))[:_LOOKED_AT]
    flat = [maps.reshape(cells, -1) for maps in pictures]
    mean, axes = _space(np.stack([flat[at // cells][at % cells] for at in looked]))
    # One by one: with a large backbone a copy of all would not fit into a small device.
    points = np.concatenate([(maps - mean) @ axes for maps in flat])
    kept = looked[spread(points[looked], KEPT, rng)]
    patches, origin = points[kept], owners[kept]
    apart = [_apart(points[owners == fold], patches, origin != fold) for fold in range(FOLDS)]
    usual = _usual(apart, len(patches))
    scores: list[float] = []
    for distances, near in apart:
        ratio = (distances[:, 0] / usual[near].mean(axis=1)).reshape(-1, *grid)
        worst = np.array([smoothed(one).max() for one in ratio])
        scores += np.median(worst.reshape(-1, views), axis=1).tolist()
    return Memory(mean, axes, patches, usual, pixels), scores


def threshold_of(scores: Sequence[float]) -> float:
    """What one good picture in a hundred is expected to exceed, and none of these does.

    A picture's score is a maximum over its patches, and maxima follow Gumbel's distribution
    (fitted by its moments).
    """
    spread_ = float(np.std(scores)) * math.sqrt(6) / math.pi
    place = float(np.mean(scores)) - 0.5772 * spread_
    expected = place - spread_ * math.log(-math.log(1 - _FALSE))
    return max(expected, 1.01 * max(scores))


def spread(points: Floats, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Numbers of ``count`` points that leave none of the others far away; fewer where no more
    differ.

    Source: Gonzalez 1985, the farthest point next (a k-center coreset, as PatchCore takes it).
    """
    sizes = (points * points).sum(axis=1)
    chosen = [int(rng.integers(len(points)))]
    away = np.full(len(points), np.inf, np.float32)
    for _ in range(min(count, len(points)) - 1):
        last = chosen[-1]
        np.minimum(away, sizes + sizes[last] - 2 * (points @ points[last]), out=away)
        farthest = int(away.argmax())
        if away[farthest] <= 0:
            break  # all that is left is there already
        chosen.append(farthest)
    return np.array(chosen)


def _space(cells: Floats) -> tuple[Floats, Floats]:
    """Mean, and axes along which features vary alike: Mahalanobis' distance, held back."""
    mean = cells.mean(axis=0)
    scale = cells.std(axis=0, dtype=np.float64) + 1e-6
    centred = (cells - mean) / scale
    variances, axes = np.linalg.eigh(centred.T @ centred / len(cells))
    variances = np.maximum(variances, 0)
    scaled = axes / scale[:, None] / np.sqrt(variances + _STEADY * variances.mean() + 1e-12)
    return mean.astype(np.float32), scaled.astype(np.float32)


def _apart(
    points: Floats, patches: Floats, others: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.intp]]:
    """Distances of a fold's points to the nearest patches of other folds, and which."""
    places = np.flatnonzero(others)
    if len(places) < min(NEIGHBOURS, len(patches)):
        places = np.arange(len(patches))  # the pictures are all but alike
    found = [nearest(part, patches[places]) for part in np.array_split(points, FOLDS)]
    distances = np.concatenate([one for one, _ in found])
    return distances, places[np.concatenate([near for _, near in found])]


def _usual(apart: Sequence[tuple[Floats, NDArray[np.intp]]], count: int) -> Floats:
    """At each kept patch the mean distance of the points that lie near it."""
    distances = np.concatenate([one[:, 0] for one, _ in apart])
    near = np.concatenate([places for _, places in apart])
    overall = float(distances.mean())
    each = near.shape[1]
    sums = np.bincount(near.ravel(), np.repeat(distances, each), count)
    # A patch that few points lie near to is taken for an average one, the fewer the more.
    prior = 3.0
    usual = (sums + prior * overall) / (np.bincount(near.ravel(), minlength=count) + prior)
    return np.maximum(usual, 1e-6).astype(np.float32)
