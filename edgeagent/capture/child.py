"""What runs in a decoder's child process; it imports only the decoder that it is told.

Between parent and child there are two descriptors. Over a socket (SOCK_SEQPACKET: messages,
in order) the child tells what happens and the parent gives slots of the ring back. A pipe is
the lifeline: it is set to send SIGIO, whose default is the end of a process, when the parent's
end of it closes. So the child ends with its parent even if native code holds the interpreter
lock and never returns; no thread and no polling is needed for that.

Messages to the parent: JSON (opened, ring, corrupt, about, failed, over), `FRAME` and `TICK`. A
tick says that the source lives although no picture is wanted yet.
"""

from __future__ import annotations

import faulthandler
import fcntl
import json
import os
import socket
import struct
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from edgeagent.capture.lag import Lag

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeagent.capture.ring import Slots

FRAME = struct.Struct("<cBBIIqdQQ")
"""b"F", slot, channels, height, width, at_ns, mono_ms, dropped, thinned."""
TICK = struct.Struct("<cQQ")
"""b"T", dropped, thinned."""
LONGEST = 65536
_TICK_S = 0.4
_YIELDS = 300
"""Thousandths of the memory that this process is taken to need more than it does."""


class Opened(NamedTuple):
    """What a decoder found."""

    rate_hz: float = 0.0
    """Pictures per second as promised; 0 = unknown."""
    note: str = ""
    """What was negotiated, for people."""


class Decoder(Protocol):
    """What the child drives. Made by ``Class(**params)`` with plain JSON values.

    All methods may block for as long as they like: the parent has the deadline. Beyond them a
    decoder may have ``stamp_s``, the time of the picture that was grabbed by the clock of its
    stream (seconds, None = unknown), ``skipped``, how many it has left out by itself because newer
    ones were there, and ``about``, what the parent must know of what is no picture.
    """

    def open(self) -> Opened:
        """Get ready. Raises an EdgeAgentError with the cause."""

    def grab(self) -> None:
        """Wait for the next picture, without decoding more than is needed.

        Raises:
            SourceLost: it is over. InputError: this one is unusable, go on.
        """

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """The picture that was grabbed, written to ``into`` where that fits. Raises as
        `grab`."""

    def close(self) -> None:
        """Let go of the device or the connection."""


def main(channel: int, lifeline: int) -> None:
    """Entry point; ``channel`` and ``lifeline`` are inherited descriptors."""
    tie(lifeline)
    _yield_first()
    sock = socket.socket(fileno=channel)
    setup = json.loads(sock.recv(LONGEST))
    sys.path[:] = setup["path"]
    if setup["seal"]:
        from edgeagent.sealed import seal

        seal()
    # A crash in native code leaves the stack among what was printed, which the parent keeps.
    faulthandler.enable()
    from edgeagent.errors import EdgeAgentError, SourceEnded

    module, name = setup["decoder"].split(":")
    decoder: Decoder = getattr(import_module(module), name)(**setup["params"])
    feed = _Feed(sock, decoder, setup["slots"], setup["fps"])
    feed.tell(started=True)
    try:
        opened = decoder.open()
        feed.tell(opened={"rate_hz": opened.rate_hz, "note": opened.note})
        feed.run()
    except SourceEnded:
        feed.tell(over=True)
    except EdgeAgentError as error:
        feed.tell(failed=type(error).__name__, text=str(error), remedy=error.remedy)
    decoder.close()


def _yield_first() -> None:
    """Where memory runs out the kernel is to end this process, which is begun anew within seconds,
    before the agent's own."""
    try:
        file = os.open("/proc/self/oom_score_adj", os.O_RDWR)
    except OSError:
        return  # where it can't be said, it is one process among others
    try:
        now = int(os.read(file, 16))
        os.pwrite(file, str(min(now + _YIELDS, 1000)).encode(), 0)
    finally:
        os.close(file)


def tie(lifeline: int) -> None:
    """End this process, whatever it is doing, when the other end of a pipe closes."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    try:
        # The parent may have gone before the signal was armed; it never writes.
        if os.read(lifeline, 1) == b"":
            os._exit(0)
    except BlockingIOError:
        return


class _Feed:
    """Pictures from a decoder into the ring."""

    def __init__(
        self, sock: socket.socket, decoder: Decoder, slots: int, fps: float | None
    ) -> None:
        self._sock = sock
        self._decoder = decoder
        self._count = slots
        self._slots: Slots | None = None
        self._free: set[int] = set(range(slots))
        self._dropped = 0
        self._thinned = 0
        self._shape: tuple[int, ...] = ()
        self._told = 0.0
        self._about: Any = None
        self._lag = Lag()
        self._thinner = None
        if fps:
            from edgeagent.capture.rhythm import Thinner

            self._thinner = Thinner(fps)

    def tell(self, **message: Any) -> None:
        """Send a JSON message."""
        self._sock.send(json.dumps(message).encode())

    @property
    def _all_dropped(self) -> int:
        skipped: int = getattr(self._decoder, "skipped", 0)
        return self._dropped + skipped

    def run(self) -> None:
        """Until the decoder raises something other than InputError."""
        from edgeagent.errors import InputError

        while True:
            try:
                self._decoder.grab()
                now = time.monotonic()
                late = self._lag.behind(now, getattr(self._decoder, "stamp_s", None))
                if self._lag.stale(now, late):
                    self._dropped += 1
                    self._tick(now)
                    continue
                if self._thinner is not None and not self._thinner.takes(now):
                    self._thinned += 1
                    self._tick(now)
                    continue
                self._hand_over(now, late)
            except InputError as error:
                self.tell(corrupt=str(error))

    def _hand_over(self, now: float, late: float) -> None:
        at_ns = time.time_ns() - int(1e9 * late)
        mono_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e6 - 1e3 * late
        self._take_back()
        if not self._free:
            # The parent is behind: it looks at the newest it has, this one is too many.
            self._dropped += 1
            self._tick(now)
            return
        slot = min(self._free)
        into = self._slots.view(slot, self._shape) if self._slots else None
        pixels = self._decoder.picture(into)
        about = getattr(self._decoder, "about", None)
        if about != self._about:
            self._about = about
            self.tell(about=about)
        if pixels is not into:
            self._place(slot, pixels)
        self._free.discard(slot)
        height, width = pixels.shape[:2]
        channels = 3 if pixels.ndim == 3 else 1
        counts = (self._all_dropped, self._thinned)
        self._sock.send(FRAME.pack(b"F", slot, channels, height, width, at_ns, mono_ms, *counts))
        self._told = now

    def _place(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        """Copy a picture that the decoder could not write to its slot."""
        from edgeagent.capture.ring import Slots
        from edgeagent.errors import SourceLost

        if self._slots is None:
            self._slots = Slots(self._count, pixels.nbytes)
            message = json.dumps({"ring": [self._count, self._slots.size]}).encode()
            socket.send_fds(self._sock, [message], [self._slots.fd])
            os.close(self._slots.fd)
        elif pixels.nbytes > self._slots.size:
            raise SourceLost(
                f"the size of the picture changed to {pixels.shape[1]}x{pixels.shape[0]}"
            )
        self._shape = pixels.shape
        self._slots.view(slot, pixels.shape)[...] = pixels

    def _take_back(self) -> None:
        while True:
            try:
                data = self._sock.recv(LONGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if not data:
                sys.exit(0)
            self._free.update(data)

    def _tick(self, now: float) -> None:
        if now - self._told >= _TICK_S:
            self._sock.send(TICK.pack(b"T", self._all_dropped, self._thinned))
            self._told = now
