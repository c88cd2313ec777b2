"""One process of packaged code, from its start to its end, as the parent sees it."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec.msgpack

import edgeagent
from edgeagent.errors import Busy
from edgeagent.packaged.child import LENGTH, LONGEST

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from edgeagent.packaged.child import main; "
    "main(*map(int, sys.argv[2:]))"
)
_ROOT = str(Path(edgeagent.__file__).parent.parent)
_START_S = 30.0
_DYING_S = 1.0
_CPU_S = 20
"""Processor time that it may take between two looks at it."""
_LOOK_S = 5.0
_PATIENCE = 4
"""Time-outs that an answer may take more, where the device is short of time."""


class Died(Exception):
    """It gives no answer any more, and why."""


class Process:
    """Started, asked and ended. Raises Busy where it can't be started, Died where it does not come
    up; ``first`` is what it said then."""

    def __init__(self, hello: dict[str, Any], memory: int) -> None:
        """``hello``: see `child`; ``memory``: descriptor of what both see."""
        self._looked = time.monotonic()
        self._buffer = b""
        with contextlib.ExitStack() as stack:
            asked, self._asked = _pipe(stack)
            self._answers, answers = os.pipe()
            stack.callback(os.close, self._answers)
            tied, _ = _pipe(stack)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-B", "-c", _BOOT, _ROOT,
                     *map(str, (asked, answers, tied, memory))],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    pass_fds=(asked, answers, tied, memory), start_new_session=True, cwd="/",
                    # Nothing of ours: there may be secrets in it.
                    env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )  # fmt: skip
            except OSError as error:
                raise Busy(f"no process can be started: {error.strerror}") from error
            finally:
                for handle in (asked, answers, tied):
                    os.close(handle)
            stack.callback(self._kill)
            path = dict.fromkeys(its for its in (*sys.path, _ROOT) if its.startswith("/"))
            self.first = self.ask({**hello, "path": list(path), "cpu_s": _CPU_S}, _START_S)
            self._held = stack.pop_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Its answer. Raises Died."""
        data = msgspec.msgpack.encode(message)
        try:
            os.write(self._asked, LENGTH.pack(len(data)) + data)
            answer = msgspec.msgpack.decode(self._message(timeout_s))
        except OSError as error:
            raise Died(self._death()) from error
        except msgspec.DecodeError as error:
            raise Died("it answered with garbage") from error
        if not isinstance(answer, dict):
            raise Died("it answered with garbage")
        self._look()
        return answer

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._held.close()

    def _message(self, timeout_s: float) -> bytes:
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size, timeout_s))
        if length > LONGEST:
            raise Died("it answers without end")
        return self._exactly(length, timeout_s)

    def _exactly(self, count: int, timeout_s: float) -> bytes:
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        data = b""
        while len(data) < count:
            if not poll.poll(timeout_s * 1e3) and not self._held_up(poll, timeout_s):
                raise Died(f"it gave no answer within {timeout_s:g} s")
            part = os.read(self._answers, count - len(data))
            if not part:
                raise Died(self._death())
            data += part
        return data

    def _held_up(self, poll: select.poll, timeout_s: float) -> bool:
        """Whether an answer that is late comes after all. A device that has no time for it is no
        fault of the code: what has computed for a quarter of a further time-out is."""
        for _ in range(_PATIENCE):
            before = self._used_s()
            if poll.poll(timeout_s * 1e3):
                return True
            if self._used_s() - before > timeout_s / 4:
                return False
        return False

    def _used_s(self) -> float:
        """Processor time that it has taken. Raises OSError: it has ended."""
        words = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def _look(self) -> None:
        """Let it go on computing: what runs between two questions, or for ever, is ended by the
        kernel when its time is used up."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        with contextlib.suppress(OSError):  # it has ended: the next question tells
            _, hard = resource.prlimit(self.pid, resource.RLIMIT_CPU)
            most = int(self._used_s()) + 1 + _CPU_S
            if hard != resource.RLIM_INFINITY:
                most = min(most, hard)
            resource.prlimit(self.pid, resource.RLIMIT_CPU, (most, hard))

    def _death(self) -> str:
        try:
            code = self._process.wait(_DYING_S)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        if code == -signal.SIGXCPU:
            return "it used up its processor time"
        if code == -signal.SIGKILL:
            return "the system ended it: it ran short of memory"
        return f"it died of {signal.Signals(-code).name}" if code < 0 else f"it ended ({code})"

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    """Read and write end; the write end is closed at the end."""
    theirs, ours = os.pipe()
    stack.callback(os.close, ours)
    return theirs, ours
