"""A folder into which somebody else puts pictures: a camera by FTP, a scanner, another program.

Nothing is lost: each new file is read once, in the order of their times, and waits for a slow
pipeline. A file that is still being written is left alone until it has stayed the same from one
look to the next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent import clock
from edgeagent.capture.pictures import SUFFIXES, read_picture
from edgeagent.capture.source import PICTURES, Tally, Wanted
from edgeagent.config.units import seconds
from edgeagent.errors import EdgeAgentError, InputError, SourceLost
from edgeagent.types import Frame

if TYPE_CHECKING:
    from edgeagent.config.model import FolderConfig

log = logging.getLogger(__name__)

_State = tuple[int, int]
"""Size and time of change (ns) of a file."""


class FolderSource:
    """Gives each picture that appears below a folder."""

    live = False

    def __init__(self, name: str, config: FolderConfig, wanted: Wanted = PICTURES) -> None:
        del wanted
        self.name = name
        self.origin = config.path
        self.tally = Tally()
        self.alive_at = 0.0
        self._root = Path(config.path)
        self._config = config
        self._every_s = seconds(config.every)
        self._number = 0
        self._known: dict[Path, _State] = {}
        """Files that were given, or were there before."""
        self._waiting: dict[Path, _State] = {}
        """Files as they were at the last look."""
        self._ready: deque[Path] = deque()
        self._begun = False
        self._interrupted = threading.Event()

    def open(self) -> None:
        """See what is there. Raises SourceLost where the folder is not."""
        there = self._look()
        if not self._begun and not self._config.existing:
            self._known = dict(there)
        self._begun = True
        self.tally.note = f"{len(there)} pictures at the beginning"

    def read(self) -> Frame:
        """The next new picture, whenever it comes.

        Raises:
            SourceLost: the folder has gone, or the source was interrupted.
            InputError: this file is unusable; the next call goes on with the next one.
        """
        while not self._ready:
            self.alive_at = time.monotonic()
            if self._interrupted.wait(self._every_s):
                raise SourceLost(f"{self._root}: stopped")
            self._take_new(self._look())
        return self._frame(self._ready.popleft())

    def close(self) -> None:
        """What waits stays on disk, and is found again."""
        for file in self._ready:
            self._known.pop(file, None)
        self._ready.clear()

    def interrupt(self) -> None:
        """End waiting, for good."""
        self._interrupted.set()

    def _look(self) -> dict[Path, _State]:
        try:
            if not self._root.is_dir():
                raise SourceLost(f"{self._root}: there is no such folder")
            found: dict[Path, _State] = {}
            for file in self._root.rglob("*") if self._config.recursive else self._root.iterdir():
                if file.suffix.lower() in SUFFIXES and fnmatch(file.name, self._config.pattern):
                    self._note(file, found)
            return found
        except OSError as error:
            raise SourceLost(f"{self._root}: can't be read: {error.strerror}") from error

    @staticmethod
    def _note(file: Path, found: dict[Path, _State]) -> None:
        try:
            status = file.stat()
        except FileNotFoundError:
            return  # it was removed meanwhile
        found[file] = (status.st_size, status.st_mtime_ns)

    def _take_new(self, there: dict[Path, _State]) -> None:
        new = {file: its for file, its in there.items() if self._known.get(file) != its}
        whole = [file for file, its in new.items() if self._waiting.get(file) == its and its[0]]
        for file in sorted(whole, key=lambda its: (new[its][1], its)):
            self._known[file] = new[file]
            self._ready.append(file)
        self._waiting = {file: its for file, its in new.items() if self._known.get(file) != its}
        # What has gone needs no memory; it may come again under the same name.
        self._known = {file: its for file, its in self._known.items() if file in there}

    def _frame(self, file: Path) -> Frame:
        try:
            pixels = read_picture(file)
            changed_ns = file.stat().st_mtime_ns
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}") from error
        except EdgeAgentError as error:
            raise InputError(str(error), remedy=error.remedy) from error
        if self._config.then == "delete":
            self._delete(file)
        # A picture is as old as its file.
        age_ms = max(0.0, (clock.wall_ns() - changed_ns) / 1e6)
        self._number += 1
        mono_ms = clock.mono_ms() - age_ms
        return Frame(self.name, self._number, pixels, changed_ns, mono_ms, str(file))

    def _delete(self, file: Path) -> None:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            # It is known, so it is not given again; only the disk fills up.
            log.warning("source %s: %s can't be removed: %s", self.name, file, error.strerror)
