"""Outlines of patches in a mask, as polygons with few corners.

Outlines run along the edges between pixels, so a patch and its polygon have the same area.
Straight runs of edges are found for the whole mask at once; only their ends are walked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Points = NDArray[np.floating[Any]]

_FINEST = 320
"""Longer masks are averaged down: a polygon need not be finer than that."""
_CORNERS = 64
"""A polygon with more is made coarser."""
_FINE = 0.015
"""How far an outline may lie from the true one, in parts of its patch's size."""
_EAST, _SOUTH, _WEST, _NORTH = range(4)


def outlines(mask: Mask, smallest: float, most: int) -> list[Points]:
    """Outer outlines of the patches of a mask, the largest first; holes are not told.

    Args:
        mask: bool (h, w). Pixels that touch only at a corner belong to different patches.
        smallest: pixels; patches below it are left out.
        most: number of outlines; where there are more, the last one is a rectangle round all
            that are left, so that nothing that must be hidden is left out.

    Returns:
        (k, 2) arrays of x, y in pixels, 0..w and 0..h, clockwise as seen on a screen.
    """
    fine, factor = _averaged(mask)
    loops = [(area(loop), loop) for loop in _loops(fine)]
    # Inner outlines run the other way round: their area is negative.
    told = [(size, loop) for size, loop in loops if size > 0 and size * factor**2 >= smallest]
    told.sort(key=lambda one: -one[0])
    whole = told if len(told) <= most else told[: most - 1]
    shapes = [simplified(loop, max(1.0, _FINE * size**0.5)) for size, loop in whole]
    if len(whole) < len(told):
        rest = np.concatenate([loop for _, loop in told[len(whole) :]])
        (x1, y1), (x2, y2) = rest.min(axis=0), rest.max(axis=0)
        shapes.append(np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]))
    return [shape * factor for shape in shapes]


def area(loop: Points) -> float:
    """Signed area of a polygon (n, 2): positive where it runs clockwise on a screen."""
    x, y = loop[:, 0], loop[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def simplified(loop: Points, tolerance: float) -> Points:
    """A closed polygon whose corners lie at most ``tolerance`` from the left out ones.

    Source: Douglas and Peucker 1973, on the two halves between far apart corners. Coarser where
    too many corners would stay.
    """
    closed = np.concatenate([loop, loop[:1]])
    far = int(((loop - loop[0]) ** 2).sum(axis=1).argmax())
    while True:
        corners = _far_corners(closed, far, tolerance)
        if len(corners) <= _CORNERS:
            return loop[corners] if len(corners) > 2 else loop
        tolerance *= 1.5


def _far_corners(closed: Points, far: int, tolerance: float) -> NDArray[np.intp]:
    """Numbers of the corners that stay. All stretches are halved at once, level by level."""
    stops = np.array([0, far, len(closed) - 1])
    numbers = np.arange(len(closed) - 1)
    while True:
        stretch = np.searchsorted(stops, numbers, side="right") - 1
        from_, to = closed[stops[stretch]], closed[stops[stretch + 1]]
        along, away = to - from_, closed[:-1] - from_
        length = np.hypot(along[:, 0], along[:, 1])
        cross = np.abs(along[:, 0] * away[:, 1] - along[:, 1] * away[:, 0])
        # Both ends may be one point: then the distance from it counts.
        distance = np.divide(cross, length, out=np.hypot(away[:, 0], away[:, 1]), where=length > 0)
        worst = np.maximum.reduceat(distance, stops[:-1])
        too_far = np.flatnonzero((distance == worst[stretch]) & (distance > tolerance))
        if not len(too_far):
            return stops[:-1]
        _, first = np.unique(stretch[too_far], return_index=True)
        stops = np.sort(np.concatenate([stops, too_far[first]]))


def _averaged(mask: Mask) -> tuple[Mask, int]:
    factor = -(-max(mask.shape) // _FINEST)
    if factor <= 1:
        return mask, 1
    height, width = (-(-axis // factor) for axis in mask.shape)
    counts = np.zeros((height, width), np.uint16)
    for top in range(factor):
        for left in range(factor):
            part = mask[top::factor, left::factor]
            counts[: part.shape[0], : part.shape[1]] += part
    return counts * 2 >= factor**2, factor


def _loops(mask: Mask) -> list[Points]:
    """Closed outlines by their corners, each patch on the right hand of its own."""
    starts, ends, ways = _runs(mask)
    if not len(starts):
        return []
    keys = starts * 4 + ways
    order = np.argsort(keys)
    # Where two patches touch at a corner, the turn to the right stays with one's own.
    right, found = _lookup(keys[order], ends * 4 + (ways + 1) % 4)
    left, _ = _lookup(keys[order], ends * 4 + (ways + 3) % 4)
    following = order[np.where(found, right, left)].tolist()
    width = mask.shape[1] + 1
    y, x = np.divmod(starts, width)
    corners = np.stack([x, y], axis=1).astype(np.float64)
    seen = [False] * len(following)
    loops: list[Points] = []
    for first in range(len(following)):
        if seen[first]:
            continue
        path, at = [], first
        while not seen[at]:
            seen[at] = True
            path.append(at)
            at = following[at]
        loops.append(corners[path])
    return loops


def _lookup(
    keys: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return places, keys[places] == wanted


def _runs(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Straight runs of edges: first corner, last corner (numbered by row), direction."""
    width = mask.shape[1]
    padded = np.pad(mask, 1)
    across = padded[1:, 1:-1].astype(np.int8) - padded[:-1, 1:-1]  # (h + 1, w): above to below
    down = (padded[1:-1, 1:].astype(np.int8) - padded[1:-1, :-1]).T  # (w + 1, h): left to right
    starts, ends, ways = [], [], []
    for edges, step, line, way, forwards in (
        (across == 1, 1, width + 1, _EAST, True),
        (across == -1, 1, width + 1, _WEST, False),
        (down == -1, width + 1, 1, _SOUTH, True),
        (down == 1, width + 1, 1, _NORTH, False),
    ):
        flips = np.zeros((edges.shape[0], edges.shape[1] + 1), bool)  # at both ends of a run
        flips[:, :-1] = edges
        flips[:, 1:] ^= edges
        lines, places = np.divmod(np.flatnonzero(flips), flips.shape[1])
        corners = lines * line + places * step
        low, high = corners[::2], corners[1::2]
        starts.append(low if forwards else high)
        ends.append(high if forwards else low)
        ways.append(np.full(len(low), way))
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(ways)
