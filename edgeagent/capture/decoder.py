"""The parent's side of a decoder in a child process, as a `Source`.

What native code does to a process (hang, crash, leak) it does to the child, which is killed
past the deadline and thrown away at each reopening. Pictures come by shared memory
(`capture.ring`); nothing is pickled.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from edgeagent import crashes, errors
from edgeagent.capture.process import DecoderProcess
from edgeagent.capture.rhythm import Rhythm
from edgeagent.capture.source import Tally
from edgeagent.errors import EdgeAgentError, InputError, SourceEnded, SourceLost
from edgeagent.types import Frame

_START_S = 20.0
"""For Python and OpenCV to start, on a slow card that is just being busy."""
_OPEN_SPARE_S = 1.0
"""For a decoder that keeps to the time by itself, and tells more about the cause."""
_SPARE_SLOTS = 3
"""Beside those in a mailbox: one with the pipeline, one in the unit's hand, one to write."""
_USER_INFO = re.compile(r"//[^/@\s]+@")
_PASSWORD = re.compile(r"(?i)(pass(?:word|wd)?|pwd)=[^&_/\s]*")
"""Some cameras have it in the path: ``/user=admin_password=x_channel=1``."""

Explain = Callable[[list[str]], str]
"""Lines that the child printed → the cause in plain words; empty = unknown."""


class DecoderSource:
    """A live source of pictures whose decoder runs in a child process.

    Args:
        name: name of the source.
        decoder: ``module:Class`` of a `child.Decoder`.
        origin: what pictures say they come from, without secrets.
        fps: pictures wanted per second; the child leaves the others undecoded.
        queue: size of the mailboxes behind it.
        open_s: how long the decoder may take to open, and be silent at least.
        network: reopen as network sources do.
        explain: finds the cause of a failure in what the child printed.
        complaint: what among that means that a picture was damaged.
    """

    live = True
    thins = True
    sees = True
    """A camera, whose pictures are looked at for what is wrong with it."""

    def __init__(
        self,
        name: str,
        decoder: str,
        *,
        origin: str,
        fps: float | None = None,
        queue: int = 2,
        open_s: float = 5.0,
        network: bool = False,
        explain: Explain = lambda _: "",
        complaint: re.Pattern[str] | None = None,
    ) -> None:
        self.name = name
        self.network = network
        self.origin = origin
        self.tally = Tally()
        self.pid = 0
        """Of the child; 0 = none."""
        self.about: dict[str, Any] | None = None
        """What the decoder says of what it gives; None = pictures."""
        self._decoder = decoder
        self._fps = fps
        self._slots = queue + _SPARE_SLOTS
        self._open_s = open_s
        self._explain = explain
        self._complaint = complaint
        self._rhythm = Rhythm(open_s)
        self._number = 0
        self._counted = (0, 0)
        self._secrets: tuple[str, ...] = ()
        self._process: DecoderProcess | None = None
        self._gate = threading.Lock()
        self._interrupted = False

    # --- for subclasses ----------------------------------------------------------------

    def params(self) -> dict[str, Any]:
        """Arguments of the decoder, asked for at each opening. Raises EdgeAgentError."""
        return {}

    def hide(self, *secrets: str) -> None:
        """Never show these texts."""
        self._secrets = tuple(secret for secret in secrets if secret)

    # --- Source ------------------------------------------------------------------------

    def open(self) -> None:
        """Start the child and open its decoder.

        Raises:
            SourceLost: it can't be opened now.
            EdgeAgentError: what the decoder says.
        """
        self.close()
        params = self.params()
        with self._gate:
            if self._interrupted:
                raise SourceLost(f"{self.origin}: stopped")
            try:
                self._process = process = DecoderProcess(
                    self._decoder, params, self._slots, self._fps, self._complaint
                )
            except OSError as error:
                raise SourceLost(f"{self.origin}: no decoder can be started: {error}") from error
            self.pid = process.pid
        self._counted = (0, 0)
        limit = _START_S
        while True:
            message = self._receive(process, limit, "an answer")
            if "started" in message:
                limit = self._open_s + _OPEN_SPARE_S
            if "opened" in message:
                opened = message["opened"]
                self.tally.rate_hz = opened["rate_hz"]
                self.tally.note = opened["note"]
                self._rhythm.promise(opened["rate_hz"])
                return

    def read(self) -> Frame:
        """The newest picture; older ones that waited are counted as dropped.

        Raises:
            SourceLost: the child ended, or gave no sign of life for ten frame times (at
                least 5 s).
            InputError: a picture could not be decoded.
        """
        process = self._process
        if process is None:
            raise SourceLost(f"{self.origin}: not open")
        while True:
            message = self._receive(process, self._rhythm.silence_s, "a picture")
            if "tick" in message:
                self._count(*message["tick"])
                # Also a stream of which few pictures are wanted has its own rate.
                self._rhythm.tick(time.monotonic())
            elif "about" in message:
                self.about = message["about"]
            elif "corrupt" in message:
                raise InputError(self._told(message["corrupt"]))
            elif "frame" in message:
                return self._newest(process, message["frame"])

    def close(self) -> None:
        """Kill the child; pictures that somebody still holds stay valid."""
        with self._gate:
            process, self._process = self._process, None
            self.pid = 0
        if process is not None:
            process.kill()
        self._rhythm.pause()

    def interrupt(self) -> None:
        """End a blocking call from another thread, for good."""
        with self._gate:
            self._interrupted = True
            if self._process is not None:
                self._process.interrupt()

    # --- messages ----------------------------------------------------------------------

    def _receive(self, process: DecoderProcess, limit: float, what: str) -> dict[str, Any]:
        """The next message. Raises SourceLost on silence or the child's end."""
        message = self._hear(process, time.monotonic() + limit)
        if process.damaged:
            self.tally.corrupt += 1
            process.damaged = False
        if message is None:
            self._rhythm.lost_in_silence()
            raise SourceLost(f"{self.origin}: {limit:.0f} s without {what}{self._cause(process)}")
        if "ended" in message:
            if self._interrupted:
                raise SourceLost(f"{self.origin}: stopped")
            death = process.death()
            if process.crashed:
                crashes.report("child", f"decoder of {self.name}", death, "\n".join(process.lines))
            raise SourceLost(f"{self.origin}: {death}{self._cause(process)}")
        if "over" in message:
            raise SourceEnded
        if "failed" in message:
            cause = self._explain(process.lines)
            # The child names the device itself, as all errors of files and devices do.
            text = self._told(cause or message["text"]).removeprefix(f"{self.origin}: ")
            raise _error(message["failed"], f"{self.origin}: {text}", message["remedy"])
        return message

    def _hear(self, process: DecoderProcess, until: float) -> dict[str, Any] | None:
        try:
            return process.receive(until)
        except (OSError, ValueError) as error:
            raise SourceLost(f"{self.origin}: the decoder speaks nonsense: {error}") from error

    def _newest(self, process: DecoderProcess, frame: tuple[Any, ...]) -> Frame:
        """Of all pictures that are there, the last."""
        while True:
            later = self._hear(process, 0.0)
            if later is None or "frame" not in later:
                break
            process.give_back(frame[1])
            self.tally.dropped += 1
            frame = later["frame"]
        _, slot, channels, height, width, at_ns, mono_ms, dropped, thinned = frame
        self._count(dropped, thinned)
        if later is not None:
            process.push_back(later)
        shape = (height, width, channels) if channels > 1 else (height, width)
        try:
            pixels = process.picture(slot, shape)
        except ValueError as error:
            raise SourceLost(f"{self.origin}: the decoder speaks nonsense: {error}") from error
        self._rhythm.tick(time.monotonic())
        self._number += 1
        return Frame(self.name, self._number, pixels, at_ns, mono_ms, self.origin)

    def _count(self, dropped: int, thinned: int) -> None:
        before = self._counted
        self.tally.dropped += dropped - before[0]
        self.tally.thinned += thinned - before[1]
        self._counted = (dropped, thinned)

    def _cause(self, process: DecoderProcess) -> str:
        cause = self._explain(process.lines)
        return f" ({self._told(cause)})" if cause else ""

    def _told(self, text: str) -> str:
        """A text as people may see it."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return without_secrets(text)


def without_secrets(text: str) -> str:
    """A text with addresses in it, without the credentials in them."""
    return _PASSWORD.sub(r"\1=***", _USER_INFO.sub("//***@", text))


def _error(name: str, text: str, remedy: str) -> EdgeAgentError:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, EdgeAgentError):
        return kind(text, remedy=remedy)
    return SourceLost(text, remedy=remedy)
