"""Boxes: overlap and non-maximum suppression, on (n, 4) arrays of x1, y1, x2, y2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

_FEW = 32
"""Up to so many boxes are compared one by one."""


def iou(one: Floats, many: Floats) -> Floats:
    """Intersection over union of one box (4,) with each of ``many`` (n, 4): (n,) in 0..1.

    Turned-over or empty boxes overlap nothing.
    """
    corners = np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2])
    shared = np.maximum(corners, 0.0).prod(axis=1)
    sizes = np.maximum(many[:, 2:] - many[:, :2], 0.0).prod(axis=1)
    union = np.maximum(one[2:] - one[:2], 0.0).prod() + sizes - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def nms(
    boxes: Floats,
    scores: Floats,
    limit: float,
    *,
    classes: NDArray[np.integer[Any]] | None = None,
    most: int = 100,
) -> list[int]:
    """Greedy suppression: indices of the boxes that stay, best first.

    A box goes when a better one of its class (of any, without ``classes``) overlaps it by more
    than ``limit``. Equal scores keep their order.
    """
    if len(boxes) <= _FEW:
        return _nms_of_few(boxes, scores, limit, classes, most)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < most:
        best, rest = int(order[0]), order[1:]
        kept.append(best)
        stays = iou(boxes[best], boxes[rest]) <= limit
        if classes is not None:
            stays |= classes[rest] != classes[best]
        order = rest[stays]
    return kept


def _nms_of_few(
    boxes: Floats,
    scores: Floats,
    limit: float,
    classes: NDArray[np.integer[Any]] | None,
    most: int,
) -> list[int]:
    """`nms` in plain Python: a pair costs less than a tenth of one call into NumPy."""
    places, ranks = boxes.tolist(), scores.tolist()
    kinds = [0] * len(places) if classes is None else classes.tolist()
    kept: list[int] = []
    standing: dict[int, list[tuple[list[float], float]]] = {}
    for place in sorted(range(len(places)), key=ranks.__getitem__, reverse=True):
        if len(kept) >= most:
            break
        box, others = places[place], standing.setdefault(kinds[place], [])
        size = max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
        if not _hidden(box, size, others, limit):
            kept.append(place)
            others.append((box, size))
    return kept


def _hidden(
    box: list[float], size: float, others: list[tuple[list[float], float]], limit: float
) -> bool:
    """Whether one of the ``others`` overlaps a box by more than ``limit``, as `iou` measures.

    Written out, because nothing else is called so often while something is looked at."""
    left, top, right, bottom = box
    for (x1, y1, x2, y2), other in others:
        width = (right if right < x2 else x2) - (left if left > x1 else x1)
        if width <= 0.0:
            continue
        height = (bottom if bottom < y2 else y2) - (top if top > y1 else y1)
        if height <= 0.0:
            continue
        shared = width * height
        whole = size + other
        if whole > shared and shared / (whole - shared) > limit:
            return True
    return False


def corners(boxes: Floats, form: str) -> Floats:
    """(n, 4) boxes given as ``cxcywh``, ``yxyx`` or ``xyxy``, as x1, y1, x2, y2."""
    if form == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    if form == "cxcywh":
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return boxes
