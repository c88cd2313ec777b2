"""Many pictures on one: a contact sheet for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from edgeagent.decide.picture import draw, jpeg
from edgeagent.errors import InputError
from edgeagent.types import Box, Detection

_WIDTH, _HEIGHT = 320, 240
_CAPTION = 24
_GUTTER = 8
_COLUMNS = 4
_MOST = 200
_PAPER = 250
_INK = (40, 40, 40)


class Shot(NamedTuple):
    """A picture and what it shows."""

    caption: str
    jpeg: bytes
    label: str = ""
    score: float = 0.0
    box: Box | None = None


def contact_sheet(pictures: Sequence[Shot]) -> bytes:
    """A JPEG with up to 200 captioned pictures, four in a row.

    Raises InputError where one of them is no picture.
    """
    shown = pictures[:_MOST]
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    cell, wide = _HEIGHT + _CAPTION + _GUTTER, _WIDTH + _GUTTER
    sheet = np.full((rows * cell + _GUTTER, columns * wide + _GUTTER, 3), _PAPER, np.uint8)
    for index, shot in enumerate(shown):
        top, left = index // columns * cell + _GUTTER, index % columns * wide + _GUTTER
        picture = _drawn(shot)
        scale = min(_WIDTH / picture.shape[1], _HEIGHT / picture.shape[0])
        size = (max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        y, x = top + (_HEIGHT - size[1]) // 2, left + (_WIDTH - size[0]) // 2
        sheet[y : y + size[1], x : x + size[0]] = small
        # OpenCV's letters are ASCII only.
        said = shot.caption.encode("ascii", "replace").decode()
        place = (left, top + _HEIGHT + _CAPTION - 8)
        cv2.putText(sheet, said, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
    return jpeg(sheet)


def _drawn(shot: Shot) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = cv2.imdecode(np.frombuffer(shot.jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"{shot.caption}: its picture can't be decoded")
    pixels = picture.astype(np.uint8, copy=False)
    if shot.box is None:
        return pixels
    return draw(pixels, [Detection(shot.label, shot.score, shot.box)])
