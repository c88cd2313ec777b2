"""The log of a batch: all that is done so far, in the order in which it came.

One file that is only appended to, made of blocks with checksums. A process that is killed, or a
power loss, leaves at most a torn tail: it is cut off when the log is opened again, and what it
held is done again. Blocks are put in the order of the inputs when the result is written.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from edgeagent.batch.block import Block, Parser, Torn
from edgeagent.errors import Busy, UsageError, unwritable

VERSION = 1
_SYNC_S = 1.0
"""A power loss takes the work of so long at most."""
_READ = 1 << 20


class Header(Struct, frozen=True):
    """The first line: what the blocks belong to."""

    batch: int
    model: str
    inputs: int
    identity: dict[str, str]


class _Place(Struct, frozen=True, order=True):
    """Where the payload of a block lies."""

    input: int
    first: int
    at: int
    bytes: int


class Log:
    """Open with `open_log`; use it in a ``with``."""

    def __init__(self, path: Path, file: BinaryIO, header: Header) -> None:
        self.path = path
        self.header = header
        self.done: set[int] = set()
        """Indices of inputs of which nothing more comes."""
        self.started: dict[int, int] = {}
        """Samples that are told of inputs that are not done."""
        self.samples = 0
        self.skipped = 0
        self._file = file
        self._places: list[_Place] = []
        self._end = 0
        self._synced = time.monotonic()

    def append(self, block: Block) -> bool:
        """Keep a block; False = it was known already, as when a lost worker's answer comes."""
        head = block.head
        if head.input in self.done or head.first != self.started.get(head.input, 0):
            return False
        encoded = block.encoded()
        try:
            self._file.write(encoded)
            if time.monotonic() - self._synced >= _SYNC_S:
                self.sync()
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._know(block, self._end + len(encoded) - head.bytes)
        self._end += len(encoded)
        return True

    def flush(self) -> None:
        """Hand what is buffered to the system: it outlives this process then."""
        try:
            self._file.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def sync(self) -> None:
        """Have everything on the medium."""
        self.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def rows(self) -> Iterator[bytes]:
        """Payloads in the order of the inputs: the same bytes however often the work was
        interrupted and by however many it was done."""
        self.flush()
        with self.path.open("rb") as file:
            for place in sorted(self._places):
                file.seek(place.at)
                yield file.read(place.bytes)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _know(self, block: Block, at: int) -> None:
        head = block.head
        self._places.append(_Place(head.input, head.first, at, head.bytes))
        self.samples += head.rows
        self.skipped += head.skipped
        if head.end:
            self.done.add(head.input)
            self.started.pop(head.input, None)
        else:
            self.started[head.input] = head.first + head.rows

    def _recover(self) -> None:
        """Read what is there, and cut off what is torn."""
        line = self._file.readline()
        at = self._end = len(line)
        parser = Parser()
        try:
            while data := self._file.read(_READ):
                for block in parser.feed(data):
                    at += len(block.encoded())
                    self._know(block, at - block.head.bytes)
                    self._end = at
        except Torn:
            pass  # nothing behind a torn block can be trusted; it is done again
        self._file.truncate(self._end)
        self._file.seek(self._end)


def open_log(path: Path, header: Header, *, restart: bool = False) -> Log:
    """The log at ``path``, with what it has of this very work; made where there is none.

    Raises:
        Busy: another batch is writing to it.
        UsageError: it belongs to other work.
        NotFound, NotPermitted, StoreFull: it can't be written.
    """
    try:
        file = path.open("r+b" if path.exists() else "x+b")
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log = Log(path, file, header)
        known = None if restart else _known(file)
        if known is None:
            _begin(log, file, header)
        else:
            _compare(path, known, header)
            log._recover()
    except BlockingIOError as error:
        file.close()
        raise Busy(f"{path}: another batch is writing to it") from error
    except OSError as error:
        file.close()
        raise unwritable(path, error) from error
    except BaseException:
        file.close()
        raise
    return log


def _known(file: BinaryIO) -> Header | None:
    """The header that is there; None = it is empty or was torn when it was written."""
    line = file.readline()
    file.seek(0)
    if not line.endswith(b"\n"):
        return None
    try:
        return msgspec.json.decode(line, type=Header)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{file.name}: is not the log of a batch", remedy="Name another file with --out."
        ) from error


def _begin(log: Log, file: BinaryIO, header: Header) -> None:
    file.seek(0)
    file.truncate(0)
    log._end = file.write(msgspec.json.encode(header) + b"\n")
    log.sync()


def _compare(path: Path, known: Header, header: Header) -> None:
    names = {"model": "model", "settings": "settings (such as the threshold)", "inputs": "inputs"}
    other = [names[key] for key in names if known.identity.get(key) != header.identity[key]]
    if known.batch != VERSION:
        other = ["version of edgeagent"]
    if other:
        told = f"{known.model} over {known.inputs:,} inputs"
        raise UsageError(
            f"{path}: is the log of another batch ({told}); different: {', '.join(other)}",
            remedy="Begin anew with --restart, or name another file with --out.",
        )
