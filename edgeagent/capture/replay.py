"""Recorded sensor values, played again: rows of a table become windows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from edgeagent import clock
from edgeagent.capture.sensor.believe import Meaning, meanings
from edgeagent.capture.series import Series, Stretch
from edgeagent.capture.source import PICTURES, Tally, Wanted
from edgeagent.capture.table import Row, Table
from edgeagent.capture.windows import Cutter
from edgeagent.errors import InputError, SourceEnded
from edgeagent.types import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.config.model import ReplayConfig

_PROBE = 32


class _Cut(Struct, frozen=True):
    """A window that waits to be read."""

    values: NDArray[np.float32]
    position_s: float
    line: int


class ReplaySource:
    """JSON lines or CSV (by the class of ``config``), as windows float32 (length, channels).

    An unusable row raises InputError with its line and breaks the window off: no window holds
    a row that was not there, or reaches over a hole. Another rate than the model's is changed
    as `capture.series` tells.
    """

    live = False

    def __init__(self, name: str, config: ReplayConfig, wanted: Wanted = PICTURES) -> None:
        self.name = name
        self.paced = config.pace == "true"
        self.position_s = 0.0
        self.tally = Tally()
        self._config = config
        self._wanted = wanted
        self._table: Table | None = None
        self._cutter = Cutter(wanted.length or 1, wanted.hop)
        self._series = self._new_series()
        self._ready: deque[_Cut] = deque()
        self._channels: tuple[str, ...] = ()
        self._number = 0
        self._meanings: list[Meaning] = []
        self._names: tuple[str, ...] = ()
        tables = config.channels if isinstance(config.channels, dict) else {}
        self._fills = {channel: its.fill for channel, its in tables.items()}
        self._rate_hz = config.rate_hz or wanted.rate_hz or 1.0
        self._given = 0
        """Windows of this pass through the file."""
        self._rows = 0
        """Usable rows of this pass."""
        self._start_s = 0.0

    def open(self) -> None:
        """Open the file and read its header. Raises NotFound, NotPermitted, InputError."""
        config = self._config
        meant = config.channels if isinstance(config.channels, dict) else {}
        self._table = Table(
            config.path,
            csv_file=config.__struct_config__.tag == "csv",
            channels=tuple(meant[its].read or its if its in meant else its
                           for its in config.channels) or self._wanted.channels,
            time=config.time,
        )  # fmt: skip
        self._meanings = meanings(meant.values())
        self._names = tuple(meant)
        self._cutter = Cutter(self._wanted.length or 1, self._wanted.hop)
        self._series = self._new_series()
        self._ready.clear()
        self._given = self._rows = 0

    def read(self) -> Window:
        """The next window.

        Raises:
            InputError: a row is unusable (reading goes on behind it), or the file has too
                few rows for one window.
            SourceEnded: the end of the file.
        """
        while not self._ready:
            if self._table is None:
                raise SourceEnded
            self._advance(self._table)
        cut = self._ready.popleft()
        self._given += 1
        self._number += 1
        self.position_s = max(self.position_s, self._start_s + cut.position_s)
        return Window(
            self.name, self._number, cut.values, self._series.rate_hz, self._channels,
            clock.wall_ns(), clock.mono_ms(), f"{self._config.path}:{cut.line}",
        )  # fmt: skip

    def close(self) -> None:
        """Close the file."""
        table, self._table = self._table, None
        if table is not None:
            table.close()

    def _new_series(self) -> Series:
        return Series(
            timed=bool(self._config.time),
            own_hz=self._config.rate_hz,
            wanted_hz=self._wanted.rate_hz,
            probe=min(_PROBE, self._wanted.length or 1),
        )

    def _advance(self, table: Table) -> None:
        """Take one row."""
        try:
            row = next(table)
        except StopIteration:
            self._take(self._series.finish())
            if not self._ready:
                self._end_of_file()
            return
        except InputError:
            self._take(self._series.break_off())
            self._cutter.break_off()
            raise
        self._channels = self._names or table.channels or ()
        self._rows += 1
        if self._meanings:
            row = self._meant(row)
        try:
            self._take(self._series.push(row))
        except ValueError as error:
            self._cutter.break_off()
            raise InputError(f"{table.path}:{row.line}: {error}") from error

    def _meant(self, row: Row) -> Row:
        """The row calibrated. Raises InputError where a value is not to be believed."""
        when = np.array([row.time_s if row.time_s is not None else row.line / self._rate_hz])
        values = []
        for name, meaning, read in zip(self._names, self._meanings, row.values, strict=True):
            value = float(meaning(when, np.array([read]))[0])
            fill = self._fills[name]
            if value != value and fill is None:
                self._take(self._series.break_off())
                self._cutter.break_off()
                raise InputError(
                    f"{self._config.path}:{row.line}: {name} is {read:g}, which is not believed "
                    f"({', '.join(meaning.rejected)})"
                )
            values.append(fill if value != value and fill is not None else value)
        return Row(row.line, row.time_s, tuple(values))

    def _take(self, stretches: Iterable[Stretch]) -> None:
        for stretch in stretches:
            if stretch.hole:
                self._cutter.break_off()
            for values in self._cutter.push(stretch.rows):
                self._ready.append(_Cut(values, stretch.position_s, stretch.line))

    def _end_of_file(self) -> None:
        self._cutter.break_off()
        self.tally.unused += self._cutter.unused
        if self._given and self._config.loop and self._config.path != "-":
            self._start_s = self.position_s + self._cutter.hop / self._series.rate_hz
            self.close()
            self.open()
            return
        self.close()
        if not self._given:
            raise InputError(
                f"{self._config.path}: {self._rows} usable rows are too few: a window needs "
                f"{self._cutter.length} without a hole"
            )
