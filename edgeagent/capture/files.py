"""Pictures and videos from files: nothing is lost, and a broken one does not end the rest."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.capture import opencv
from edgeagent.capture.pictures import MOST_PIXELS, SUFFIXES, read_picture
from edgeagent.capture.source import PICTURES, Tally, Wanted
from edgeagent.errors import EdgeAgentError, InputError, NotFound, NotPermitted, SourceEnded
from edgeagent.types import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeagent.config.model import ImagesConfig, VideoConfig

_FAULTS = 8
"""Reads that may fail in a row before a video counts as ended."""
_DIGITS = re.compile(r"(\d+)")


def natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key that puts ``2.png`` before ``10.png``."""
    parts = _DIGITS.split(str(path))
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def picture_files(path: str) -> list[Path]:
    """The pictures that ``path`` (a file, a folder or a glob) means, in natural order.

    Raises:
        NotFound: there is nothing; the text says what was looked for.
    """
    place = Path(path)
    if place.is_dir():
        files = [file for file in place.iterdir() if file.suffix.lower() in SUFFIXES]
        if not files:
            kinds = " ".join(sorted(SUFFIXES))
            raise NotFound(f"{path}: the folder has no pictures (looked for {kinds})")
    elif place.exists():
        files = [place]
    else:
        files = [Path(name) for name in glob.glob(path, recursive=True)]  # noqa: PTH207
        files = [file for file in files if file.is_file()]
        if not files:
            if glob.has_magic(path):
                raise NotFound(f"{path}: no file matches")
            raise NotFound(f"{path}: there is no such file or folder")
    return sorted(files, key=natural)


class ImagesSource:
    """A picture, a folder or a glob; ``fps`` sets a pace, else as fast as they are taken."""

    live = False

    def __init__(self, name: str, config: ImagesConfig, wanted: Wanted = PICTURES) -> None:
        del wanted
        self.name = name
        self.paced = config.fps is not None
        self.position_s = 0.0
        self.tally = Tally(rate_hz=config.fps or 0.0)
        self._config = config
        self._files: Iterator[Path] = iter(())
        self._number = 0
        self._usable = 0
        self._tried = 0

    def open(self) -> None:
        """List the files. Raises NotFound."""
        files = picture_files(self._config.path)
        self._files = iter(files)
        self._usable = 0
        self.tally.note = f"{len(files)} picture{'s' if len(files) != 1 else ''}"

    def read(self) -> Frame:
        """Decode the next one.

        Raises:
            InputError: this file is unusable; the next call goes on with the next one.
            SourceEnded: that was the last.
        """
        file = next(self._files, None)
        if file is None:
            # A round without one usable picture would spin for ever.
            if not self._config.loop or not self._usable:
                raise SourceEnded
            self.open()
            return self.read()
        try:
            pixels = read_picture(file)
        except EdgeAgentError as error:
            raise InputError(str(error), remedy=error.remedy) from error
        self._usable += 1
        # Pictures without a pace are a second apart: as good as any, and always the same.
        self.position_s = self._tried / (self._config.fps or 1.0)
        self._tried += 1
        self._number += 1
        return _frame(self.name, self._number, pixels, str(file))

    def close(self) -> None:
        """Forget the rest."""
        self._files = iter(())


class VideoSource:
    """A video file, decoded by the FFmpeg inside OpenCV with one thread."""

    live = False

    def __init__(self, name: str, config: VideoConfig, wanted: Wanted = PICTURES) -> None:
        del wanted
        self.name = name
        self.paced = config.pace == "true"
        self.position_s = 0.0
        self.tally = Tally()
        self._config = config
        self._video: Any = None
        self._cv2: Any = None
        self._number = 0
        self._round = 0
        """Frames of this pass through the file."""
        self._expected = 0
        self._rate_hz = 0.0
        self._start_s = 0.0
        """Position at which this pass began."""
        self._told = False
        self._fault: int | None = None
        """Pictures of this pass that were read before the first fault."""

    def open(self) -> None:
        """Open the file.

        Raises:
            NotFound, NotPermitted: no such file; it may not be read.
            InputError: it is no video, is empty, or is cut off before its first picture.
        """
        path = Path(self._config.path)
        _check_file(path)
        cv2 = self._cv2 = opencv.load()
        options = [cv2.CAP_PROP_N_THREADS, 1]
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, options)
        if not video.isOpened():
            raise InputError(
                f"{path}: is no video that can be read, or its index is cut off",
                remedy="Check it with: ffprobe FILE. Copy it again if it is incomplete.",
            )
        width, height = (int(video.get(key)) for key in (3, 4))
        if width * height > MOST_PIXELS:
            video.release()
            raise InputError(f"{path}: {width}x{height} pixels are more than is allowed")
        rate = float(video.get(cv2.CAP_PROP_FPS))
        self._rate_hz = rate if 0.01 <= rate <= 1000 else 25.0
        self._expected = max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._video, self._round, self._told, self._fault = video, 0, False, None
        self.tally.rate_hz = self._rate_hz if self.paced else 0.0
        self.tally.note = f"{width}x{height}, {self._rate_hz:g} fps, {self._expected} frames"

    def read(self) -> Frame:
        """The next picture.

        Raises:
            InputError: the file is broken and the rest of it can't be read (told once).
            SourceEnded: its end.
        """
        video = self._video
        if video is None:
            raise SourceEnded
        pixels = self._next(video)
        if pixels is None:
            self._check_complete()
            if not self._config.loop or not self._round:
                raise SourceEnded
            self._again()
            return self.read()
        stamp = float(video.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000.0
        # Raw streams carry no time stamps: count instead.
        count = self._round / self._rate_hz
        own = stamp if stamp > 0.0 or self._round == 0 else count
        self.position_s = max(self.position_s, self._start_s + own)
        self._round += 1
        self._number += 1
        return _frame(self.name, self._number, pixels, f"{self._config.path}#{self._round}")

    def close(self) -> None:
        """Close the file."""
        video, self._video = self._video, None
        if video is not None:
            video.release()

    def _next(self, video: Any) -> NDArray[np.uint8] | None:
        """The next picture; over damaged ones, of which there are several in a row where a
        video is broken in the middle. None at the end."""
        for _ in range(_FAULTS):
            done, pixels = video.read()
            if done and pixels is not None:
                decoded: NDArray[np.uint8] = pixels
                return decoded
            if self._fault is None:
                self._fault = self._round
        return None

    def _again(self) -> None:
        # Seeking to 0 is inexact with some containers; opening anew never is.
        self.close()
        self._start_s = self.position_s + 1.0 / self._rate_hz
        self.open()

    def _check_complete(self) -> None:
        """Raise InputError, once a pass, where pictures are missing at the end.

        Containers count their frames exactly or by duration × rate: two percent of leeway.
        """
        missing = self._expected - self._round
        if self._told or (self._round and missing <= max(3, 0.02 * self._expected)):
            return
        self._told = True
        if not self._round:
            raise InputError(f"{self._config.path}: not one picture of it can be decoded")
        fault = self._round if self._fault is None else self._fault
        raise InputError(
            f"{self._config.path}: broken or cut off after frame {fault} of about "
            f"{self._expected} ({fault / self._rate_hz:.1f} s): {missing} can't be read",
            remedy="Copy the file again, or repair it: ffmpeg -i FILE -c copy NEW",
        )


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: there is no such file") from error
    except PermissionError as error:
        raise NotPermitted(f"{path}: may not be read") from error
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from error
    if empty:
        raise InputError(f"{path}: the file is empty (0 bytes)", remedy="Copy it again.")


def _frame(source: str, number: int, pixels: NDArray[np.uint8], origin: str) -> Frame:
    return Frame(source, number, pixels, clock.wall_ns(), clock.mono_ms(), origin)
