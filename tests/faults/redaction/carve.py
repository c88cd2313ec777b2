"""Pictures in whatever a program leaves behind: in files, in what is packed in files, in memory.

In plain memory a checkerboard is known by its frequency: it is its own negative one cell further
down or across, and itself again one cell further both ways. No texture or mosaic is that at the
board's own cell.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

SURE = 0.7
"""Correlation from which it is the board; natural pictures stay below 0.4."""
_CONTRAST = 12.0
"""Standard deviation (of 255) below which there is nothing to see."""
_LONGEST = 4 << 20
_DEPTH = 5
_FEW = 2000
"""Bytes: a board of 8 by 8 fields of 10 pixels has thousands."""
_CHUNK = 4 << 20
_SMALL = 16 << 20
"""Files up to this are also searched for what is packed within them."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{400,}={0,2}")
_STARTS = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"))


class Plane(Struct, frozen=True):
    """How raw pixels may lie in memory."""

    stride: int
    """Bytes of one row."""
    across: int
    """Bytes from a cell to the next one beside it."""
    down: int
    """Rows from a cell to the next one below it."""


def strength(gray: Picture, across: int, down: int) -> float:
    """How much some place of a plane is a checkerboard, -1..1; 0 where it is too small."""
    height, width = gray.shape
    window = (4 * across, 4 * down)
    if height < down + window[1] or width < across + window[0]:
        return 0.0
    plane = gray.astype(np.float32)
    here = plane[:-down, :-across]
    others = (plane[down:, :-across], plane[:-down, across:], plane[down:, across:])
    signs = (-1.0, -1.0, 1.0)
    worst = None
    for other, sign in zip(others, signs, strict=True):
        its = sign * _correlation(here, other, window)
        worst = its if worst is None else np.minimum(worst, its)
    assert worst is not None
    inner = worst[2 * down : worst.shape[0] - 2 * down, 2 * across : worst.shape[1] - 2 * across]
    return float(inner.max()) if inner.size else 0.0


def _correlation(
    one: NDArray[np.float32], other: NDArray[np.float32], window: tuple[int, int]
) -> NDArray[np.float32]:
    mean, mean_other = cv2.blur(one, window), cv2.blur(other, window)
    spread = cv2.blur(one * one, window) - mean * mean
    spread_other = cv2.blur(other * other, window) - mean_other * mean_other
    both = cv2.blur(one * other, window) - mean * mean_other
    least = _CONTRAST**2
    seen = (spread > least) & (spread_other > least)
    found = np.zeros_like(both)
    np.divide(both, np.sqrt(np.maximum(spread * spread_other, 1.0)), out=found, where=seen)
    return found


def pictures(data: bytes, way: str = "", depth: int = 0) -> Iterator[tuple[str, Picture]]:
    """All pictures that lie somewhere in these bytes, decoded, and how each was come to, e.g.
    ``gzip@0 base64@17 jpeg@0``."""
    for sign, kind in _STARTS:
        for at in _places(data, sign):
            piece = np.frombuffer(data, np.uint8, min(len(data) - at, _LONGEST), at)
            picture = cv2.imdecode(piece, cv2.IMREAD_COLOR)
            if picture is not None:
                yield f"{way}{kind}@{at}", picture
    for at in _places(data, b"\x93NUMPY"):
        yield from _array(data[at : at + _LONGEST], f"{way}npy@{at}")
    if data[:2] == b"BM" and not depth:
        bitmap = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if bitmap is not None:
            yield "bmp", bitmap
    if data[4:8] == b"ftyp":
        yield from _film(data, f"{way}mp4")
    if depth < _DEPTH and len(data) <= _SMALL:
        for how, inner in _unpacked(data):
            yield from pictures(inner, f"{way}{how} ", depth + 1)


def planes(data: bytes, layouts: Sequence[Plane]) -> Iterator[str]:
    """Where the board lies as raw pixels."""
    whole = np.frombuffer(data, np.uint8)
    for plane in layouts:
        step = _CHUNK // plane.stride * plane.stride
        overlap = plane.stride * plane.down * 8
        for at in range(0, len(whole), step):
            chunk = whole[at : at + step + overlap]
            rows = chunk[: len(chunk) // plane.stride * plane.stride].reshape(-1, plane.stride)
            if _opposed(rows, plane.across) and (strength(rows, plane.across, plane.down) >= SURE):
                yield f"plane of {plane.stride} bytes a row at {at}"


def _opposed(rows: Picture, across: int) -> bool:
    """Whether enough of it is bright where it is dark one cell further: a look that costs little,
    before the one that does not."""
    if rows.size == 0 or rows.shape[1] <= across or not rows.any():
        return False
    return int((cv2.absdiff(rows[:, :-across], rows[:, across:]) > 100).sum()) > _FEW


def _array(data: bytes, how: str) -> Iterator[tuple[str, Picture]]:
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except ValueError:
        return
    for each in array.reshape(-1, *array.shape[-3:]) if array.ndim > 3 else [array]:
        if each.ndim in (2, 3) and min(each.shape[:2]) > 8:
            plane = (each[..., 0] if each.ndim == 3 else each).astype(np.float32)
            yield how, cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def _film(data: bytes, how: str) -> Iterator[tuple[str, Picture]]:
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        Path(file.name).write_bytes(data)
        film = cv2.VideoCapture(file.name)
        while (taken := film.read())[0]:
            yield how, taken[1]
        film.release()


def _places(data: bytes, sign: bytes) -> Iterator[int]:
    at = data.find(sign)
    while at >= 0:
        yield at
        at = data.find(sign, at + 1)


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What is within: base64, zlib, gzip (a tar's files lie in it as they are)."""
    for match in _BASE64.finditer(data):
        text = match[0][: len(match[0]) // 4 * 4]
        try:
            yield f"base64@{match.start()}", base64.b64decode(text)
        except binascii.Error:
            continue
    for sign, window in ((b"\x1f\x8b\x08", 31), (b"\x78\x01", 15), (b"\x78\x9c", 15),
                         (b"\x78\xda", 15), (b"\x78\x5e", 15)):  # fmt: skip
        for at in _places(data, sign):
            try:
                inner = zlib.decompressobj(window).decompress(data[at:], 64 << 20)
            except zlib.error:
                continue
            if len(inner) > 64:
                yield f"{'gzip' if window == 31 else 'zlib'}@{at}", inner
