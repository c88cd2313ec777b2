"""A source: pictures of a folder, each shown for some samples."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgeagent.capture.pictures import read_picture
from edgeagent.errors import NotFound, SourceEnded
from edgeagent.types import Frame


class Slideshow:
    """Options: ``folder``; ``each``, samples of one picture (8); ``rounds`` (1)."""

    live = False
    """It waits until a sample is taken, and loses none."""

    def __init__(self, name: str, options: dict[str, Any], wanted: Any = None) -> None:
        del wanted  # how windows of values are to be cut; this one gives pictures
        self.name = name
        self._folder = Path(options["folder"])
        self._each = int(options.get("each", 8))
        self._rounds = int(options.get("rounds", 1))
        self._files: list[Path] = []
        self._number = 0

    def open(self) -> None:
        self._files = sorted(self._folder.glob("*.png")) * self._rounds
        if not self._files:
            raise NotFound(f"{self._folder}: there are no slides")

    def read(self) -> Frame:
        if self._number >= len(self._files) * self._each:
            raise SourceEnded
        file = self._files[self._number // self._each]
        self._number += 1
        mono_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e6
        return Frame(
            self.name, self._number, read_picture(file), time.time_ns(), mono_ms, str(file)
        )

    def close(self) -> None:
        self._files = []
