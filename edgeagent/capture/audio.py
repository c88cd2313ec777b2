"""Sound from files (WAV, FLAC), one channel of it, at the rate that the model wants."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeagent import clock
from edgeagent.capture.level import Gate
from edgeagent.capture.resample import Polyphase
from edgeagent.capture.source import PICTURES, Source, Tally, Wanted
from edgeagent.capture.wav import SoundFile, WavFile
from edgeagent.capture.windows import Cutter
from edgeagent.errors import ConfigError, InputError, SourceEnded
from edgeagent.types import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.config.model import AudioConfig

_BLOCK_S = 0.5
_DEFAULT_S = 1.0
"""Length of a window where no model says it."""


def open_audio(name: str, config: AudioConfig, wanted: Wanted = PICTURES) -> Source:
    """The source of a configuration, not opened yet: a file or a microphone."""
    if config.device:
        from edgeagent.capture.microphone import MicrophoneSource

        return MicrophoneSource(name, config, wanted)
    return AudioSource(name, config, wanted)


class AudioSource:
    """Windows of sound, float32 (length, 1) in −1..1.

    A file shorter than one window is filled up with silence, as keyword models expect; what
    is left over behind the last window of a longer one is counted in ``tally.unused``.
    """

    live = False

    def __init__(self, name: str, config: AudioConfig, wanted: Wanted = PICTURES) -> None:
        self.name = name
        self.paced = config.pace == "true"
        self.position_s = 0.0
        self.tally = Tally()
        self._config = config
        self._wanted = wanted
        self._file: SoundFile | None = None
        self._gate = Gate(config.quiet, self.tally)
        self._resample: Polyphase | None = None
        self._cutter = Cutter(1)
        self._ready: deque[NDArray[np.float32]] = deque()
        self._rate_hz = 1.0
        self._channels = wanted.channels or (f"channel {config.channel}",)
        self._number = 0
        self._round = 0
        """Windows of this pass through the file."""
        self._start_s = 0.0
        self._finished = False

    def open(self) -> None:
        """Open the file. Raises NotFound, NotPermitted, InputError, ConfigError."""
        if len(self._channels) != 1:
            raise ConfigError(
                f"sources.{self.name}: sound has one channel, the model wants "
                f"{len(self._channels)} ({', '.join(self._channels)})"
            )
        file = opened(Path(self._config.path))
        layout = file.layout
        if self._config.channel >= layout.channels:
            file.close()
            raise ConfigError(
                f"sources.{self.name}.channel: {self._config.channel} does not exist: "
                f"{file.path} has {layout.channels} (0 is the first)"
            )
        self._file = file
        self._rate_hz = self._wanted.rate_hz or float(layout.rate_hz)
        same = abs(self._rate_hz - layout.rate_hz) < 1e-6 * layout.rate_hz
        self._resample = None if same else Polyphase(layout.rate_hz, self._rate_hz)
        length = self._wanted.length or round(_DEFAULT_S * self._rate_hz)
        self._cutter = Cutter(length, self._wanted.hop)
        self._ready.clear()
        self._round, self._finished = 0, False
        self.tally.rate_hz = self._rate_hz / self._cutter.hop if self.paced else 0.0
        self.tally.note = f"{layout.rate_hz} Hz, {layout.channels} ch, {layout.bits} bit"
        if not same:
            self.tally.note += f", resampled to {self._rate_hz:g} Hz"

    def read(self) -> Window:
        """The next window.

        Raises:
            InputError: the file is cut off (told once, at its end) or holds no samples.
            SourceEnded: the end of the file.
        """
        values = self._next()
        while not self._gate.opens(values, self._rate_hz):
            self._round += 1
            values = self._next()
        self._round += 1
        self._number += 1
        hop_s = self._cutter.hop / self._rate_hz
        # A window is complete when its last row has been heard.
        heard_s = (self._round - 1) * hop_s + self._cutter.length / self._rate_hz
        self.position_s = self._start_s + heard_s
        start_s = (self._round - 1) * hop_s
        origin = f"{self._config.path}@{start_s:.2f}s"
        return Window(
            self.name, self._number, values, self._rate_hz, self._channels,
            clock.wall_ns(), clock.mono_ms(), origin,
        )  # fmt: skip

    def _next(self) -> NDArray[np.float32]:
        while not self._ready:
            if self._file is None:
                raise SourceEnded
            if self._finished:
                self._end_of_file()
            else:
                self._fill(self._file)
        return self._ready.popleft()

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _fill(self, file: SoundFile) -> None:
        rows = file.read(max(1, round(_BLOCK_S * file.layout.rate_hz)))
        one = rows[:, self._config.channel : self._config.channel + 1]
        if len(rows):
            sound = one if self._resample is None else self._resample.push(one)
            self._ready.extend(self._cutter.push(numbers(sound)))
            return
        self._finished = True
        if self._resample is not None:
            self._ready.extend(self._cutter.push(numbers(self._resample.finish())))
        if not self._round and not self._ready:
            short = self._cutter.pad()
            if short is not None:
                self._ready.append(short)
        missing = file.missing_s
        if missing > 0:
            raise InputError(
                f"{file.path}: cut off: the last {missing:.2f} s that its header promises are "
                "missing"
            )

    def _end_of_file(self) -> None:
        self._cutter.break_off()
        self.tally.unused += self._cutter.unused
        self._start_s = self.position_s
        empty = not self._round
        self.close()
        if empty:
            raise InputError(f"{self._config.path}: has no samples")
        if not self._config.loop:
            raise SourceEnded
        self.open()


def opened(path: Path) -> SoundFile:
    """A file by what it begins with. Raises NotFound, NotPermitted, InputError, RuntimeMissing."""
    try:
        with path.open("rb") as stream:
            flac = stream.read(4) == b"fLaC"
    except OSError:
        flac = False  # the reader below tells it better
    if not flac:
        return WavFile(path)
    from edgeagent.capture.flac import FlacFile

    return FlacFile(path)


def numbers(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Float files may hold NaN or infinity: silence is the only value that does no harm
    there, as a click or a hole would."""
    return rows if np.isfinite(rows).all() else np.nan_to_num(rows, posinf=0.0, neginf=0.0)
