"""What the camera did: the shift that most boxes have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.decide.track.motion import middles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Places = NDArray[np.intp]

_MOST = 40
"""Tracks that are asked; more would not say anything else."""
_NEAR = 0.25
"""Two moves are one if they differ by less than this part of the box's size."""
_ALIKE = 1.4
"""Width and height of one thing in two frames differ by less than this factor."""


def common_shift(
    expected: Floats, owners: Places, boxes: Floats, labels: Places
) -> Floats | None:
    """(x, y) by which most of the expected boxes must be moved to lie on detections.

    None where no shift explains more of them than standing still does.

    Args:
        expected: (n, 4) middle x, middle y, width, height, of things seen a frame ago.
        owners: (n,) their labels, by number.
        boxes: (m, 4) x1, y1, x2, y2 of all detections, doubtful ones too.
        labels: (m,) theirs.
    """
    if len(expected) > _MOST:
        expected, owners = expected[:_MOST], owners[:_MOST]
    if len(expected) < 3 or len(boxes) < 3:
        return None
    found = middles(boxes)
    moves = found[None, :, :2] - expected[:, None, :2]
    ratio = found[None, :, 2:] / expected[:, None, 2:]
    alike = (np.maximum(ratio, 1 / ratio) < _ALIKE).all(axis=2)
    alike &= owners[:, None] == labels[None, :]
    near = _NEAR * np.sqrt(expected[:, 2:].prod(axis=1))  # (n,) how close is on it
    still = _explained(moves, alike, near, np.zeros(2))
    rows, columns = np.nonzero(alike)
    if len(rows) < 3:
        return None
    candidates = moves[rows, columns]
    # Votes are counted in cells, then the fullest cell's neighbourhood is asked exactly.
    cell = float(np.median(near)) * 2
    keys = np.rint(candidates / cell).astype(np.int64)
    _, inverse, counts = np.unique(
        keys[:, 0] * 100_003 + keys[:, 1], return_inverse=True, return_counts=True
    )
    best: Floats | None = None
    most = int(still.sum())
    for group in np.argsort(-counts, kind="stable")[:3].tolist():
        shift = np.median(candidates[inverse == group], axis=0)
        for _ in range(2):
            agree = _explained(moves, alike, near, shift)
            if not agree.any():
                break
            shift = _exactly(moves, alike, near, shift)
        count = int(_explained(moves, alike, near, shift).sum())
        if count > most:
            best, most = shift, count
    if best is None or most < 3 or most * 2 < len(expected) or most < still.sum() * 1.25:
        return None
    return best


def _explained(
    moves: Floats, alike: NDArray[np.bool_], near: Floats, shift: Floats
) -> NDArray[np.bool_]:
    """(n,) whether a detection lies where the shift puts the track."""
    off = np.hypot(moves[..., 0] - shift[0], moves[..., 1] - shift[1])
    return np.asarray((alike & (off < near[:, None])).any(axis=1))


def _exactly(
    moves: Floats, alike: NDArray[np.bool_], near: Floats, shift: Floats
) -> Floats:
    """The median of the moves that agree with the shift, one for each track."""
    off = np.hypot(moves[..., 0] - shift[0], moves[..., 1] - shift[1])
    off = np.where(alike, off, np.inf)
    nearest = off.argmin(axis=1)
    rows = np.arange(len(moves))
    agree = off[rows, nearest] < near
    return np.asarray(np.median(moves[rows[agree], nearest[agree]], axis=0))
