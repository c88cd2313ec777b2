"""Motion JPEG over HTTP (``multipart/x-mixed-replace``). Runs in a child (`capture.child`).

Read by hand rather than by FFmpeg: pictures that are not wanted are not decoded, a broken one
does not end the stream, and the server's answer (401, 404, a web page) can be told.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from edgeagent.capture import jpeg
from edgeagent.capture.child import Opened
from edgeagent.capture.web import FAILURES, Camera, told
from edgeagent.errors import SourceLost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_LINE = 8192
_HEADERS = 64


class MultipartDecoder:
    """Args: ``url`` without credentials, ``username``, ``password``; ``ca`` as in `web.Camera`.
    There is no timeout: the parent has the deadline."""

    def __init__(self, url: str, username: str, password: str, ca: str = "") -> None:
        self._asked = (url, username, password, ca)
        self._answer: Any = None
        self._boundary = b""
        self._part = b""
        os.environ["OPENCV_LOG_LEVEL"] = "OFF"

    def open(self) -> Opened:
        """Ask for the stream. Raises SourceLost."""
        self._answer = Camera(*self._asked).ask()
        kind = self._answer.headers.get_content_type()
        boundary = self._answer.headers.get_param("boundary")
        if not kind.startswith("multipart/") or not boundary:
            raise SourceLost(
                f"the address gives {kind}, not a Motion JPEG stream (multipart/x-mixed-replace)",
                remedy="Look up the address of the camera's MJPEG stream in its manual.",
            )
        # Some cameras write the dashes before a boundary into its name already.
        self._boundary = str(boundary).strip('" ').lstrip("-").encode("latin-1", "replace")
        return Opened(0.0, "Motion JPEG")

    def grab(self) -> None:
        """Wait for the next part. Raises SourceLost."""
        try:
            self._part = self._next_part()
        except FAILURES as error:
            raise SourceLost(told(error)) from error

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """uint8 (height, width, 3) BGR. Raises InputError for a broken one."""
        del into
        return jpeg.decode(self._part)

    def close(self) -> None:
        """Disconnect."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def _next_part(self) -> bytes:
        """The body of the next part; RFC 2046, section 5.1."""
        while True:
            line = self._line()
            if line.startswith(b"--") and line.lstrip(b"-").startswith(self._boundary):
                break
        length = -1
        for _ in range(_HEADERS):
            line = self._line()
            if not line:
                break
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                length = int(value)
        if length > jpeg.LONGEST:
            raise ValueError(f"a part of {length} bytes")
        return self._exactly(length) if length >= 0 else self._until_end()

    def _line(self) -> bytes:
        line: bytes = self._answer.readline(_LONGEST_LINE)
        if not line:
            raise ConnectionError("the camera has closed the connection")
        return line.strip()

    def _exactly(self, length: int) -> bytes:
        data: bytes = self._answer.read(length)
        if len(data) < length:
            raise ConnectionError("the camera has closed the connection")
        return data

    def _until_end(self) -> bytes:
        """A part without a length: up to the end marker of its JPEG."""
        data = bytearray()
        while True:
            line: bytes = self._answer.readline(_LONGEST_LINE)
            if not line:
                raise ConnectionError("the camera has closed the connection")
            data += line
            if jpeg.END in data[-len(line) - 1 :]:
                return bytes(data[: data.rindex(jpeg.END) + 2])
            if len(data) > jpeg.LONGEST:
                raise ValueError("a part without an end")
