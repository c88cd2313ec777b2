"""Pictures for people: predictions drawn on a frame, and JPEG."""

from __future__ import annotations

import math
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from msgspec import Struct, field

from edgeagent.decide.data import called
from edgeagent.errors import InputError
from edgeagent.types import (
    Anomaly,
    Detection,
    Keypoints,
    Label,
    Mask,
    Regression,
    Text,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.types import Prediction

    Picture = NDArray[np.uint8]

Colour = tuple[int, int, int]
Point = tuple[float, float]

QUALITY = 85

# Okabe and Ito's palette, which colour-blind people can tell apart (BGR).
_COLOURS: tuple[Colour, ...] = (
    (0, 159, 230), (233, 180, 86), (115, 158, 0), (66, 228, 240),
    (178, 114, 0), (0, 94, 213), (167, 121, 204),
)  # fmt: skip
_BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12),
    (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Which of COCO's 17 key points are joined."""
_SURE = 0.3
"""A key point that scores less is a guess and is not drawn."""
_WHITE: Colour = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SHIFT = 4
"""Fraction bits of the coordinates given to OpenCV."""


def colour_of(label: str) -> Colour:
    """BGR; the same for a label in every picture and process."""
    return _COLOURS[zlib.crc32(label.encode()) % len(_COLOURS)]


class Scenery(Struct):
    """What a pipeline looks at besides its model: zones, lines, where things came from."""

    zones: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    lines: Mapping[str, tuple[Point, Point]] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Line → way → crossings."""
    trails: Mapping[int, Sequence[Point]] = field(default_factory=dict)
    """Track → where its foot was, oldest first."""


def draw(
    pixels: Picture, predictions: Sequence[Prediction], scenery: Scenery | None = None
) -> Picture:
    """A BGR copy of a frame, uint8 (h, w, 3) or (h, w), with everything that was said about it.

    Boxes, landmarks and polygons stand where they are, the rest is a list in the corner.
    """
    picture = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels.copy()
    pen = _Pen(picture)
    if scenery is not None:
        _draw_scenery(pen, scenery, predictions)
    lines: list[tuple[str, str]] = []
    for prediction in reversed(predictions):  # the best comes first and is drawn last, on top
        if isinstance(prediction, Detection):
            pen.box(prediction.label, _caption(prediction), prediction.box)
            pen.points(prediction.label, prediction.points)
        elif isinstance(prediction, Keypoints):
            pen.pose(prediction.label, prediction.points)
            if prediction.track:
                pen.box(prediction.label, _caption(prediction), prediction.box)
        elif isinstance(prediction, Mask):
            pen.polygons(prediction.label, prediction.polygons)
            lines.append((prediction.label, f"{prediction.label} {prediction.share:.0%}"))
        elif isinstance(prediction, Label):
            lines.append((prediction.label, f"{prediction.label} {prediction.score:.2f}"))
        elif isinstance(prediction, Anomaly):
            sign = ">" if prediction.alarming else "<="
            text = f"anomaly {prediction.score:.3g} {sign} {prediction.threshold:.3g}"
            lines.append(("anomaly", text))
            pen.unusual(prediction)
        elif isinstance(prediction, Regression):
            text = f"{prediction.name} {prediction.value:.4g} {prediction.unit}".rstrip()
            lines.append((prediction.name, text))
        elif isinstance(prediction, Text):
            lines.append(("text", f"{prediction.text} {prediction.score:.2f}"))
    pen.list(lines[::-1])
    return picture


def warmed(pixels: Picture, share: NDArray[np.floating[Any]]) -> Picture:
    """A BGR copy of a frame, uint8 (h, w, 3) or (h, w), under a map.

    Args:
        share: (rows, columns) over the frame, 0 to 1; what is below 0.5 does not show.
    """
    picture = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    height, width = picture.shape[:2]
    whole = cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    heat = cv2.applyColorMap((whole * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    cover = (0.6 * np.clip(3 * whole - 1.5, 0.0, 1.0))[..., None]
    mixed: Picture = (picture * (1 - cover) + heat * cover).astype(np.uint8)
    return mixed


def _draw_scenery(pen: _Pen, scenery: Scenery, predictions: Sequence[Prediction]) -> None:
    for name, polygon in scenery.zones.items():
        pen.polygons(name, [polygon])
        x, y = max(polygon, key=lambda point: (point[1], -point[0]))
        pen.text(name, name, x, y, above=True)
    for name, (start, end) in scenery.lines.items():
        ways = scenery.counts.get(name, {})
        counted = "".join(f" {way} {count}" for way, count in ways.items())
        pen.line(name, f"{name}{counted}", start, end)
    for prediction in predictions:
        trail = scenery.trails.get(getattr(prediction, "track", 0), ())
        if isinstance(prediction, (Detection, Keypoints)) and len(trail) > 1:
            pen.trail(prediction.label, trail)


def jpeg(pixels: Picture, quality: int = QUALITY) -> bytes:
    """A frame, uint8 BGR (h, w, 3) or grey (h, w), as JPEG. Raises InputError."""
    try:
        good, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise InputError(f"the picture can't be written as JPEG: {error}") from error
    if not good:
        raise InputError("the picture can't be written as JPEG")
    return data.tobytes()


def scaled(pixels: Picture, width: int) -> Picture:
    """A picture that is no wider; the same one where it is not. Sides are even, as films want."""
    height, wide = pixels.shape[:2]
    if wide <= width:
        return pixels
    size = max(2, width // 2 * 2), max(2, round(height * width / wide / 2) * 2)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _caption(found: Detection | Keypoints) -> str:
    number = f" #{found.track}" if found.track else ""
    second = "".join(f" {_spoken(answer)}" for _, answer in found.refined)
    return f"{found.label}{number} {found.score:.2f}{second}"


def _spoken(answer: Prediction) -> str:
    """A second model's answer in a few letters."""
    if isinstance(answer, Regression):
        return f"{answer.value:.4g} {answer.unit}".rstrip()
    return called(answer)


def _plain(text: str) -> str:
    """Text in the letters that OpenCV's font has."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() or "?"


class _Pen:
    """Draws in sizes that fit the picture."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._height, self._width = picture.shape[:2]
        self._size = min(1.2, max(0.4, self._height / 900))
        self._thick = max(1, round(self._height / 400))

    def box(self, label: str, caption: str, box: tuple[float, float, float, float]) -> None:
        corners = self._at(box[:2]), self._at(box[2:])
        cv2.rectangle(
            self._picture, *corners, colour_of(label), self._thick, cv2.LINE_AA, _SHIFT
        )  # fmt: skip
        self.text(caption, label, box[0], box[1], above=True)

    def text(self, text: str, label: str, x: float, y: float, *, above: bool) -> None:
        """Beside a point in 0..1."""
        left = round(min(max(x, 0.0), 1.0) * self._width)
        top = round(min(max(y, 0.0), 1.0) * self._height)
        self._text(text, label, left, top, above=above)

    def pose(self, label: str, points: Sequence[tuple[float, float, float]]) -> None:
        """Key points that are sure; COCO's 17 are joined."""
        for one, other in _BONES if len(points) == 17 else ():
            if points[one][2] >= _SURE and points[other][2] >= _SURE:
                self._stroke(points[one], points[other], colour_of(label))
        self.points(label, [point[:2] for point in points if point[2] >= _SURE])

    def line(self, label: str, text: str, start: Point, end: Point) -> None:
        """A line with an arrow that shows which way is in."""
        self._stroke(start, end, colour_of(label))
        (ax, ay), (bx, by) = (
            (x * self._width, y * self._height) for x, y in (start, end)
        )  # fmt: skip
        length = math.hypot(bx - ax, by - ay) or 1.0
        size = max(8.0, 0.04 * min(self._width, self._height))
        x, y = (ax + bx) / 2, (ay + by) / 2
        tip = x - (by - ay) / length * size * 2, y + (bx - ax) / length * size * 2
        cv2.arrowedLine(
            self._picture, (round(x), round(y)), (round(tip[0]), round(tip[1])),
            colour_of(label), self._thick, cv2.LINE_AA, tipLength=0.4,
        )  # fmt: skip
        self.text(text, label, *end, above=False)

    def trail(self, label: str, points: Sequence[Point]) -> None:
        """Where something came from."""
        for one, other in pairwise(points):
            self._stroke(one, other, colour_of(label))

    def _stroke(self, one: Sequence[float], other: Sequence[float], colour: Colour) -> None:
        ends = self._at(one[:2]), self._at(other[:2])
        cv2.line(self._picture, *ends, _WHITE, self._thick + 2, cv2.LINE_AA, _SHIFT)
        cv2.line(self._picture, *ends, colour, self._thick, cv2.LINE_AA, _SHIFT)

    def points(self, label: str, points: Sequence[tuple[float, float]]) -> None:
        radius = (self._thick + 1) << _SHIFT
        for point in points:
            cv2.circle(
                self._picture, self._at(point), radius, colour_of(label), -1, cv2.LINE_AA, _SHIFT
            )

    def polygons(self, label: str, polygons: Sequence[Sequence[tuple[float, float]]]) -> None:
        shapes = [np.array([self._at(p) for p in polygon], np.int32) for polygon in polygons]
        if not shapes:
            return
        cv2.polylines(
            self._picture, shapes, True, colour_of(label), self._thick, cv2.LINE_AA, _SHIFT
        )

    def unusual(self, found: Anomaly) -> None:
        """The heat over the picture, red where it reaches the threshold, and boxes of regions."""
        if found.heat is not None:
            # What is as usual stays as it is: the heat shows from 3/4 of the threshold on.
            share = np.clip(found.heat / max(found.threshold, 1e-9) / 1.5, 0.0, 1.0)
            self._picture[:] = warmed(self._picture, share)
        for box, score in found.regions:
            self.box("anomaly", f"{score:.3g}", box)

    def list(self, lines: Sequence[tuple[str, str]]) -> None:
        top = 4
        for label, text in lines:
            top += self._text(text, label, 4, top, above=False) + 2

    def _text(self, text: str, label: str, left: int, top: int, *, above: bool) -> int:
        """Dark letters on the label's colour, moved into the picture; returns their height."""
        text = _plain(text)
        thick = max(1, self._thick // 2)
        (width, height), base = cv2.getTextSize(text, _FONT, self._size, thick)
        full = height + base + 4
        left = max(0, min(left, self._width - width - 4))
        top = max(0, min(top - full if above else top, self._height - full))
        corner = (left + width + 4, top + full)
        cv2.rectangle(self._picture, (left, top), corner, colour_of(label), -1)
        at = (left + 2, top + height + 2)
        cv2.putText(self._picture, text, at, _FONT, self._size, (0, 0, 0), thick, cv2.LINE_AA)
        return full

    def _at(self, point: Sequence[float]) -> tuple[int, int]:
        # Far outside is as good as a little outside, and OpenCV counts in 32 bits.
        x, y = (min(max(value, -1.0), 2.0) for value in point)
        return round(x * self._width * (1 << _SHIFT)), round(y * self._height * (1 << _SHIFT))
