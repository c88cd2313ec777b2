"""The clip with moments of glare drawn into it: the detector finds no face there, though one is
there for whoever turns up the contrast. So the hold-over of redaction has something to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PERIOD = 120
"""Frames from one glare to the next; the clip itself is as long."""
BLINDED = range(60, 72)
"""Of each period, the frames with glare: 0.4 s."""
_CONTRAST, _BRIGHTNESS = 0.04, 225.0
"""What is left of the contrast, around which brightness."""
_FLAT = 8.0
"""Standard deviation of a picture's pixels below which it is one of those frames."""


def draw_glare(clip: Path, target: Path) -> None:
    """Write the clip anew, as Motion JPEG, with glare. Raises InputError."""
    import cv2

    writer: cv2.VideoWriter | None = None
    for number, (frame, rate_hz) in enumerate(_frames(clip)):
        if writer is None:
            size = (frame.shape[1], frame.shape[0])
            code = cv2.VideoWriter.fourcc(*"MJPG")
            writer = cv2.VideoWriter(str(target), cv2.CAP_OPENCV_MJPEG, code, rate_hz, size)
            writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 98)
        if number % PERIOD in BLINDED:
            frame = cv2.convertScaleAbs(
                frame, alpha=_CONTRAST, beta=_BRIGHTNESS - 128 * _CONTRAST
            ).astype(frame.dtype)
        writer.write(frame)
    if writer is None:
        raise InputError(f"{clip}: no picture in it can be read")
    writer.release()


def found_in(clips: Sequence[Path]) -> tuple[bytes, int] | None:
    """A frame with glare out of the clips of events, its contrast turned up, as JPEG, and how many
    such frames they hold; None without any."""
    import cv2
    import numpy as np

    from edgeagent.decide.picture import jpeg

    frames = [frame for clip in clips for frame, _ in _frames(clip) if frame.std() < _FLAT]
    if not frames:
        return None
    middle = frames[len(frames) // 2].astype(np.float32)
    clear = (middle - middle.mean()) / max(float(middle.std()), 1e-3) * 50.0 + 128.0
    large = cv2.resize(np.clip(clear, 0, 255).astype(np.uint8), None, fx=2, fy=2)
    return jpeg(large.astype(np.uint8)), len(frames)


def _frames(clip: Path) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """The pictures of a clip, with its rate."""
    import cv2
    import numpy as np

    reader = cv2.VideoCapture(str(clip))
    rate_hz = reader.get(cv2.CAP_PROP_FPS) or 30.0
    try:
        while True:
            more, frame = reader.read()
            if not more:
                return
            yield frame.astype(np.uint8, copy=False), rate_hz
    finally:
        reader.release()
