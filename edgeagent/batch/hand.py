"""One worker process, as its parent sees it: given jobs, heard, and gone at its end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

import edgeagent
from edgeagent import errors
from edgeagent.batch.block import Block, Parser, Torn
from edgeagent.batch.order import Job, Order
from edgeagent.batch.worker import Opened
from edgeagent.errors import Busy, EdgeAgentError, ModelError

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from edgeagent.batch.worker import main; main(*map(int, sys.argv[2:]))"
)
_READ = 1 << 20
_LONGEST = 1 << 16


class Hand:
    """A worker. `close` ends it. Raises Busy where no process can be started."""

    def __init__(self, order: Order) -> None:
        self.waiting: deque[Job] = deque()
        """What it was given and has not told, in this order."""
        self.opened: Opened | None = None
        self.heard = time.monotonic()
        self._parser = Parser()
        self._head = b""
        self._why = ""
        with contextlib.ExitStack() as stack:
            self._prints = stack.enter_context(tempfile.TemporaryFile())
            self.channel, theirs = _pipe(stack)
            tied, lifeline = os.pipe()
            stack.callback(os.close, lifeline)
            path = [str(Path(edgeagent.__file__).parent.parent), *sys.path]
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _BOOT, _json(path), str(theirs), str(tied)],
                    stdin=subprocess.PIPE,
                    # Runtimes and OpenCV print to both.
                    stdout=self._prints,
                    stderr=self._prints,
                    pass_fds=(theirs, tied),
                    # Ctrl-C is the parent's to handle.
                    start_new_session=True,
                )
            except OSError as error:
                raise Busy(f"no worker can be started: {error.strerror}") from error
            finally:
                os.close(theirs)
                os.close(tied)
            stack.callback(self._end)
            assert self._process.stdin is not None
            # So a list of long paths never waits for a worker that waits for us to listen.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._process.stdin, fcntl.F_SETPIPE_SZ, 1 << 20)
            self._held = stack.pop_all()
        self._send(msgspec.json.encode(order))

    @property
    def pid(self) -> int:
        return self._process.pid

    def give(self, jobs: Sequence[Job]) -> None:
        """Have it do these after what it has."""
        if not self.waiting:
            self.heard = time.monotonic()
        self.waiting.extend(jobs)
        self._send(msgspec.json.encode(list(jobs)))

    def receive(self) -> list[Block] | None:
        """What it has told, when `channel` can be read; None = it has ended.

        Raises:
            EdgeAgentError: it could not open the model; of the class that it met.
        """
        data = os.read(self.channel, _READ)
        if not data:
            return None
        self.heard = time.monotonic()
        if self.opened is None:
            data = self._open(data)
        blocks = []
        try:
            for block in self._parser.feed(data):
                self._told(block)
                blocks.append(block)
        except Torn:
            # Native code has written over its memory: what it says is worth nothing any more.
            self.kill("it answered with garbage")
        return blocks

    def death(self) -> str:
        """How it ended, in plain words."""
        code = self._process.wait()
        if self._why:
            return self._why
        size = self._prints.seek(0, os.SEEK_END)
        self._prints.seek(max(0, size - 2000))
        said = self._prints.read().decode("utf-8", "replace").strip().splitlines()
        last = f" ({said[-1].strip()[:200]})" if said else ""
        if code == -signal.SIGKILL:
            return f"SIGKILL, as when memory runs short{last}"
        return f"{signal.Signals(-code).name if code < 0 else f'exit code {code}'}{last}"

    def kill(self, why: str) -> None:
        """End it; `receive` tells of it as of any end."""
        self._why = why
        self._process.kill()

    def close(self) -> None:
        self._held.close()

    def _open(self, data: bytes) -> bytes:
        """Take the first line; what comes behind it is given back."""
        self._head += data
        line, cut, rest = self._head.partition(b"\n")
        if not cut:
            if len(line) > _LONGEST:
                raise ModelError("a worker answers without end while it opens the model")
            return b""
        opened = msgspec.json.decode(line, type=Opened)
        if opened.failed:
            raise error_of(opened)
        self.opened = opened
        return rest

    def _told(self, block: Block) -> None:
        job = self.waiting.popleft()
        if not block.head.end:
            start = block.head.first + block.head.rows
            self.waiting.appendleft(msgspec.structs.replace(job, start=start))

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        # One that has died is told by `receive`.
        with contextlib.suppress(OSError):
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()


def error_of(opened: Opened) -> EdgeAgentError:
    """The failure that a worker met, as an error of this process."""
    kind = getattr(errors, opened.failed, ModelError)
    try:
        problem = kind(opened.text, remedy=opened.remedy)
    except TypeError:  # a class with words of its own
        problem = ModelError(opened.text, remedy=opened.remedy)
    assert isinstance(problem, EdgeAgentError)
    return problem


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    """Both ends; the reading one is closed by the stack."""
    ours, theirs = os.pipe()
    stack.callback(os.close, ours)
    return ours, theirs


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
