"""JPEG pictures out of a stream of bytes: where one ends, and what is in it.

Only the structure is looked at (ITU-T T.81, annex B); decoding is OpenCV's.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from edgeagent.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BEGIN, END = b"\xff\xd8", b"\xff\xd9"
LONGEST = 32 << 20
_SCAN = 0xDA
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length."""


def end_of(data: bytes | bytearray, start: int) -> int:
    """Position behind the picture that begins at ``start``; -1 where more bytes are needed.

    Segments are stepped over, because a thumbnail among them has an end of its own.

    Raises:
        ValueError: no picture begins there.
    """
    at = start + 2
    if data[start:at] != BEGIN:
        raise ValueError("no JPEG begins here")
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0xD9:
            return at + 2
        elif marker in _ALONE:
            at += 2
        elif marker == _SCAN:
            # Within the coded pixels FF is followed by 00 or a restart, so only the end has D9.
            end = data.find(END, at)
            return end + 2 if end >= 0 else -1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return -1


class Splitter:
    """Cuts a stream of pictures that follow one another; rubbish between them is stepped over."""

    def __init__(self) -> None:
        self._data = bytearray()

    def push(self, data: bytes) -> list[bytes]:
        """The pictures that ``data`` completes. Raises ValueError where there is no end to one."""
        self._data += data
        found: list[bytes] = []
        while True:
            start = self._data.find(BEGIN)
            if start < 0:
                del self._data[:-1]
                return found
            try:
                end = end_of(self._data, start)
            except ValueError:
                del self._data[: start + 2]
                continue
            if end < 0:
                del self._data[:start]
                if len(self._data) > LONGEST:
                    raise ValueError(f"a picture of more than {LONGEST >> 20} MiB")
                return found
            found.append(bytes(self._data[start:end]))
            del self._data[:end]


def decode(data: bytes) -> NDArray[np.uint8]:
    """uint8 (height, width, 3) BGR. Raises InputError for one that is cut off or broken."""
    import cv2
    import numpy as np

    # A picture that lacks its end would be half grey, which is worse than none.
    if data[:2] == BEGIN and END not in data[-64:]:
        raise InputError(f"a picture of {len(data)} bytes is cut off")
    pixels: Any = None
    with contextlib.suppress(cv2.error):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise InputError(f"a picture of {len(data)} bytes can't be decoded")
    decoded: NDArray[np.uint8] = pixels
    return decoded
