"""JPEG pictures as a film that anybody can open: Motion JPEG in AVI.

Source: Microsoft's AVI RIFF reference (MainAVIHeader, AVISTREAMHEADER, BITMAPINFOHEADER, the old
index ``idx1``). The pictures go in as they are, so nothing is decoded, compressed twice or
written to a file on the way.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

TYPE = "video/x-msvideo"

_HAS_INDEX = 0x10
_KEY_FRAME = 0x10


def avi(pictures: Sequence[bytes], size: tuple[int, int], fps: float) -> bytes:
    """A film of JPEG pictures, all of one size (width, height), that follow one another evenly."""
    width, height = size
    largest = max(map(len, pictures))
    period_us = round(1e6 / fps)
    head = struct.pack(
        "<14I", period_us, round(largest * fps), 0, _HAS_INDEX, len(pictures), 0, 1, largest,
        width, height, 0, 0, 0, 0,
    )  # fmt: skip
    stream = b"vidsMJPG" + struct.pack(
        "<IHHIIIIIIII4H", 0, 0, 0, 0, period_us, 1_000_000, 0, len(pictures), largest, 0xFFFFFFFF,
        0, 0, 0, width, height,
    )  # fmt: skip
    form = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", width * height * 3,
                       0, 0, 0, 0)  # fmt: skip
    described = _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", form))
    index, at, shown = [], 4, []
    for picture in pictures:
        index.append(struct.pack("<4sIII", b"00dc", _KEY_FRAME, at, len(picture)))
        shown.append(_chunk(b"00dc", picture))
        at += len(shown[-1])
    body = (
        _list(b"hdrl", _chunk(b"avih", head) + described)
        + _list(b"movi", b"".join(shown))
        + _chunk(b"idx1", b"".join(index))
    )
    return _chunk(b"RIFF", b"AVI " + body)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _list(name: bytes, body: bytes) -> bytes:
    return _chunk(b"LIST", name + body)
