"""Motion JPEG over HTTP (``multipart/x-mixed-replace``). Runs in a child (`capture.child`).

Read by hand rather than by FFmpeg: pictures that are not wanted are not decoded, a broken one
does not end the stream, and the server's answer (401, 404, a web page) can be told.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from edgeagent.capture.child import Opened
from edgeagent.errors import InputError, SourceLost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_LINE = 8192
_LONGEST_PICTURE = 32 << 20
_HEADERS = 64
_ANSWERS = {
    401: "the camera refuses the user name or password (401)",
    403: "the camera forbids it for this user (403)",
    404: "the camera has no such address (404)",
    503: "the camera has no free connection (503)",
}


class MultipartDecoder:
    """Args: ``url`` without credentials, ``username``, ``password``. There is no timeout: the
    parent has the deadline."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._url = url
        self._username = username
        self._password = password
        self._answer: Any = None
        self._boundary = b""
        self._part = b""
        os.environ["OPENCV_LOG_LEVEL"] = "OFF"

    def open(self) -> Opened:
        """Ask for the stream. Raises SourceLost."""
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        if self._username or self._password:
            passwords.add_password(None, self._url, self._username, self._password)
        opener = urllib.request.build_opener(
            # Cameras are near; a proxy of the environment is for the world outside.
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPBasicAuthHandler(passwords),
            urllib.request.HTTPDigestAuthHandler(passwords),
        )
        try:
            self._answer = opener.open(self._url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceLost(_reason(error)) from error
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
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceLost(_reason(error)) from error

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """uint8 (height, width, 3) BGR. Raises InputError for a broken one."""
        del into
        import cv2
        import numpy as np

        # A picture that lacks its end would be half grey, which is worse than none.
        if b"\xff\xd9" not in self._part[-64:]:
            raise InputError(f"a picture of {len(self._part)} bytes is cut off")
        pixels: Any = None
        with contextlib.suppress(cv2.error):
            pixels = cv2.imdecode(np.frombuffer(self._part, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise InputError(f"a picture of {len(self._part)} bytes can't be decoded")
        decoded: NDArray[np.uint8] = pixels
        return decoded

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
        if length > _LONGEST_PICTURE:
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
            if b"\xff\xd9" in data[-len(line) - 1 :]:
                return bytes(data[: data.rindex(b"\xff\xd9") + 2])
            if len(data) > _LONGEST_PICTURE:
                raise ValueError("a part without an end")


def _reason(error: Exception) -> str:
    """The cause in plain words."""
    if isinstance(error, urllib.error.HTTPError):
        return _ANSWERS.get(error.code, f"the camera answers {error.code} {error.reason}")
    cause: object = error
    if isinstance(error, urllib.error.URLError):
        cause = error.reason
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the camera's certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, socket.gaierror):
        return f"its name can't be resolved: {cause.strerror}"
    if isinstance(cause, TimeoutError):
        return "the camera does not answer"
    if isinstance(cause, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return str(cause)
