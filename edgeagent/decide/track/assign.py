"""Who goes with whom: the pairs whose likenesses add up to the most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Likeness = NDArray[np.floating[Any]]


def assign(likeness: Likeness, least: float) -> list[tuple[int, int]]:
    """Pairs (row, column), each row and column at most once, with the largest possible sum.

    Args:
        likeness: (n, m), not below 0.
        least: pairs below it are none.

    Rows and columns that have only each other are paired at once; most do. What is left is
    solved by shortest augmenting paths (Jonker and Volgenant 1987). Equal sums are settled by
    the order of rows and columns, so the same input always gives the same pairs.
    """
    allowed = likeness >= max(least, 1e-9)
    per_row, per_column = allowed.sum(axis=1), allowed.sum(axis=0)
    lonely = allowed & (per_row == 1)[:, None] & (per_column == 1)[None, :]
    rows, columns = np.nonzero(lonely)
    pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))
    rest_rows = np.flatnonzero((per_row > 0) & ~lonely.any(axis=1))
    rest_columns = np.flatnonzero((per_column > 0) & ~lonely.any(axis=0))
    if len(rest_rows):
        part = np.where(allowed, likeness, 0.0)[np.ix_(rest_rows, rest_columns)]
        turned = part.shape[0] > part.shape[1]
        for one, other in _cheapest(1.0 - (part.T if turned else part)):
            row, column = (other, one) if turned else (one, other)
            if part[row, column] > 0:
                pairs.append((int(rest_rows[row]), int(rest_columns[column])))
    return sorted(pairs)


def _cheapest(cost: Likeness) -> list[tuple[int, int]]:
    """A column for each row (n ≤ m), the sum of costs as small as possible."""
    n, m = cost.shape
    row_price = np.zeros(n)
    column_price = np.zeros(m)
    owner = np.full(m, -1)
    for first in range(n):
        distance = np.full(m, np.inf)
        before = np.full(m, -1)
        done = np.zeros(m, bool)
        row, at, reached = first, -1, 0.0
        while True:
            # The column before this row, and the cheapest way on from it.
            ahead = cost[row] - row_price[row] - column_price + reached
            shorter = ~done & (ahead < distance)
            distance[shorter] = ahead[shorter]
            before[shorter] = at
            at = int(np.where(done, np.inf, distance).argmin())
            reached = float(distance[at])
            if owner[at] < 0:
                break
            done[at] = True
            row = int(owner[at])
        row_price[first] += reached
        row_price[owner[done]] += reached - distance[done]
        column_price[done] -= reached - distance[done]
        while at >= 0:  # every row on the way moves one column on
            previous = int(before[at])
            owner[at] = first if previous < 0 else owner[previous]
            at = previous
    return [(int(owner[column]), column) for column in range(m) if owner[column] >= 0]
