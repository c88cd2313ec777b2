"""Decoders for tests of the child process: they play cameras, also very bad ones."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from edgeagent import errors
from edgeagent.capture.child import Opened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOREVER = 3600


def hang_with_the_lock() -> None:
    """Block inside native code that holds the interpreter's lock."""
    ctypes.PyDLL(None).sleep(FOREVER)


class Counter:
    """Pictures whose first pixels hold their number; the rest is its lowest byte."""

    def __init__(
        self, hz: float = 100.0, width: int = 64, height: int = 48, promise: float = 0.0
    ) -> None:
        self.period = 1.0 / hz
        self.shape = (height, width, 3)
        self.promise = promise
        self.number = 0
        self.due = 0.0

    def open(self) -> Opened:
        self.due = time.monotonic()
        loaded = [name for name in ("msgspec", "edgeagent.types", "cv2") if name in sys.modules]
        return Opened(self.promise, f"loaded: {loaded}")

    def grab(self) -> None:
        self.due += self.period
        time.sleep(max(0.0, self.due - time.monotonic()))
        self.number += 1

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        import numpy as np

        out = (
            into
            if into is not None and into.shape == self.shape
            else np.empty(self.shape, np.uint8)
        )
        out[...] = self.number % 256
        out.reshape(-1)[:4] = np.frombuffer(self.number.to_bytes(4, "little"), np.uint8)
        return out

    def close(self) -> None:
        return


class Grey(Counter):
    """One channel."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = (48, 64)  # type: ignore[assignment]


class Ill(Counter):
    """Good for ``after`` pictures, then what ``how`` says."""

    def __init__(self, how: str, after: int = 2) -> None:
        super().__init__()
        self.how = how
        self.after = after

    def grab(self) -> None:
        super().grab()
        if self.number > self.after:
            getattr(self, self.how)()

    def hang(self) -> None:
        hang_with_the_lock()

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def leave(self) -> None:
        os._exit(3)

    def lose(self) -> None:
        raise errors.SourceLost("rtsp://admin:hunter2@cam/1 has gone, says hunter2")

    def grow(self) -> None:
        self.shape = (480, 640, 3)

    def babble(self) -> None:
        for handle in os.listdir("/proc/self/fd"):
            try:
                sock = socket.socket(fileno=os.dup(int(handle)))
                sock.send(b"\xff\xfe babble")
            except OSError:
                continue

    def damage(self) -> None:
        if self.number % 2:
            raise errors.InputError(f"picture {self.number} is broken")

    def complain(self) -> None:
        # As C's stdio does: what does not fit into the pipe is lost.
        with contextlib.suppress(BlockingIOError):
            os.write(2, b"decoder: damaged block\n" + b"x" * 200_000 + b"\n")

    def raise_a_bug(self) -> None:
        raise ZeroDivisionError("a bug of the decoder")


class Shut:
    """Can't be opened, as ``how`` says: the name of an error, or a way to hang."""

    def __init__(self, how: str) -> None:
        self.how = how

    def open(self) -> Opened:
        if self.how == "hang":
            hang_with_the_lock()
        kind: Any = getattr(errors, self.how)
        raise kind("the door is shut", remedy="Open it.")

    def grab(self) -> None:
        return

    def picture(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        raise AssertionError

    def close(self) -> None:
        return
