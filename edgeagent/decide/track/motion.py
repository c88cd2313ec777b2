"""Where a box is and where it goes: a Kalman filter of constant velocity.

The four coordinates of a box (middle x, middle y, width, height) do not disturb one another,
so the filter of a box is four filters of two values each (place and speed). Noise is in
proportion to the box's size: something near moves by more of the picture than something far
away. Units are frame sizes and seconds.

Plain floats on purpose: after a large model has run, the first call of each of NumPy's functions
takes 10 to 40 µs, because neither code nor data are in the caches any more, and few things are
followed at a time.

Source: Kalman 1960; the model of ByteTrack (Zhang et al. 2022) and its kin, with time in
seconds instead of frames, because small devices see a few frames a second and drop some.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeagent.types import Box

    Four = tuple[float, float, float, float]

ALIKE = 1.25
"""Width and height of one thing in two frames differ by less than this factor."""
_SMALLEST = 1e-4
_SEEN = (0.06, 0.06, 0.1, 0.1)
"""How far a detector's box is off, in parts of its own width and height."""
_START = (3.0, 3.0, 0.5, 0.5)
"""How fast something may be that was seen for the first time, in sizes a second."""
_PUSH = (0.2, 0.2, 0.1, 0.1)
"""How much its speed changes within a second."""


class Motion:
    """Place and speed of one box with their variances; seen for the first time at ``box``."""

    __slots__ = ("_pp", "_pv", "_vv", "place", "speed")

    def __init__(self, box: Box) -> None:
        place = middle(box)
        self.place: Sequence[float] = place
        """Middle x, middle y, width, height."""
        self.speed: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
        self._pp: Sequence[float] = _noise(place, 1.0)
        self._pv: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
        self._vv: Sequence[float] = [
            start * size * (start * size) for start, size in zip(_START, _sizes(place), strict=True)
        ]

    def box(self) -> Box:
        """x1, y1, x2, y2."""
        x, y, width, height = self.place
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def distance(self, seen: Four, most: float) -> float:
        """Squared Mahalanobis distance of ``seen`` (middles) from where it is expected; infinite
        once it is above ``most``."""
        far = 0.0
        for want, have, its, noise in zip(
            self.place, seen, self._pp, _noise(seen, 1.0), strict=True
        ):
            off = have - want
            far += off * off / (its + noise)
            if far > most:
                return math.inf
        return far

    def jump(self, seen: Four) -> float:
        """How far ``seen`` (middles) is from where it is expected, in its sizes; infinite for a box
        of another size."""
        x, y, width, height = self.place
        for want, have in ((width, seen[2]), (height, seen[3])):
            if not (have / want < ALIKE and have / want * ALIKE > 1):
                return math.inf
        return math.hypot(seen[0] - x, seen[1] - y) / math.sqrt(width * height)

    def advance(self, seconds: float) -> None:
        """What is to be expected after ``seconds``, which are above 0."""
        (x, y, width, height), (u, v, wider, higher) = self.place, self.speed
        width = max(width + wider * seconds, _SMALLEST)
        height = max(height + higher * seconds, _SMALLEST)
        self.place = (x + u * seconds, y + v * seconds, width, height)
        middle_x, middle_y, wide, high = _PUSH
        area = width * height
        pushes = (
            middle_x * middle_x * area, middle_y * middle_y * area,
            wide * wide * width * width, high * high * height * height,
        )  # fmt: skip
        half, third = seconds * seconds / 2, seconds * seconds * seconds / 3
        pps, pvs, vvs = [], [], []
        for pp, pv, vv, push in zip(self._pp, self._pv, self._vv, pushes, strict=True):
            pps.append(pp + seconds * (2 * pv + seconds * vv) + push * third)
            pvs.append(pv + seconds * vv + push * half)
            vvs.append(vv + push * seconds)
        self._pp, self._pv, self._vv = pps, pvs, vvs

    def shift(self, by: tuple[float, float]) -> None:
        """The camera moved: the place moves by (x, y), the speed does not change."""
        x, y, width, height = self.place
        self.place = (x + by[0], y + by[1], width, height)

    def push(self, by: tuple[float, float]) -> None:
        """It goes faster by (x, y) a second."""
        u, v, wider, higher = self.speed
        self.speed = (u + by[0], v + by[1], wider, higher)

    def follow(self, seen: Four, blur: float) -> None:
        """Where it was seen (middles); ``blur`` tells how much less exact than usual that is."""
        places, speeds, pps, pvs, vvs = [], [], [], [], []
        for have, noise, place, speed, pp, pv, vv in zip(
            seen, _noise(seen, blur), self.place, self.speed, self._pp, self._pv, self._vv,
            strict=True,
        ):  # fmt: skip
            whole = pp + noise
            gain, gain_v = pp / whole, pv / whole
            off = have - place
            places.append(place + gain * off)
            speeds.append(speed + gain_v * off)
            vvs.append(vv - gain_v * pv)
            pvs.append(pv * (1 - gain))
            pps.append(pp * (1 - gain))
        places[2], places[3] = max(places[2], _SMALLEST), max(places[3], _SMALLEST)
        self.place, self.speed, self._pp, self._pv, self._vv = places, speeds, pps, pvs, vvs

    def coast(self) -> None:
        """Unseen: it goes on as it went, but neither grows nor shrinks."""
        self.speed = (self.speed[0], self.speed[1], 0.0, 0.0)


def middle(box: Box) -> Four:
    """Middle x, middle y, width, height of x1, y1, x2, y2."""
    x1, y1, x2, y2 = box
    return ((x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, _SMALLEST), max(y2 - y1, _SMALLEST))


def _sizes(place: Sequence[float]) -> Four:
    """For the middle the mean size of the box, for width and height their own."""
    width, height = place[2], place[3]
    mean = math.sqrt(width * height)
    return (mean, mean, width, height)


def _noise(place: Sequence[float], blur: float) -> Four:
    """Variances of a detection of this size."""
    width, height = place[2] * blur, place[3] * blur
    x, y, wide, high = _SEEN
    return (
        x * width * (x * width), y * height * (y * height),
        wide * width * (wide * width), high * height * (high * height),
    )  # fmt: skip
