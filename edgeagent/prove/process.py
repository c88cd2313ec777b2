"""One child process of a proof: started fresh, heard, watched, and gone at its end.

See `trial` for what runs in it and what it tells. A child of another module may be asked more
than once: `bench.worker`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import edgeagent
from edgeagent.errors import Busy, ProofFailed
from edgeagent.packaged import permit

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from importlib import import_module; "
    "import_module(sys.argv[3]).main(int(sys.argv[2]))"
)
_LOOK_S = 0.1
"""A stop is noticed within this time."""
_LINES = 20
_LONGEST = 16 << 20
_LEAST_MEMORY = 256 << 20
_SHARE_OF_FREE = 0.75


def memory_limit(pss_mb: float | None = None) -> int:
    """Bytes of memory that a child may fill: what its budget says with room for a proof, and
    never so much that the device runs short."""
    free = free_memory()
    wanted = int(3 * pss_mb) << 20 if pss_mb else 1 << 30
    return max(_LEAST_MEMORY, min(wanted, int(free * _SHARE_OF_FREE)))


def free_memory() -> int:
    """Bytes that the device could still give."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) << 10
    except OSError:
        return 1 << 30
    return 1 << 30


class Child:
    """One child process of `trial`. Use it in a ``with``: at its end the child is gone.

    ``handles`` are open files that it may use, ``module`` is what runs in it. Raises Busy where no
    process can be started.
    """

    def __init__(
        self,
        ask: dict[str, Any],
        handles: Sequence[int] = (),
        module: str = "edgeagent.prove.trial",
    ) -> None:
        self.ask = ask
        self.doing = "was being started"
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._buffer = b""
        self._result: dict[str, Any] | None = None
        self._failure: ProofFailed | None = None
        root = str(Path(edgeagent.__file__).parent.parent)
        with contextlib.ExitStack() as stack:
            self._socket, theirs = socket.socketpair()
            stack.callback(self._socket.close)
            self._channel = self._socket.fileno()
            try:
                # Without preexec_fn Python needs no fork: the daemon's pages are never shared.
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-B", "-c", _BOOT, root, str(theirs.fileno()), module],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=(theirs.fileno(), *handles),
                    start_new_session=True,
                )
            except OSError as error:
                raise Busy(f"no process can be started for a proof: {error.strerror}") from error
            finally:
                theirs.close()
            stack.callback(self._end)
            self._held = stack.pop_all()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._prints = self._process.stdout
        code = {"packaged": permit.told(Path(ask["folder"]))} if "folder" in ask else {}
        request = json.dumps({"path": sys.path, **code, **ask}) + "\n"
        # A child that died at once is told by `outcome`.
        with contextlib.suppress(OSError):
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask_again(
        self, message: dict[str, Any], timeout_s: float, stopped: Event
    ) -> dict[str, Any]:
        """Another question, and what it has to tell to it. Raises ProofFailed, Busy."""
        self._result = self._failure = None
        # One that has died is told by `outcome`, with what it died of.
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        return self.outcome(timeout_s, stopped)

    def outcome(
        self, timeout_s: float, stopped: Event, tell: Callable[[str], None] = lambda _doing: None
    ) -> dict[str, Any]:
        """Wait for what it has to tell. ``tell`` hears now and then what it does, and may raise to
        end it. Raises ProofFailed, Busy."""
        deadline = time.monotonic() + timeout_s
        for _ in self._heard():
            tell(self.doing)
            if stopped.is_set():
                raise Busy("the proof was stopped")
            if self._failure is not None:
                raise self._failure
            if self._result is not None:
                return self._result
            if self._resident() > self.ask["memory_bytes"]:
                raise self._too_large()
            if time.monotonic() > deadline:
                raise ProofFailed(
                    "timeout",
                    f"it gave no answer within {timeout_s:g} s, while it {self.doing}",
                    died=True,
                )
        raise self._death()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._held.close()

    def _heard(self) -> Iterator[None]:
        """Once for every message, and from time to time; ends with the child."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._prints, select.POLLIN)
        while True:
            handles = [handle for handle, _ in poll.poll(_LOOK_S * 1e3)]
            if self._prints.fileno() in handles and not self._listen():
                poll.unregister(self._prints)
            if self._channel in handles:
                try:
                    data = os.read(self._channel, 1 << 16)
                except ConnectionResetError:
                    return  # it died with a question unread
                if not data:
                    return
                self._take(data)
            yield

    def _listen(self) -> bool:
        data = os.read(self._prints.fileno(), 1 << 16)
        self._lines.extend(data.decode("utf-8", "replace").splitlines())
        return bool(data)

    def _take(self, data: bytes) -> None:
        *whole, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > _LONGEST:
            raise ProofFailed("crash", "it answers without end")
        for line in whole:
            message = json.loads(line)
            self.doing = message.get("doing", self.doing)
            if "failed" in message:
                reason, sentence, remedy = message["failed"]
                self._failure = ProofFailed(reason, sentence, remedy=remedy)
            self._result = message.get("passed", self._result)

    def _death(self) -> ProofFailed:
        """What its end without an answer means."""
        code = self._process.wait()
        while self._listen():
            continue
        last = next((line for line in reversed(self._lines) if line.strip()), "")
        said = f" ({last.strip()[:200]})" if last else ""
        if code == -signal.SIGXCPU:
            return ProofFailed(
                "timeout", f"it used all of its processor time while it {self.doing}", died=True
            )
        if code == -signal.SIGKILL:
            told = f"the system ended it while it {self.doing}: it ran short of memory"
            return ProofFailed("budget", told, died=True)
        if "bad_alloc" in said or "MemoryError" in said:
            return self._too_large()
        how = f"with {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        told = f"it took its process down, {how}, while it {self.doing}{said}"
        return ProofFailed("crash", told, died=True)

    def _resident(self) -> int:
        """Bytes of it in memory. Looked at from here, because what the kernel can limit (what a
        process may ask for) says little: runtimes ask for much that they never touch."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0  # it has ended, which is told by its pipe

    def _too_large(self) -> ProofFailed:
        most = self.ask["memory_bytes"] >> 20
        said = f"it needs more memory than a model may have here ({most} MB)"
        return ProofFailed("budget", said, died=True)

    def _end(self) -> None:
        """No child outlives a proof."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
