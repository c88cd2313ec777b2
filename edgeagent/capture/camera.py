"""Cameras at the machine (V4L2). Decoding happens in a child; see `capture.v4l2`.

What this build could not be tried with: real hardware. It is tested up to the system calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeagent.capture.decoder import DecoderSource
from edgeagent.capture.source import PICTURES, Wanted
from edgeagent.errors import ConfigError, SourceLost

if TYPE_CHECKING:
    from edgeagent.config.model import CameraConfig

_OPEN_S = 10.0
"""Some cameras take seconds to wake up."""


class CameraSource(DecoderSource):
    """A camera named by what stays (``/dev/v4l/by-id/…``), found anew at each opening."""

    verified = False
    """No V4L2 device was there to try this with: tested up to the system call."""

    def __init__(self, name: str, config: CameraConfig, wanted: Wanted = PICTURES) -> None:
        del wanted
        self._config = config
        super().__init__(
            name,
            "edgeagent.capture.v4l2:V4l2Decoder",
            origin=config.device or "camera",
            fps=config.fps,
            queue=config.queue,
            open_s=_OPEN_S,
        )
        self._worked = False

    def params(self) -> dict[str, Any]:
        """What the decoder is told."""
        return {
            "key": f"sources.{self.name}.device",
            "device": self._config.device,
            "size": list(self._config.size) if self._config.size else None,
            "format": self._config.format,
        }

    def open(self) -> None:
        """Open the camera.

        Raises:
            ConfigError: it is not clear which one is meant, at the first opening. Later a
                second camera has been plugged in, which may go away again: SourceLost.
            NotPermitted, Busy, SourceLost: it can't be had.
        """
        try:
            super().open()
        except ConfigError as error:
            if self._worked:
                raise SourceLost(str(error), remedy=error.remedy) from error
            raise
        self._worked = True
