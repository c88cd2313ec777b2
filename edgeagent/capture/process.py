"""One child process with a decoder: start it, hear it, end it. See `capture.child`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgeagent
from edgeagent.capture.child import FRAME, LONGEST, TICK
from edgeagent.capture.ring import Ring
from edgeagent.sealed import dumpable

if TYPE_CHECKING:
    from edgeagent.capture.ring import Picture

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from edgeagent.capture.child import main; "
    "main(int(sys.argv[2]), int(sys.argv[3]))"
)
_KEPT_LINES = 100
_KILL_S = 0.5

_lingering: list[subprocess.Popen[bytes]] = []
"""Killed, but still inside a driver that does not return; reaped when it does."""


class DecoderProcess:
    """A running child. `receive` belongs to one thread, `interrupt` may be called by any.

    Args:
        decoder: ``module:Class``.
        params: its keyword arguments, plain JSON values. They may hold secrets: they go
            through the socket, because a command line can be read by everybody.
        slots: places in the ring.
        fps: pictures wanted per second.
        complaint: what in the child's output means that a picture was damaged.
    """

    def __init__(
        self,
        decoder: str,
        params: dict[str, Any],
        slots: int,
        fps: float | None,
        complaint: re.Pattern[str] | None = None,
    ) -> None:
        self.damaged = False
        """Whether a complaint came since it was last set to False."""
        self._complaint = complaint
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._pushed: deque[dict[str, Any]] = deque()
        self._ring: Ring | None = None
        # Re-entrant: a picture may be given up within any statement, by garbage collection.
        self._sending = threading.RLock()
        self._reap_lingering()
        root = str(Path(edgeagent.__file__).parent.parent)
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            self._socket, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.enter_context(self._socket)
            theirs.enter_context(channel)
            tied, self._lifeline = _pipe(theirs, ours)
            self._prints, prints = _pipe(ours, theirs)
            # A child that complains faster than we listen loses lines, and never waits.
            os.set_blocking(prints, False)
            os.set_blocking(self._prints, False)
            handles = (channel.fileno(), tied)
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOOT, root, *map(str, handles)],
                stdin=subprocess.DEVNULL,
                # OpenCV prints what FFmpeg says to stdout.
                stdout=prints,
                stderr=prints,
                pass_fds=handles,
                start_new_session=True,
            )
            self._held = ours.pop_all()
        self.pid = self._child.pid
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._prints, select.POLLIN)
        setup = {
            "path": sys.path, "decoder": decoder, "params": params, "slots": slots, "fps": fps,
            # It has pictures before anything is hidden in them, as this process has.
            "seal": dumpable() is False,
        }  # fmt: skip
        # A child that died at once is told by `receive`.
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps(setup).encode())

    def receive(self, until: float) -> dict[str, Any] | None:
        """The next message before ``until`` (monotonic seconds); None = none came.

        ``{"ended": True}`` when the child is gone. Frames: ``{"frame": (…)}`` as
        `child.FRAME` has them.

        Raises:
            ValueError, OSError: what came is no message.
        """
        if self._pushed:
            return self._pushed.popleft()
        while True:
            wait_ms = max(0.0, until - time.monotonic()) * 1000.0
            ready = self._poll.poll(wait_ms)
            if not ready:
                return None
            handles = [handle for handle, _ in ready]
            if self._prints in handles:
                self._listen()
            if self._socket.fileno() in handles:
                message = self._message()
                if message is not None:
                    return message

    def push_back(self, message: dict[str, Any]) -> None:
        """Have `receive` give this message again."""
        self._pushed.append(message)

    def picture(self, slot: int, shape: tuple[int, ...]) -> Picture:
        """The picture of a frame message. Raises ValueError where there can be none."""
        if self._ring is None:
            raise ValueError("a picture without a ring")
        return self._ring.picture(slot, shape)

    def give_back(self, slot: int) -> None:
        """Let the child write to a slot again; any thread, any time."""
        with self._sending, contextlib.suppress(OSError):
            self._socket.send(bytes((slot,)), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    @property
    def lines(self) -> list[str]:
        """What the child printed last."""
        return list(self._lines)

    def death(self) -> str:
        """How the child ended, in plain words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_KILL_S)
        code = self._child.returncode
        if code is None:
            return "the decoder closed its channel"
        if code < 0:
            # Nobody else kills with that signal, unless a person does.
            why = ", for want of memory if no person did it" if code == -signal.SIGKILL else ""
            return f"the decoder was ended by {signal.Signals(-code).name}{why}"
        return f"the decoder ended with code {code}"

    @property
    def crashed(self) -> bool:
        """Whether it has ended, and not as a child does that has nothing more to do."""
        return self._child.returncode not in (None, 0)

    def interrupt(self) -> None:
        """Kill the child, without waiting."""
        self._child.kill()

    def kill(self) -> None:
        """Kill the child and let go of everything but what pictures still need."""
        self._child.kill()
        try:
            self._child.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            _lingering.append(self._child)
        # With the lock, or a picture given up meanwhile could write to somebody else's handle.
        with self._sending:
            self._held.close()
        self._ring = None

    @staticmethod
    def _reap_lingering() -> None:
        _lingering[:] = [process for process in _lingering if process.poll() is None]

    def _message(self) -> dict[str, Any] | None:
        try:
            data, handles, _, _ = socket.recv_fds(
                self._socket, LONGEST, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, ConnectionResetError):
            # A child that ends with slots unread resets the connection, which is reported
            # before its last messages, and only once.
            return None
        try:
            if not data:
                self._listen()
                return {"ended": True}
            if data[:1] == b"F" and len(data) == FRAME.size:
                return {"frame": FRAME.unpack(data)}
            if data[:1] == b"T" and len(data) == TICK.size:
                return {"tick": TICK.unpack(data)[1:]}
            message = json.loads(data)
            if not isinstance(message, dict):
                raise ValueError(f"{data[:40]!r} is no message")
            if "ring" in message and handles:
                count, size = message["ring"]
                self._ring = Ring(handles[0], count, size, self.give_back)
                return None
            return message
        finally:
            for handle in handles:
                os.close(handle)

    def _listen(self) -> None:
        """Take what the child printed."""
        try:
            data = os.read(self._prints, LONGEST)
        except BlockingIOError:
            return
        if not data:
            # Its end: poll would report it for ever.
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._prints)
            return
        for line in data.decode("utf-8", "replace").splitlines():
            self._lines.append(line)
            if self._complaint is not None and self._complaint.search(line):
                self.damaged = True


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """Both ends of a pipe, each closed by its stack."""
    ends = os.pipe()
    reader.callback(os.close, ends[0])
    writer.callback(os.close, ends[1])
    return ends
