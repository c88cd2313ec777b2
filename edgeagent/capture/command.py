"""Pictures of a program: ``rpicam-vid … -o -``, ``gst-launch-1.0 … ! fdsink``, ffmpeg.

The way to cameras that no library here can open (CSI cameras on libcamera, GigE, hardware
decoders), without any of their libraries. Decoding happens in a child; see `capture.piped`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgeagent.capture.decoder import DecoderSource
from edgeagent.capture.source import PICTURES, Wanted
from edgeagent.config.units import seconds
from edgeagent.errors import ConfigError

if TYPE_CHECKING:
    from edgeagent.config.model import CommandConfig

_DAMAGE = re.compile(
    r"error while decoding|concealing|corrupt|Invalid NAL|Error splitting|non-existing PPS"
)
_NOT_ITS_OWN = re.compile(r"^\[OPENCV:|^\[ERROR:|^\[ WARN:|^VIDEOIO")


def explain(lines: list[str]) -> str:
    """What the program complained of last; empty = nothing."""
    own = [line.strip() for line in lines if line.strip() and not _NOT_ITS_OWN.match(line)]
    return f"it says: {own[-1][:200]}" if own else ""


class CommandSource(DecoderSource):
    """A program that writes pictures to its standard output; started anew whenever it ends."""

    verified = False
    """Commands for hardware (rpicam-vid, v4l2h264dec) were not tried by this build."""

    def __init__(self, name: str, config: CommandConfig, wanted: Wanted = PICTURES) -> None:
        del wanted
        self._config = config
        self._timeout_s = seconds(config.timeout)
        kind = config.format
        if kind not in ("mjpeg", "h264", "h265") and config.size is None:
            raise ConfigError(
                f"sources.{name}.size: {kind} pictures have no size of their own",
                remedy="Write size = [width, height], as the command gives them.",
            )
        decoder = {"mjpeg": "JpegPipe", "h264": "VideoPipe", "h265": "VideoPipe"}
        super().__init__(
            name,
            f"edgeagent.capture.piped:{decoder.get(kind, 'RawPipe')}",
            origin=config.command[0],
            fps=config.fps,
            queue=config.queue,
            open_s=self._timeout_s,
            explain=explain,
            complaint=_DAMAGE,
        )

    def params(self) -> dict[str, Any]:
        """What the decoder is told."""
        config = self._config
        if config.format == "mjpeg":
            return {"command": config.command}
        if config.format in ("h264", "h265"):
            return {"command": config.command, "timeout_s": self._timeout_s}
        return {"command": config.command, "format": config.format, "size": list(config.size or ())}
