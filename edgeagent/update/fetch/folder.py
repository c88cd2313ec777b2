"""The repository in a folder: a stick that was carried to the device, or a mounted share."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event
from typing import BinaryIO

from edgeagent.errors import NotFound, Unavailable, Untrusted
from edgeagent.update.fetch.port import Sink, checked, stop

_BLOCK = 1 << 20


class FolderCarrier:
    """A `Carrier` out of a folder with ``metadata`` and ``targets``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = str(folder)

    def read(self, path: str, most: int, stopped: Event) -> bytes | None:
        stop(stopped)
        stream = self._open(path)
        if stream is None:
            return None
        with stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise Untrusted(f"{path}: more than {most} bytes")
        return data

    def bring(self, path: str, sink: Sink, stopped: Event) -> None:
        stream = self._open(path)
        if stream is None:
            raise NotFound(f"{self._folder} has no file {path}")
        with stream:
            size = os.fstat(stream.fileno()).st_size
            if size != sink.pieces.size:
                raise Untrusted(f"{path}: {size} bytes, signed are {sink.pieces.size}")
            for first, end in list(sink.pieces.gaps()):
                stream.seek(first)
                for offset in range(first, end, _BLOCK):
                    stop(stopped)
                    data = stream.read(min(_BLOCK, end - offset))
                    if len(data) != min(_BLOCK, end - offset):
                        raise Unavailable(f"{self._folder}/{path} ended early")
                    sink.put(offset, data)

    def close(self) -> None:
        """Nothing is held."""

    def _open(self, path: str) -> BinaryIO | None:
        if not self._folder.is_dir():
            raise Unavailable(
                f"there is no folder {self._folder}", remedy="Put the medium in, and mount it."
            )
        file = self._folder / checked(path)
        try:
            if not file.resolve().is_relative_to(self._folder.resolve()):
                raise Untrusted(f"{path} leads out of {self._folder}")
            return file.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unavailable(f"{file} can't be read: {error.strerror}") from error
