"""One counter of starts that did not last, outside the database (contract §4).

A change that takes the agent down can't be judged by the agent: it is not there. So each start
counts itself before it does anything else, and is struck out again once it has lasted, or ended
in good order. As RAUC's and SWUpdate's boot loaders do it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from edgeagent.errors import StoreError
from edgeagent.update.disk import Disk

log = logging.getLogger(__name__)

FILE = "boots.json"
HEALTHY_AFTER_S = float(os.environ.get("EDGEAGENT_HEALTHY_AFTER", "60"))
"""A start that has lasted so long counts as healthy; set otherwise for tests that kill often."""
UNDO_AT = 3
"""So many unhealthy starts undo what is on trial."""
SAFE_AT = 10
"""So many end in safe mode: link, commands, doctor; no pipelines."""


class Count(Struct, omit_defaults=True):
    unhealthy: int = 0
    """Starts in a row that did not last, the present one included while it is not healthy."""


class Boots:
    """The counter of a data folder. One thread."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self._file = folder / FILE
        self._disk = disk or Disk()
        self._before = self._now = self._read()

    @property
    def unhealthy(self) -> int:
        """Starts before this one that did not last, in a row."""
        return self._before

    @property
    def undo(self) -> bool:
        """What is on trial must go before it is run again."""
        return self._before >= UNDO_AT

    @property
    def safe_mode(self) -> bool:
        return self._before >= SAFE_AT

    def begin(self) -> None:
        """Count this start."""
        self._write(self._before + 1)

    def healthy(self) -> None:
        """It has lasted. In safe mode nothing is shown by that: the pipelines did not run."""
        if not self.safe_mode:
            self._write(0)

    def ended(self) -> None:
        """It ends in good order, so it is no evidence of anything. After safe mode the pipelines
        are given another try: somebody has restarted it."""
        if self._now:
            self._write(SAFE_AT - UNDO_AT if self.safe_mode else self._before)

    def _read(self) -> int:
        try:
            return max(0, msgspec.json.decode(self._file.read_bytes(), type=Count).unhealthy)
        except (OSError, msgspec.MsgspecError):
            return 0

    def _write(self, count: int) -> None:
        self._now = count
        try:
            self._disk.write(self._file, msgspec.json.encode(Count(count)))
        except StoreError as error:
            # A full disk is no reason not to start.
            log.warning("starts can't be counted: %s", error)
