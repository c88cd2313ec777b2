"""Where boxes are and where they go: a Kalman filter of constant velocity for many at once.

The four coordinates of a box (middle x, middle y, width, height) do not disturb one another,
so the filter of a box is four filters of two values each (place and speed), and those of all
boxes are arrays of (n, 4). Noise is in proportion to the box's size: something near moves by
more of the picture than something far away. Units are frame sizes and seconds.

Source: Kalman 1960; the model of ByteTrack (Zhang et al. 2022) and its kin, with time in
seconds instead of frames, because small devices see a few frames a second and drop some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

ALIKE = 1.25
"""Width and height of one thing in two frames differ by less than this factor."""
_SMALLEST = 1e-4
_SEEN = np.array([0.06, 0.06, 0.1, 0.1])
"""How far a detector's box is off, in parts of its own width and height."""
_START = np.array([3.0, 3.0, 0.5, 0.5])
"""How fast something may be that was seen for the first time, in sizes a second."""
_PUSH = np.array([0.2, 0.2, 0.1, 0.1])
"""How much its speed changes within a second."""


class Motion:
    """Places and speeds of ``len`` boxes with their variances, all (n, 4)."""

    def __init__(self) -> None:
        none = np.zeros((0, 4))
        self.place = none
        self.speed = none
        self._pp = self._pv = self._vv = none

    def __len__(self) -> int:
        return len(self.place)

    def boxes(self) -> Floats:
        """(n, 4) x1, y1, x2, y2."""
        half = self.place[:, 2:] / 2
        return np.concatenate([self.place[:, :2] - half, self.place[:, :2] + half], axis=1)

    def distance(self, rows: NDArray[np.intp], boxes: Floats) -> Floats:
        """(n, m) squared Mahalanobis distance of boxes (m, 4) from where ``rows`` are expected."""
        seen = middles(boxes)
        noise = (_SEEN * _own(seen)) ** 2
        off = seen[None] - self.place[rows, None]
        return np.asarray((off**2 / (self._pp[rows, None] + noise[None])).sum(axis=2))

    def jumps(self, rows: NDArray[np.intp], boxes: Floats) -> Floats:
        """(n, m) how far boxes (m, 4) are from where ``rows`` are expected, in their sizes;
        infinite for boxes of another size."""
        seen, place = middles(boxes)[None], self.place[rows, None]
        ratio = seen[..., 2:] / place[..., 2:]
        alike = ((ratio < ALIKE) & (ratio * ALIKE > 1)).all(axis=2)
        off = seen[..., :2] - place[..., :2]
        sizes = np.sqrt(place[..., 2] * place[..., 3])
        return np.asarray(np.where(alike, np.hypot(off[..., 0], off[..., 1]) / sizes, np.inf))

    def add(self, boxes: Floats) -> None:
        """Boxes (k, 4) x1, y1, x2, y2 seen for the first time."""
        place = middles(boxes)
        sizes = _sizes(place)
        self.place = np.concatenate([self.place, place])
        self.speed = np.concatenate([self.speed, np.zeros_like(place)])
        self._pp = np.concatenate([self._pp, (_SEEN * _own(place)) ** 2])
        self._pv = np.concatenate([self._pv, np.zeros_like(place)])
        self._vv = np.concatenate([self._vv, (_START * sizes) ** 2])

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Forget the others."""
        self.place, self.speed = self.place[rows], self.speed[rows]
        self._pp, self._pv, self._vv = self._pp[rows], self._pv[rows], self._vv[rows]

    def advance(self, seconds: float) -> None:
        """What is to be expected after ``seconds``."""
        if not len(self) or seconds <= 0:
            return
        self.place = self.place + self.speed * seconds
        np.maximum(self.place[:, 2:], _SMALLEST, out=self.place[:, 2:])
        push = (_PUSH * _sizes(self.place)) ** 2
        self._pp = self._pp + seconds * (2 * self._pv + seconds * self._vv) + push * seconds**3 / 3
        self._pv = self._pv + seconds * self._vv + push * seconds**2 / 2
        self._vv = self._vv + push * seconds

    def shift(self, by: Floats) -> None:
        """The camera moved: every place moves by (x, y), no speed changes."""
        self.place[:, :2] += by

    def push(self, by: Floats) -> None:
        """Everything goes faster by (x, y) a second."""
        self.speed[:, :2] += by

    def follow(self, rows: NDArray[np.intp], boxes: Floats, blur: Floats) -> None:
        """The boxes (k, 4) at which ``rows`` were seen; ``blur`` (k,) tells how much less exact
        than usual they are."""
        if not len(rows):
            return
        seen = middles(boxes)
        noise = (blur[:, None] * _SEEN * _own(seen)) ** 2
        whole = self._pp[rows] + noise
        gain, gain_v = self._pp[rows] / whole, self._pv[rows] / whole
        off = seen - self.place[rows]
        self.place[rows] += gain * off
        self.speed[rows] += gain_v * off
        self._vv[rows] -= gain_v * self._pv[rows]
        self._pv[rows] *= 1 - gain
        self._pp[rows] *= 1 - gain
        np.maximum(self.place[:, 2:], _SMALLEST, out=self.place[:, 2:])

    def coast(self, rows: NDArray[np.bool_]) -> None:
        """Unseen: they go on as they went, but neither grow nor shrink."""
        self.speed[rows, 2:] = 0.0


def middles(boxes: Floats) -> Floats:
    """(n, 4) middle x, middle y, width, height of x1, y1, x2, y2."""
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], _SMALLEST)
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, sizes], axis=1)


def _sizes(place: Floats) -> Floats:
    """(n, 4): for the middle the mean size of the box, for width and height their own."""
    mean = np.sqrt(place[:, 2] * place[:, 3])[:, None]
    return np.concatenate([mean, mean, place[:, 2:]], axis=1)


def _own(place: Floats) -> Floats:
    return np.concatenate([place[:, 2:], place[:, 2:]], axis=1)
