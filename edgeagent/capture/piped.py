"""Pictures that another program writes to its standard output. Runs in a child (`capture.child`).

The program is the child's child: it is ended with it, also where the child is killed, and what it
prints to stderr is heard by the parent like the child's own words.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from edgeagent.capture import jpeg
from edgeagent.capture.child import Opened
from edgeagent.capture.ffmpeg import FfmpegDecoder
from edgeagent.errors import NotFound, NotPermitted, SourceLost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PDEATHSIG = 1
_CHUNK = 1 << 20
_F_SETPIPE_SZ = 1031
_TERM_S = 1.0
# Format → bytes of a picture by its number of pixels (numerator, denominator), cv2's conversion.
RAW: dict[str, tuple[int, int, str]] = {
    "bgr24": (3, 1, ""),
    "rgb24": (3, 1, "COLOR_RGB2BGR"),
    "gray": (1, 1, ""),
    "yuyv": (2, 1, "COLOR_YUV2BGR_YUYV"),
    "yuv420": (3, 2, "COLOR_YUV2BGR_I420"),
    "nv12": (3, 2, "COLOR_YUV2BGR_NV12"),
}


class Program:
    """A running program whose output is read.

    Raises:
        NotFound, NotPermitted, SourceLost: it can't be started.
    """

    def __init__(self, command: list[str]) -> None:
        # Loaded before the fork, after which nothing may be loaded.
        libc = ctypes.CDLL(None)
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=lambda: libc.prctl(_PDEATHSIG, signal.SIGKILL),
            )
        except FileNotFoundError as error:
            raise NotFound(
                f"there is no program {command[0]!r}",
                remedy="Install it, or write its whole path.",
            ) from error
        except PermissionError as error:
            raise NotPermitted(f"{command[0]} may not be run: {error.strerror}") from error
        except OSError as error:
            raise SourceLost(f"{command[0]} does not start: {error.strerror}") from error
        assert self._child.stdout is not None
        self.fd = self._child.stdout.fileno()

    def wide(self) -> None:
        """Let the pipe hold more, where the system allows it."""
        import fcntl

        try:
            fcntl.fcntl(self.fd, _F_SETPIPE_SZ, _CHUNK)
        except OSError:
            return  # the limit for users without privileges may be lower: it is as good as it was

    def more(self) -> bool:
        """Whether output waits to be read."""
        return bool(select.select([self.fd], [], [], 0)[0])

    def end(self) -> str:
        """How it ended, in plain words; for when its output has ended."""
        try:
            code = self._child.wait(_TERM_S)
        except subprocess.TimeoutExpired:
            return "the command has closed its output"
        if code < 0:
            return f"the command was ended by {signal.Signals(-code).name}"
        return f"the command ended with code {code}"

    def stop(self) -> None:
        """End it and all that it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._child.pid, number)
            except ProcessLookupError:
                break
            try:
                self._child.wait(_TERM_S)
                break
            except subprocess.TimeoutExpired:
                continue
        if self._child.stdout is not None:
            self._child.stdout.close()


class RawPipe:
    """Args: ``command``; ``format`` of `RAW`; ``size`` of the pictures (width, height)."""

    def __init__(self, command: list[str], format: str, size: list[int]) -> None:
        self._command = command
        self._format = format
        self._width, self._height = size
        times, over, self._conversion = RAW[format]
        self._bytes = self._width * self._height * times // over
        self._program: Program | None = None
        self._data = bytearray(self._bytes)
        os.environ["OPENCV_LOG_LEVEL"] = "OFF"

    def open(self) -> Opened:
        """Start the command. Raises as `Program`."""
        self._program = Program(self._command)
        self._program.wide()
        return Opened(0.0, f"{self._width}x{self._height} {self._format}")

    def grab(self) -> None:
        """Wait for the next whole picture. Raises SourceLost."""
        program = _running(self._program)
        view = memoryview(self._data)
        got = 0
        while got < self._bytes:
            count = os.readv(program.fd, [view[got:]])
            if not count:
                raise SourceLost(program.end())
            got += count

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """uint8 (height, width, 3) BGR, or (height, width) for ``gray``."""
        import numpy as np

        flat = np.frombuffer(self._data, np.uint8)
        if not self._conversion:
            shape = (self._height, self._width, 3)[: 2 if self._format == "gray" else 3]
            return flat.reshape(shape)
        import cv2

        packed = flat.reshape(self._rows)
        code = getattr(cv2, self._conversion)
        fits = into is not None and into.shape == (self._height, self._width, 3)
        return np.asarray(cv2.cvtColor(packed, code, into if fits else None), np.uint8)

    @property
    def _rows(self) -> tuple[int, ...]:
        if self._format == "rgb24":
            return (self._height, self._width, 3)
        if self._format == "yuyv":
            return (self._height, self._width, 2)
        return (self._height * 3 // 2, self._width)

    def close(self) -> None:
        """End the command."""
        program, self._program = self._program, None
        if program is not None:
            program.stop()


class JpegPipe:
    """JPEG pictures one after the other. Args: ``command``."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._program: Program | None = None
        self._splitter = jpeg.Splitter()
        self._picture = b""
        self.skipped = 0
        os.environ["OPENCV_LOG_LEVEL"] = "OFF"

    def open(self) -> Opened:
        """Start the command. Raises as `Program`."""
        self._program = Program(self._command)
        self._program.wide()
        return Opened(0.0, "Motion JPEG")

    def grab(self) -> None:
        """Wait for the newest picture. Raises SourceLost, InputError."""
        program = _running(self._program)
        found: list[bytes] = []
        while not found or program.more():
            data = os.read(program.fd, _CHUNK)
            if not data:
                if found:
                    break
                raise SourceLost(program.end())
            try:
                found += self._splitter.push(data)
            except ValueError as error:
                raise SourceLost(
                    f"what the command writes are no JPEG pictures: {error}"
                ) from error
            if len(found) > 1:
                # What waited behind it is newer.
                self.skipped += len(found) - 1
                del found[:-1]
        self._picture = found[-1]

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """uint8 (height, width, 3) BGR. Raises InputError for a broken one."""
        del into
        return jpeg.decode(self._picture)

    def close(self) -> None:
        """End the command."""
        program, self._program = self._program, None
        if program is not None:
            program.stop()


class VideoPipe(FfmpegDecoder):
    """H.264 or H.265 as a bare stream. Args: ``command``, ``timeout_s`` to the first picture."""

    def __init__(self, command: list[str], timeout_s: float) -> None:
        # Half a megabyte of a small stream is a long time: the analysed duration ends it sooner.
        options = {"analyzeduration": "500000", "probesize": "500000"}
        super().__init__("", options, timeout_s)
        self._command = command
        self._program: Program | None = None

    def open(self) -> Opened:
        """Start the command and find the first picture. Raises as `Program`."""
        self._program = Program(self._command)
        self._url = f"pipe:{self._program.fd}"
        try:
            opened = super().open()
        except SourceLost as error:
            raise SourceLost(f"it writes no video: {self._program.end()}") from error
        # A bare stream has no rate of its own; the one that is told is made up.
        return Opened(0.0, opened.note.partition(",")[0])

    def grab(self) -> None:
        """Wait for the next picture. Raises SourceLost."""
        try:
            super().grab()
        except SourceLost as error:
            raise SourceLost(_running(self._program).end()) from error

    def close(self) -> None:
        """End the command."""
        super().close()
        program, self._program = self._program, None
        if program is not None:
            program.stop()


def _running(program: Program | None) -> Any:
    if program is None:
        raise SourceLost("the command does not run")
    return program
