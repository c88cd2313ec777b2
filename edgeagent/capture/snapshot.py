"""Single pictures, asked for again and again over HTTP. Runs in a child (`capture.child`)."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from edgeagent.capture import jpeg
from edgeagent.capture.child import Opened
from edgeagent.capture.web import FAILURES, Camera, told
from edgeagent.errors import SourceLost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SnapshotDecoder:
    """Args: ``every_s`` between two questions; the others as in `web.Camera`."""

    def __init__(
        self, url: str, username: str, password: str, ca: str, timeout_s: float, every_s: float
    ) -> None:
        self._asked = (url, username, password, ca, timeout_s)
        self._every_s = every_s
        self._camera: Camera | None = None
        self._due = 0.0
        self._data = b""
        os.environ["OPENCV_LOG_LEVEL"] = "OFF"

    def open(self) -> Opened:
        """Ask once. Raises SourceLost."""
        self._camera = Camera(*self._asked)
        self._data = self._ask()
        self._due = time.monotonic()
        return Opened(1.0 / self._every_s, f"a snapshot every {self._every_s:g} s")

    def grab(self) -> None:
        """Wait until it is time, and ask. Raises SourceLost."""
        wait_s = self._due - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        if not self._data or wait_s > 0:
            self._data = self._ask()
        now = time.monotonic()
        # A question that took long is not caught up with.
        self._due = self._due + self._every_s
        if self._due < now:
            self._due = now + self._every_s

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """uint8 (height, width, 3) BGR. Raises InputError for a broken one."""
        del into
        data, self._data = self._data, b""
        return jpeg.decode(data)

    def close(self) -> None:
        """There is nothing that stays open."""
        self._camera = None

    def _ask(self) -> bytes:
        if self._camera is None:
            raise SourceLost("not open")
        with self._camera.ask() as answer:
            kind = answer.headers.get_content_type()
            if not kind.startswith(("image/", "application/octet-stream")):
                raise SourceLost(
                    f"the address gives {kind}, not a picture",
                    remedy="Look up the address of the camera's snapshot in its manual.",
                )
            try:
                data: bytes = answer.read(jpeg.LONGEST + 1)
            except FAILURES as error:
                raise SourceLost(told(error)) from error
        if len(data) > jpeg.LONGEST:
            raise SourceLost(f"a snapshot of more than {jpeg.LONGEST >> 20} MiB")
        return data
