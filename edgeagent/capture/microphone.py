"""A microphone at the machine, live: windows of one channel at the rate that the model wants."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from edgeagent import clock
from edgeagent.capture.level import Gate
from edgeagent.capture.recorder import FORMATS, Recorder
from edgeagent.capture.resample import Polyphase
from edgeagent.capture.source import PICTURES, Tally, Wanted
from edgeagent.capture.windows import Cutter
from edgeagent.errors import ConfigError, SourceLost
from edgeagent.types import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.config.model import AudioConfig

_RATE_HZ = 16_000
_DEFAULT_S = 1.0
_SILENT_S = 5.0
_LOOK_S = 0.5
_SCALES = {"S16_LE": ("<i2", 32768.0), "S32_LE": ("<i4", 2147483648.0)}


class MicrophoneSource:
    """Windows of sound, float32 (length, 1) in −1..1; the newest count.

    An overrun of the device's buffer is a hole: it ends the window that was begun, and is counted
    (``xruns``).
    """

    live = True

    def __init__(self, name: str, config: AudioConfig, wanted: Wanted = PICTURES) -> None:
        self.name = name
        self.tally = Tally()
        self.alive_at = time.monotonic()
        self._config = config
        self._wanted = wanted
        self._gate = Gate(config.quiet, self.tally)
        self._recorder: Recorder | None = None
        self._layout = FORMATS[0]
        self._resample: Polyphase | None = None
        self._cutter = Cutter(1)
        self._rest = b""
        self._first = b""
        self._ready: deque[tuple[NDArray[np.float32], float]] = deque()
        self._channels = wanted.channels or (f"channel {config.channel}",)
        self._count = config.channels or config.channel + 1
        self._rate_hz = float(_RATE_HZ)
        self._number = 0
        self._xruns = 0
        self._interrupted = threading.Event()

    def open(self) -> None:
        """Start recording.

        Raises:
            ConfigError: the model wants something else than sound of one channel.
            SourceLost, Busy, NotPermitted, RuntimeMissing: nothing can be recorded.
        """
        if len(self._channels) != 1:
            raise ConfigError(
                f"sources.{self.name}: sound has one channel, the model wants "
                f"{len(self._channels)} ({', '.join(self._channels)})"
            )
        self.alive_at = time.monotonic()
        asked = self._config.rate_hz or round(self._wanted.rate_hz or _RATE_HZ)
        recorder = self._started(asked)
        self._rate_hz = self._wanted.rate_hz or float(recorder.rate_hz)
        same = abs(self._rate_hz - recorder.rate_hz) < 1e-6 * recorder.rate_hz
        self._resample = None if same else Polyphase(recorder.rate_hz, self._rate_hz)
        length = self._wanted.length or round(_DEFAULT_S * self._rate_hz)
        self._cutter = Cutter(length, self._wanted.hop)
        self._ready.clear()
        self.tally.rate_hz = self._rate_hz / self._cutter.hop
        self.tally.note = f"{recorder.rate_hz} Hz, {self._count} ch, {self._layout}"
        if not same:
            self.tally.note += f", resampled to {self._rate_hz:g} Hz"
        self.tally.figures["xruns"] = self._xruns

    def read(self) -> Window:
        """The next window that is loud enough. Raises SourceLost, Busy."""
        while not self._ready:
            if self._interrupted.is_set() or self._recorder is None:
                raise SourceLost("it was stopped")
            self._listen(self._recorder)
        values, ended = self._ready.popleft()
        self._number += 1
        ago_s = time.monotonic() - ended
        return Window(
            self.name, self._number, values, self._rate_hz, self._channels,
            clock.wall_ns() - round(ago_s * 1e9), clock.mono_ms() - ago_s * 1e3,
            self._config.device,
        )  # fmt: skip

    def close(self) -> None:
        """Stop recording."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()

    def interrupt(self) -> None:
        """Make `read`, the present call and all later ones, raise SourceLost."""
        self._interrupted.set()
        recorder = self._recorder
        if recorder is not None:
            recorder.interrupt()

    def _started(self, rate_hz: int) -> Recorder:
        """A recorder that gives sound, in the first layout that the device knows."""
        for layout in FORMATS:
            self._layout = layout
            recorder = self._recorder = Recorder(self._config.device, rate_hz, self._count, layout)
            try:
                self._first, self._rest = self._heard(recorder), b""
            except (SourceLost, ConfigError):
                if recorder.lacks_format and layout != FORMATS[-1]:
                    recorder.close()
                    continue
                raise
            return recorder
        raise AssertionError("the last layout returns or raises")

    def _heard(self, recorder: Recorder) -> bytes:
        until = time.monotonic() + _SILENT_S
        while time.monotonic() < until and not self._interrupted.is_set():
            data = recorder.read(_LOOK_S)
            if data:
                return data
        raise SourceLost(f"{self._config.device}: gives no sound within {_SILENT_S:.0f} s")

    def _listen(self, recorder: Recorder) -> None:
        data = self._first or self._heard(recorder)
        self._first = b""
        arrived = self.alive_at = time.monotonic()
        if recorder.overruns:
            self._xruns += recorder.overruns
            recorder.overruns = 0
            self.tally.figures["xruns"] = self._xruns
            self._broken()
        rows = self._rows(data)
        if self._resample is not None:
            rows = self._resample.push(rows)
        windows = self._cutter.push(rows)
        self.tally.unused = self._cutter.unused
        for number, values in enumerate(windows):
            behind = self._cutter.behind + (len(windows) - 1 - number) * self._cutter.hop
            if self._gate.opens(values, self._rate_hz):
                self._ready.append((values, arrived - behind / self._rate_hz))

    def _broken(self) -> None:
        """Sound is missing: nothing of before belongs to what follows."""
        self._cutter.break_off()
        if self._resample is not None and self._recorder is not None:
            self._resample = Polyphase(self._recorder.rate_hz, self._rate_hz)

    def _rows(self, data: bytes) -> NDArray[np.float32]:
        """Samples of our channel (n, 1) out of bytes that may end anywhere."""
        kind, scale = _SCALES[self._layout]
        frame = np.dtype(kind).itemsize * self._count
        data = self._rest + data
        whole = len(data) // frame * frame
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], kind).reshape(-1, self._count)
        channel = self._config.channel
        return (samples[:, channel : channel + 1] / scale).astype(np.float32)
