"""What the camera did: the shift that most boxes have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.decide.track.motion import ALIKE, middles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Places = NDArray[np.intp]

_MOST = 24
"""Tracks that are asked; more would not say anything else."""
_STILL = 0.7
"""Where so many stand where they are expected, the camera stands too."""
_LEAST = 1 / 3
"""So many must agree on a shift, and three at least, or two where that is half of them."""
_NEAR = 0.2
"""Two moves are one if they differ by less than this part of the box's size."""
_SMALL = 36
"""Pairs that are looked at without numpy, which takes longer to be asked."""
_TRIED = 3
"""Fullest cells of moves that are looked at closely."""


def common_shift(expected: Floats, owners: Places, boxes: Floats, labels: Places) -> Floats | None:
    """(x, y) by which most of the expected boxes must be moved to lie on detections.

    None where no shift explains more of them than standing still does.

    Args:
        expected: (n, 4) middle x, middle y, width, height, of things seen a frame ago.
        owners: (n,) their labels, by number.
        boxes: (m, 4) x1, y1, x2, y2 of all detections, doubtful ones too.
        labels: (m,) theirs.
    """
    expected, owners = expected[:_MOST], owners[:_MOST]
    count = len(expected)
    if count < 2 or len(boxes) < 2:
        return None
    found = middles(boxes)
    if (
        count * len(found) <= _SMALL
        and _standing(expected, owners, found, labels) >= _STILL * count
    ):
        return None
    moves = _moves(expected, owners, found, labels)
    best, most = None, moves.agreeing(np.zeros(2))
    if most >= _STILL * count or len(set(moves.rows.tolist())) < (2 if count <= 4 else 3):
        return None
    for shift in moves.frequent():
        agreeing = moves.agreeing(shift)
        if agreeing > most:
            best, most = shift, agreeing
    enough = most >= max(3, _LEAST * count) or (most == 2 and count <= 4)
    return best if enough else None


def _standing(expected: Floats, owners: Places, found: Floats, labels: Places) -> int:
    """How many of a few tracks have a detection where they are expected: what
    `_Moves.agreeing` says of no shift, without numpy."""
    seen = list(zip(found.tolist(), labels.tolist(), strict=True))
    count = 0
    for (x, y, width, height), owner in zip(expected.tolist(), owners.tolist(), strict=True):
        near = _NEAR * math.sqrt(width * height)
        for (u, v, wide, high), label in seen:
            alike = width < wide * ALIKE and wide < width * ALIKE
            alike = alike and height < high * ALIKE and high < height * ALIKE
            if label == owner and alike and math.hypot(u - x, v - y) < near:
                count += 1
                break
    return count


class _Moves:
    """Moves that would bring a track onto a detection of its size and label."""

    def __init__(self, rows: Places, by: Floats, near: Floats) -> None:
        self.rows = rows
        """(k,) whose move it is."""
        self.by = by
        """(k, 2) x, y."""
        self.near = near
        """(k,) how exact it is."""

    def agreeing(self, shift: Floats) -> int:
        """How many tracks have a move like this."""
        return len(set(self.rows[self._off(shift) < self.near].tolist()))

    def frequent(self) -> list[Floats]:
        """The shifts that most moves are like, each as the median of those.

        Votes are counted in cells; what a cell's edge cuts off comes back by the second look.
        """
        if not len(self.rows):
            return []
        cell = 2 * float(_middle(self.near))
        keys = np.rint(self.by / cell).astype(np.int64)
        _, inverse, counts = np.unique(
            keys[:, 0] * 1_000_003 + keys[:, 1], return_inverse=True, return_counts=True
        )
        shifts = []
        for group in np.argsort(-counts, kind="stable")[:_TRIED].tolist():
            shift = _middle(self.by[inverse == group])
            for _ in range(2):
                like = self._off(shift) < self.near
                if like.any():
                    shift = _middle(self.by[like])
            shifts.append(shift)
        return shifts

    def _off(self, shift: Floats) -> Floats:
        return np.asarray(np.hypot(self.by[:, 0] - shift[0], self.by[:, 1] - shift[1]))


def _moves(expected: Floats, owners: Places, found: Floats, labels: Places) -> _Moves:
    alike = owners[:, None] == labels[None, :]
    for side in (2, 3):
        ratio = found[None, :, side] / expected[:, None, side]
        alike &= (ratio < ALIKE) & (ratio * ALIKE > 1)
    rows, columns = np.nonzero(alike)
    near = _NEAR * np.sqrt(expected[:, 2] * expected[:, 3])
    return _Moves(rows, found[columns, :2] - expected[rows, :2], near[rows])


def _middle(values: Floats) -> Floats:
    """The median over the first axis; np.median takes ten times as long for a few values."""
    ordered, half = np.sort(values, axis=0), len(values) // 2
    return np.asarray(ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2)
