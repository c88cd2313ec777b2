"""A camera at the machine, by OpenCV's V4L2. Runs in a child (`capture.child`)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.capture.child import Opened
from edgeagent.capture.devices import Camera, Devices
from edgeagent.errors import SourceLost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SELECT_S = 4
"""OpenCV waits this long for a frame; some versions then give the last one again."""
_LOOK_S = 1.0
_SMALL = 640 * 480


class V4l2Decoder:
    """Args:
    key: name of the setting, for errors.
    device, size, format: as configured.
    root: where the devices are.
    """

    def __init__(
        self, key: str, device: str, size: list[int] | None, format: str, root: str = "/"
    ) -> None:
        self._key = key
        self._device = device
        self._size = size
        self._format = format
        self._root = root
        self._video: Any = None
        self._path = ""
        self._identity: tuple[int, int] = (0, 0)
        self._looked = 0.0
        os.environ["OPENCV_LOG_LEVEL"] = "OFF"
        os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(_SELECT_S)

    def devices(self) -> Devices:
        """The machine's devices."""
        return Devices(self._root)

    def video(self, path: str, settings: list[int]) -> Any:
        """An opened `cv2.VideoCapture`, or one that is not."""
        import cv2

        return cv2.VideoCapture(path, cv2.CAP_V4L2, settings)

    def open(self) -> Opened:
        """Find the camera, open it, agree on format and size.

        Raises:
            ConfigError, NotPermitted, Busy, SourceLost: as `Devices.choose`.
        """
        import cv2

        devices = self.devices()
        camera = devices.choose(self._device, self._key)
        self._path = camera.path
        place = str(devices.place(camera.path))
        self._video = video = self.video(place, self._settings(camera))
        if not video.isOpened():
            if devices.holders(camera.path):
                raise devices.busy(camera.path)
            raise SourceLost(f"{camera.path}: {camera.card} does not start")
        self._identity = self._identify(place)
        width = int(video.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        rate_hz = float(video.get(cv2.CAP_PROP_FPS))
        code = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
        note = f"{camera.card}, {width}x{height} {code}, {rate_hz:g} fps"
        if self._size and (width, height) != tuple(self._size):
            note += f" ({self._size[0]}x{self._size[1]} was asked for)"
        return Opened(rate_hz if 0.01 <= rate_hz <= 1000 else 0.0, note)

    def grab(self) -> None:
        """Wait for the next picture. Raises SourceLost, also when the camera is unplugged
        and the driver goes on to give its last picture."""
        began = time.monotonic()
        done = self._video.grab()
        now = time.monotonic()
        if now - began >= 0.8 * _SELECT_S:
            raise SourceLost(f"{self._path}: gives no pictures any more")
        if not done or now - self._looked >= _LOOK_S:
            self._looked = now
            place = str(self.devices().place(self._path))
            if self._identify(place) != self._identity:
                raise SourceLost(f"{self._path}: the camera was unplugged")
        if not done:
            raise SourceLost(f"{self._path}: the camera has stopped")

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """uint8 (height, width, 3) BGR. Raises SourceLost."""
        done, pixels = self._video.retrieve(into)
        if not done or pixels is None:
            raise SourceLost(f"{self._path}: a picture can't be decoded")
        decoded: NDArray[np.uint8] = pixels
        return decoded

    def close(self) -> None:
        """Let go of the camera."""
        video, self._video = self._video, None
        if video is not None:
            video.release()

    def _settings(self, camera: Camera) -> list[int]:
        """Format before size: drivers offer sizes by format. Above VGA, USB 2 carries few
        uncompressed pictures a second, so there MJPG is taken where it exists."""
        import cv2

        settings: list[int] = []
        code = self._format
        large = self._size is None or self._size[0] * self._size[1] > _SMALL
        if code == "auto":
            code = "MJPG" if large and "MJPG" in camera.formats else ""
        if code:
            settings += [cv2.CAP_PROP_FOURCC, int.from_bytes(code.encode(), "little")]
        if self._size:
            settings += [cv2.CAP_PROP_FRAME_WIDTH, self._size[0]]
            settings += [cv2.CAP_PROP_FRAME_HEIGHT, self._size[1]]
        return settings

    @staticmethod
    def _identify(place: str) -> tuple[int, int]:
        """Which device stands at a path: a number can go to another camera."""
        try:
            status = Path(place).stat()
        except OSError:
            return (0, 0)
        return (status.st_ino, status.st_rdev)
