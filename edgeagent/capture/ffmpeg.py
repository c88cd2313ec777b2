"""A stream, decoded by the FFmpeg inside OpenCV. Runs in a child (`capture.child`).

OpenCV gives no cause when opening fails; FFmpeg prints it, and the parent reads that. Its
options are process-wide environment variables, which is one more reason for a child per
stream. Timeouts hold only when they are given to the constructor.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

from edgeagent.capture.child import Opened
from edgeagent.errors import SourceLost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_READ_S = 3600
"""Practically never: the parent has the deadline. When FFmpeg's own one passes, it first gives
old pictures that were left in the decoder, which nobody should see."""


class FfmpegDecoder:
    """Args: ``url`` with credentials, ``options`` of FFmpeg, ``timeout_s`` for opening."""

    def __init__(self, url: str, options: dict[str, str], timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._video: Any = None
        self._cv2: Any = None
        self.stamp_s: float | None = None
        # Level 16: errors. They carry no address with credentials, warnings do.
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "16"
        os.environ["OPENCV_LOG_LEVEL"] = "OFF"
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "|".join(
            f"{key};{value}" for key, value in options.items()
        )
        _print_at_once()

    def open(self) -> Opened:
        """Connect and find the first picture. Raises SourceLost."""
        import cv2

        self._cv2 = cv2
        # One thread: each further one delays pictures by one frame time.
        self._video = video = cv2.VideoCapture(
            self._url,
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1000 * self._timeout_s),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC, 1000 * _READ_S,
                cv2.CAP_PROP_N_THREADS, 1,
            ],
        )  # fmt: skip
        if not video.isOpened():
            raise SourceLost("the stream can't be opened")
        width, height = (int(video.get(key)) for key in (3, 4))
        rate_hz = float(video.get(cv2.CAP_PROP_FPS))
        if not 0.01 <= rate_hz <= 240.0:
            return Opened(0.0, f"{width}x{height}")
        return Opened(rate_hz, f"{width}x{height}, {rate_hz:g} fps")

    def grab(self) -> None:
        """Wait for the next picture. Raises SourceLost."""
        if not self._video.grab():
            raise SourceLost("the stream has ended or broken off")
        stamp_ms = float(self._video.get(self._cv2.CAP_PROP_POS_MSEC))
        # A stream without stamps has 0 for ever.
        if stamp_ms > 0 or self.stamp_s is not None:
            self.stamp_s = stamp_ms / 1e3

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """uint8 (height, width, 3) BGR. Raises SourceLost."""
        done, pixels = self._video.retrieve(into)
        if not done or pixels is None:
            raise SourceLost("a picture can't be decoded")
        decoded: NDArray[np.uint8] = pixels
        return decoded

    def close(self) -> None:
        """Disconnect."""
        video, self._video = self._video, None
        if video is not None:
            video.release()


def _print_at_once() -> None:
    """OpenCV prints FFmpeg's messages by C's stdout, which keeps them back in a pipe."""
    libc = ctypes.CDLL(None)
    no_buffer = 2
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, no_buffer, 0)
