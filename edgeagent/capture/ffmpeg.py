"""A stream, decoded by the FFmpeg inside OpenCV. Runs in a child (`capture.child`).

OpenCV gives no cause when opening fails; FFmpeg prints it, and the parent reads that. Its
options are process-wide environment variables, which is one more reason for a child per
stream. Timeouts hold only when they are given to the constructor.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import TYPE_CHECKING, Any

from edgeagent.capture.child import Opened
from edgeagent.errors import SourceLost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STALLED = 0.8
"""A read that took this share of its timeout gives what was left in the decoder: an old
picture, and the stream stands still."""


class FfmpegDecoder:
    """Args: ``url`` with credentials, ``options`` of FFmpeg, ``timeout_s``."""

    def __init__(self, url: str, options: dict[str, str], timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._video: Any = None
        # Level 16: errors. They carry no address with credentials, warnings do.
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "16"
        os.environ["OPENCV_LOG_LEVEL"] = "OFF"
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "|".join(
            f"{key};{value}" for key, value in options.items()
        )
        _print_at_once()

    def open(self) -> Opened:
        """Connect and find the first picture. Raises SourceLost."""
        rate_hz = self._open(self._timeout_s)
        if 0.0 < rate_hz < 10.0 / self._timeout_s:
            # A picture every few seconds: the usual patience would end each session.
            self.close()
            self._timeout_s = 10.0 / rate_hz
            rate_hz = self._open(self._timeout_s)
        width, height = (int(self._video.get(key)) for key in (3, 4))
        rate = f", {rate_hz:g} fps" if rate_hz else ""
        return Opened(rate_hz, f"{width}x{height}{rate}")

    def grab(self) -> None:
        """Wait for the next picture. Raises SourceLost."""
        began = time.monotonic()
        done = self._video.grab()
        took = time.monotonic() - began
        if took >= _STALLED * self._timeout_s:
            raise SourceLost(f"the stream stands still for {took:.0f} s")
        if not done:
            raise SourceLost("the stream has ended or broken off")

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

    def _open(self, timeout_s: float) -> float:
        import cv2

        # One thread: each further one delays pictures by one frame time.
        video = cv2.VideoCapture(
            self._url,
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1000 * self._timeout_s),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1000 * timeout_s),
                cv2.CAP_PROP_N_THREADS, 1,
            ],
        )  # fmt: skip
        self._video = video
        if not video.isOpened():
            raise SourceLost("the stream can't be opened")
        rate_hz = float(video.get(cv2.CAP_PROP_FPS))
        return rate_hz if 0.01 <= rate_hz <= 240.0 else 0.0


def _print_at_once() -> None:
    """OpenCV prints FFmpeg's messages by C's stdout, which keeps them back in a pipe."""
    libc = ctypes.CDLL(None)
    no_buffer = 2
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, no_buffer, 0)
