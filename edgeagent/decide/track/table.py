"""Which boxes lie on which: a table of overlaps, of few boxes without NumPy, of many with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeagent.decide.track.port import iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.types import Box

    Floats = NDArray[Any]

Named = tuple[str, "Box"]
"""A label and a box x1, y1, x2, y2."""
Cell = tuple[float, int, int]
"""How unlike a row and a column are (less is better), the row, the column."""
_SMALL = 400
"""Up to so many pairs are looked at one by one: NumPy would take longer to be asked."""


def overlapping(rows: Sequence[Named], columns: Sequence[Named], least: float) -> list[Cell]:
    """Pairs of one label whose intersection over union is at least ``least``, which is above 0,
    as (−overlap, row, column)."""
    if len(rows) * len(columns) > _SMALL:
        return _of_many(rows, columns, least)
    cells = []
    for row, (label, one) in enumerate(rows):
        left, top, right, bottom = one
        for column, (other, two) in enumerate(columns):
            # Most pairs do not meet, and that is seen before anything is called.
            if (
                other == label
                and two[0] < right
                and two[2] > left
                and two[1] < bottom
                and two[3] > top
            ):
                likeness = iou(one, two)
                if likeness >= least:
                    cells.append((-likeness, row, column))
    return cells


def _of_many(rows: Sequence[Named], columns: Sequence[Named], least: float) -> list[Cell]:
    import numpy as np

    known: dict[str, int] = {}
    sides = []
    for side in (rows, columns):
        numbers = np.array([known.setdefault(label, len(known)) for label, _ in side])
        sides.append((numbers, np.array([box for _, box in side], float)))
    (owners, ones), (labels, others) = sides
    likeness = np.where(owners[:, None] == labels[None, :], overlaps(ones, others), 0.0)
    where = np.nonzero(likeness >= least)
    return list(zip((-likeness[where]).tolist(), *(its.tolist() for its in where), strict=True))


def overlaps(one: Floats, other: Floats) -> Floats:
    """Intersection over union of each of (n, 4) with each of (m, 4): (n, m) in 0..1.

    Turned-over and empty boxes overlap nothing.
    """
    import numpy as np

    sides = []
    for low, high in ((0, 2), (1, 3)):
        side = np.minimum(one[:, high, None], other[:, high])
        side -= np.maximum(one[:, low, None], other[:, low])
        sides.append(np.maximum(side, 0.0, out=side))
    shared = sides[0]
    shared *= sides[1]
    sizes = [np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).prod(axis=1) for boxes in (one, other)]
    whole = sizes[0][:, None] + sizes[1] - shared
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0))
