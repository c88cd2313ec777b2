"""``arecord`` as a child: sound of an ALSA device on its standard output.

A child, because it needs no Python package, works on every Debian, and a driver that hangs takes
nothing along. It ends by itself when we do: its pipe has no reader then.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
from collections import deque

from edgeagent.errors import (
    Busy,
    ConfigError,
    EdgeAgentError,
    NotPermitted,
    RuntimeMissing,
    SourceLost,
)

FORMATS = ("S16_LE", "S32_LE")
"""In the order in which they are tried; a device that knows none of them has a ``plughw:``."""
_BUFFER_US, _PERIOD_US = 1_000_000, 50_000
_MOST = 1 << 18
_END_S = 1.0
_OVERRUN = re.compile(r"overrun!!!")
_GOT = re.compile(r"got = (\d+) ?Hz")
_NO_FORMAT = re.compile(r"Sample format non available")


class Recorder:
    """A running child.

    Args:
        device: ALSA's name.
        rate_hz: asked for; `rate_hz` is what the device gives.
        layout: one of `FORMATS`.
    """

    def __init__(self, device: str, rate_hz: int, channels: int, layout: str) -> None:
        """Raises RuntimeMissing."""
        self.rate_hz = rate_hz
        self.overruns = 0
        self._device = device
        self._lines: deque[str] = deque(maxlen=20)
        command = [
            "arecord", "-D", device, "-f", layout, "-r", str(rate_hz), "-c", str(channels),
            "-t", "raw", "-B", str(_BUFFER_US), "-F", str(_PERIOD_US),
        ]  # fmt: skip
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"}, start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise RuntimeMissing(
                "a microphone needs the program arecord, which is not installed",
                remedy="Install it: sudo apt install alsa-utils",
            ) from error
        assert self._child.stdout is not None and self._child.stderr is not None
        self._sound, self._words = self._child.stdout.fileno(), self._child.stderr.fileno()
        self._poll = select.poll()
        for handle in (self._sound, self._words):
            os.set_blocking(handle, False)
            self._poll.register(handle, select.POLLIN)

    def read(self, timeout_s: float) -> bytes:
        """What came within the time, as soon as something did; empty = nothing.

        Raises:
            EdgeAgentError: it has ended; the class by the reason.
        """
        ready = {handle for handle, _ in self._poll.poll(timeout_s * 1000)}
        if self._words in ready:
            self._listen()
        if self._sound not in ready:
            return b""
        try:
            data = os.read(self._sound, _MOST)
        except BlockingIOError:
            return b""
        if not data:
            raise self._ended()
        return data

    @property
    def lacks_format(self) -> bool:
        """Whether it ended because the device does not know the layout of samples."""
        return any(_NO_FORMAT.search(line) for line in self._lines)

    def close(self) -> None:
        """End it."""
        self._child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_END_S)
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()

    def interrupt(self) -> None:
        """End it from another thread; `read` then tells that it has ended."""
        self._child.kill()

    def _listen(self) -> None:
        try:
            data = os.read(self._words, _MOST)
        except BlockingIOError:
            return
        if not data:
            # Its end: poll would report it for ever.
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._words)
            return
        for line in data.decode("utf-8", "replace").splitlines():
            self._lines.append(line.strip())
            if _OVERRUN.search(line):
                self.overruns += 1
            got = _GOT.search(line)
            if got is not None:
                self.rate_hz = int(got[1])

    def _ended(self) -> EdgeAgentError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_END_S)
        self._listen()
        said = " ".join(self._lines)
        for text, error in _REASONS:
            if text in said:
                return error(self._device)
        last = self._lines[-1] if self._lines else f"arecord ended with {self._child.returncode}"
        return SourceLost(f"{self._device}: {last}")


def _forbidden(device: str) -> EdgeAgentError:
    return NotPermitted(
        f"{device}: user {os.geteuid()} may not record",
        remedy="Add the user to the group audio: sudo usermod -aG audio USER",
    )


def _unfit(device: str) -> EdgeAgentError:
    return ConfigError(
        f"{device}: can't record so many channels, or at this rate",
        remedy=f'Let ALSA convert: device = "plug{device}".',
    )


_REASONS = (
    ("Device or resource busy", lambda device: Busy(
        f"{device}: is in use", remedy="End the program that records (fuser -v /dev/snd/*).")),
    ("Permission denied", _forbidden),
    ("Channels count non available", _unfit),
    ("Unable to install hw params", _unfit),
    ("No such file or directory", lambda device: SourceLost(
        f"{device}: is not connected", remedy="See what is: edgeagent devices list")),
    ("No such device", lambda device: SourceLost(f"{device}: was unplugged")),
    ("Unknown PCM", lambda device: ConfigError(
        f"{device}: ALSA knows no such device", remedy="See: arecord -L")),
)  # fmt: skip
