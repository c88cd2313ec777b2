"""Blocks of decisions on disk: a few files of appended blocks, the oldest removed as new ones come.

A block is ``length, CRC-32 (both 4 bytes, little endian), zlib``. Nothing is synchronised: what a
power cut takes are the last blocks, and a torn one ends its file.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgeagent.durable import put
from edgeagent.errors import NotPermitted, unwritable

FOLDER = "decisions"
_SEGMENTS = 4
_HEAD = struct.Struct("<II")
_LARGEST = 16 << 20


class Decisions:
    """The files of one data folder; one process writes, any may read.

    Args:
        data_dir: the agent's.
        max_bytes: of all files together.
    """

    def __init__(self, data_dir: Path, max_bytes: int) -> None:
        self._folder = data_dir / FOLDER
        self._segment_bytes = max(4096, max_bytes // _SEGMENTS)
        self._max_bytes = max_bytes
        self._current: Path | None = None

    def append(self, blocks: Sequence[bytes]) -> None:
        """Keep blocks. Raises NotPermitted, StoreFull, StoreError."""
        data = b"".join(_framed(block) for block in blocks)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            target = self._target(len(data))
            with target.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise unwritable(self._folder, error) from error

    def purge(self, old: Callable[[bytes], bool], *, dry: bool) -> int:
        """Take out the blocks that are old; how many. Raises as `append`."""
        gone = 0
        try:
            for file in segments(self._folder) if self._folder.is_dir() else ():
                blocks = [block for block, _ in _blocks(file.read_bytes())]
                stay = [block for block in blocks if not old(block)]
                gone += len(blocks) - len(stay)
                if dry or len(stay) == len(blocks):
                    continue
                if stay:
                    put(file, b"".join(map(_framed, stay)), mode=0o640)
                else:
                    file.unlink()
                    self._current = None
        except OSError as error:
            raise unwritable(self._folder, error) from error
        return gone

    def _target(self, more: int) -> Path:
        """The file that takes so many more bytes; makes room first."""
        files = segments(self._folder)
        if self._current is None and files:
            # A torn block would hide what is appended behind it.
            os.truncate(files[-1], _whole_bytes(files[-1]))
        newest = files[-1] if files else None
        if newest is None or newest.stat().st_size + more > self._segment_bytes:
            number = int(newest.stem) + 1 if newest is not None else 1
            newest = self._folder / f"{number:08d}.blocks"
            files.append(newest)
        used = sum(file.stat().st_size for file in files if file.exists()) + more
        while used > self._max_bytes and files[0] != newest:
            oldest = files.pop(0)
            used -= oldest.stat().st_size
            oldest.unlink()
        self._current = newest
        return newest


def segments(folder: Path) -> list[Path]:
    """The files, oldest first. Raises OSError where the folder can't be looked at."""
    return sorted(
        file for file in folder.iterdir() if file.suffix == ".blocks" and file.stem.isdigit()
    )


def read(data_dir: Path) -> Iterator[bytes]:
    """All blocks that are whole, oldest first; nothing where there are none.

    Raises:
        NotPermitted: this user may not read them.
    """
    folder = data_dir / FOLDER
    try:
        files = segments(folder)
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise _hidden(folder) from error
    for file in files:
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            continue  # removed meanwhile, being the oldest
        except PermissionError as error:
            raise _hidden(file) from error
        yield from (block for block, _ in _blocks(data))


def _hidden(place: Path) -> NotPermitted:
    return NotPermitted(
        f"{place}: decisions may not be read by this user",
        remedy="Ask as the agent's user: sudo -u edgeagent edgeagent why …",
    )


def _framed(block: bytes) -> bytes:
    packed = zlib.compress(block, 1)
    return _HEAD.pack(len(packed), zlib.crc32(packed)) + packed


def _blocks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Each whole block, and where it ends."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, crc = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + length
        packed = data[at + _HEAD.size : end]
        if length > _LARGEST or len(packed) < length or zlib.crc32(packed) != crc:
            return
        yield zlib.decompress(packed), end
        at = end


def _whole_bytes(file: Path) -> int:
    end = 0
    for _, end in _blocks(file.read_bytes()):  # noqa: B007 - the last one's end
        pass
    return end
