"""What the camera did: the shift that most boxes have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.decide.track.motion import ALIKE, middle

if TYPE_CHECKING:
    from edgeagent.types import Box

Shift = tuple[float, float]
"""x, y"""
Placed = tuple[str, Sequence[float]]
"""A label, and middle x, middle y, width, height."""

_MOST = 24
"""Tracks that are asked; more would not say anything else."""
_STILL = 0.7
"""Where so many stand where they are expected, the camera stands too."""
_LEAST = 1 / 3
"""So many must agree on a shift, and three at least, or two where that is half of them."""
_NEAR = 0.2
"""Two moves are one if they differ by less than this part of the box's size."""
_TRIED = 3
"""Fullest cells of moves that are looked at closely."""


def common_shift(expected: Sequence[Placed], boxes: Sequence[tuple[str, Box]]) -> Shift | None:
    """(x, y) by which most of the expected boxes must be moved to lie on detections.

    None where no shift explains more of them than standing still does.

    Args:
        expected: labels and middles of things seen a frame ago.
        boxes: labels and x1, y1, x2, y2 of all detections, doubtful ones too.
    """
    expected = expected[:_MOST]
    count = len(expected)
    if count < 2 or len(boxes) < 2:
        return None
    found = [(label, middle(box)) for label, box in boxes]
    most = sum(_stands(owner, place, found) for owner, place in expected)
    if most >= _STILL * count:
        return None
    moves = _moves(expected, found)
    if len({row for row, *_ in moves}) < (2 if count <= 4 else 3):
        return None
    best = None
    for shift in _frequent(moves):
        agreeing = _agreeing(moves, shift)
        if agreeing > most:
            best, most = shift, agreeing
    enough = most >= max(3, _LEAST * count) or (most == 2 and count <= 4)
    return best if enough else None


def _stands(owner: str, place: Sequence[float], found: Sequence[Placed]) -> bool:
    """Whether something like a track is where it is expected: what `_agreeing` says of no
    shift."""
    x, y, width, height = place
    near = _NEAR * math.sqrt(width * height)
    for label, (u, v, wide, high) in found:
        if (
            label == owner
            and abs(u - x) < near
            and wide < width * ALIKE
            and width < wide * ALIKE
            and high < height * ALIKE
            and height < high * ALIKE
            and math.hypot(u - x, v - y) < near
        ):
            return True
    return False


Move = tuple[int, float, float, float]
"""What would bring a track onto a detection of its size and label: the track's row, x, y, and how
exact that is."""


def _like(moves: Sequence[Move], shift: Shift) -> list[Move]:
    x, y = shift
    return [
        move
        for move in moves
        if -move[3] < move[1] - x < move[3]
        and -move[3] < move[2] - y < move[3]
        and math.hypot(move[1] - x, move[2] - y) < move[3]
    ]


def _moves(expected: Sequence[Placed], found: Sequence[Placed]) -> list[Move]:
    moves = []
    for row, (owner, (x, y, width, height)) in enumerate(expected):
        near = _NEAR * math.sqrt(width * height)
        for label, (u, v, wide, high) in found:
            if (
                label == owner
                and wide < width * ALIKE
                and width < wide * ALIKE
                and high < height * ALIKE
                and height < high * ALIKE
            ):
                moves.append((row, u - x, v - y, near))
    return moves


def _agreeing(moves: Sequence[Move], shift: Shift) -> int:
    """How many tracks have a move like this."""
    return len({row for row, *_ in _like(moves, shift)})


def _frequent(moves: Sequence[Move]) -> list[Shift]:
    """The shifts that most moves are like, each as the median of those.

    Votes are counted in cells; what a cell's edge cuts off comes back by the second look.
    """
    cell = 2 * _median([near for *_, near in moves])
    groups: dict[tuple[int, int], list[Move]] = {}
    for move in moves:
        key = (round(move[1] / cell), round(move[2] / cell))
        groups.setdefault(key, []).append(move)
    shifts = []
    for _, group in sorted(groups.items(), key=lambda its: (-len(its[1]), its[0]))[:_TRIED]:
        shift = _middle(group)
        for _ in range(2):
            if like := _like(moves, shift):
                shift = _middle(like)
        shifts.append(shift)
    return shifts


def _middle(moves: Sequence[Move]) -> Shift:
    return _median([x for _, x, _, _ in moves]), _median([y for _, _, y, _ in moves])


def _median(values: list[float]) -> float:
    values.sort()
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2
