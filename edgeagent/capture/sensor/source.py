"""Readings of one or several probes as windows: what every sensor source is."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from msgspec import Struct

from edgeagent import clock
from edgeagent.capture.sensor.align import Align, Rows
from edgeagent.capture.sensor.believe import Meaning, meanings
from edgeagent.capture.sensor.even import Even
from edgeagent.capture.sensor.probe import Batch, Probe
from edgeagent.capture.sensor.strands import Strands, Taken
from edgeagent.capture.source import Tally, Wanted
from edgeagent.capture.windows import Cutter
from edgeagent.config.channels import Channel
from edgeagent.config.units import seconds
from edgeagent.errors import ConfigError, SourceLost
from edgeagent.types import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.capture.sensor.align import Method

_LOOK_S = 0.5
_LEAST_S = 0.005
"""What is due and still not there is not asked for in a busy loop."""
_TELL_S = 1.0
_MOST_ROWS = 4096
"""So many are cut even where a window needs more, or readings of hours would be held."""
_OPEN_S = 3.0
"""Patience with devices that are slow to open; those that need longer join later."""
_RATE_HZ = 1.0


class Keys(Protocol):
    """What a source needs of its configuration."""

    @property
    def align(self) -> Method: ...
    @property
    def gap(self) -> str | None: ...
    @property
    def rate_hz(self) -> float | None: ...


class _Cut(Struct, frozen=True):
    """A window that waits to be read."""

    values: NDArray[np.float32]
    time_s: float
    """time.monotonic() of its last row."""


class SensorSource:
    """Windows float32 (length, channels) of live values; the newest count.

    A row of which a channel is missing (`config.channels.Channel.fill` aside) is part of no
    window. What is missing, and why, is told in ``tally.ailing`` while everything else goes on.

    Args:
        channels: by name, in order; empty = what the probe has.
        streams: the probe sends by itself, so ``rate_hz`` means evenly spaced rows.
    """

    live = True
    network = False

    def __init__(
        self, name: str, config: Keys, wanted: Wanted, probes: Sequence[Probe],
        channels: Mapping[str, Channel], *, streams: bool,
    ) -> None:  # fmt: skip
        self.name = name
        self.tally = Tally()
        self.alive_at = time.monotonic()
        self._config = config
        self._wanted = wanted
        self._probes = list(probes)
        self._configured = dict(channels)
        self._streams = streams
        self._strands: Strands | None = None
        self._interrupted = threading.Event()
        self._grid: Align | Even | None = None
        self._columns: list[tuple[list[int], list[int]]] = []
        """For each probe: which of its readings count, and the columns of these."""
        self._meanings: list[Meaning] = []
        self._cutter = Cutter(wanted.length or 1, wanted.hop)
        self._ready: deque[_Cut] = deque()
        self._waiting: list[Batch] = []
        """Evenly spaced rows that are not calibrated yet."""
        self._channels: tuple[str, ...] = wanted.channels or ()
        self._number = 0
        self._rows = 0
        self._broken = 0
        self._given = 0
        self._told = 0.0
        self.rate_hz = wanted.rate_hz or config.rate_hz or _RATE_HZ
        """Rows per second of its windows."""

    # --- the port of a source --------------------------------------------------------------

    def open(self) -> None:
        """Open all devices; those that are not there yet join later.

        Raises:
            ConfigError: the configuration or the model does not fit the device.
            SourceLost, NotPermitted, Busy: nothing can be had.
        """
        self._grid, self._told = None, 0.0
        self._cutter.break_off()
        self._ready.clear()
        self._waiting.clear()
        self.tally.ailing = ""
        self.tally.rate_hz = self.rate_hz / self._cutter.hop
        self.alive_at = time.monotonic()
        if len(self._probes) == 1:
            self._probes[0].open()
        else:
            self._strands = Strands(self._probes)
            self._strands.start(_OPEN_S)
        self.alive_at = time.monotonic()
        if self._configured or self._probes[0].channels:
            self._settle()
        names = ", ".join(self._channels) or "channels as they come"
        self.tally.note = f"{self.rate_hz:g} Hz: {names}"

    def read(self) -> Window:
        """The next window. Raises SourceLost, SourceEnded."""
        while not self._ready:
            if self._interrupted.is_set():
                raise SourceLost("it was stopped")
            self._advance()
        cut = self._ready.popleft()
        self._number += 1
        ago_s = time.monotonic() - cut.time_s
        return Window(
            self.name, self._number, cut.values, self.rate_hz, self._channels,
            clock.wall_ns() - round(ago_s * 1e9), clock.mono_ms() - ago_s * 1e3,
            ", ".join(probe.name for probe in self._probes),
        )  # fmt: skip

    def close(self) -> None:
        """Let go of all devices."""
        strands, self._strands = self._strands, None
        if strands is not None:
            strands.stop()
            strands.join(_LOOK_S)
            return
        self._probes[0].close()

    def interrupt(self) -> None:
        """Make `read`, the present call and all later ones, raise SourceLost."""
        self._interrupted.set()
        strands = self._strands
        if strands is not None:
            strands.stop()

    # --- from readings to windows ----------------------------------------------------------

    def _advance(self) -> None:
        """Wait for readings until the next window may be whole, at most half a second."""
        now = time.monotonic()
        due = self._grid.due(self._lacking()) if self._grid else float("inf")
        until = min(now + _LOOK_S, max(due, now + _LEAST_S))
        for taken in self._take(until):
            self._push(taken)
        now = self.alive_at = time.monotonic()
        grid = self._grid
        if grid is None:
            return
        if self._waiting and isinstance(grid, Even):
            self._work_off(grid, now)
        if grid.ready(now) >= min(self._lacking(), _MOST_ROWS):
            rows = grid.take(now)
            if rows is not None:
                self._cut(rows)
        if now - self._told >= _TELL_S:
            self._told = now
            self._tell(grid, now)

    def _lacking(self) -> int:
        return max(1, self._cutter.lacking)

    def _take(self, until: float) -> Iterator[Taken]:
        if self._strands is not None:
            yield from self._strands.read(until)
            return
        found = self._probes[0].read(until)
        if found is not None:
            yield Taken(0, found)

    def _push(self, taken: Taken) -> None:
        if self._grid is None:
            self._settle()
        grid, batch = self._grid, taken.batch
        places, columns = self._columns[taken.probe]
        if grid is None or not places:
            return
        if not isinstance(grid, Even):
            grid.push(columns, batch.times, self._believed(batch, places, columns))
            return
        if batch.hole:
            self._work_off(grid, float("inf"))
            rows = grid.take(0.0)
            if rows is not None:
                self._cut(rows)
            grid.break_off()
        self._waiting.append(batch)

    def _work_off(self, grid: Even, now: float) -> None:
        """Calibrate what came, all at once as soon as it may fill a window: fifty times a second a
        few rows of each channel would cost more than everything else."""
        waiting = self._waiting
        if not waiting:
            return
        count = sum(len(batch.times) for batch in waiting)
        lacking = grid.lacking(min(self._lacking(), _MOST_ROWS))
        if count < lacking and now - waiting[0].times[0] < _LOOK_S:
            return
        times = np.concatenate([batch.times for batch in waiting])
        whole = Batch(times, np.concatenate([batch.values for batch in waiting]))
        waiting.clear()
        places, columns = self._columns[0]
        grid.push(columns, times, self._believed(whole, places, columns))

    def _believed(self, batch: Batch, places: list[int], columns: list[int]) -> NDArray[np.float64]:
        values = np.empty((len(batch.times), len(places)))
        for number, (place, column) in enumerate(zip(places, columns, strict=True)):
            values[:, number] = self._meanings[column](batch.times, batch.values[:, place])
        return values

    def _cut(self, rows: Rows) -> None:
        self._rows += len(rows.values)
        if rows.hole:
            self._cutter.break_off()
        period = 1.0 / self.rate_hz
        for start, end in _stretches(rows.whole):
            if start:
                self._cutter.break_off()
            windows = self._cutter.push(rows.values[start:end])
            last_s = rows.time_s - (len(rows.values) - end + self._cutter.behind) * period
            for number, values in enumerate(windows):
                ago = (len(windows) - 1 - number) * self._cutter.hop
                self._ready.append(_Cut(values, last_s - ago * period))
            self._given += len(windows)
        if not rows.whole[-1]:
            self._cutter.break_off()
        self._broken += int(np.count_nonzero(~rows.whole))
        self.tally.unused = self._cutter.unused + self._broken

    def _settle(self) -> None:
        """Which channels there are is known now. Raises ConfigError where the model's are not
        among them."""
        known = list(self._configured) or list(self._probes[0].channels)
        names = self._wanted.channels or tuple(known)
        absent = [name for name in names if name not in known]
        if absent:
            raise ConfigError(
                f"sources.{self.name}: has no channel {', '.join(absent)}, which its model wants; "
                f"it has {', '.join(known) or 'none'}",
                remedy=f'Add [sources.{self.name}.channels.{absent[0]}] with read = "…", or say '
                "channels = { … } in the pipeline.",
            )
        self._channels = names
        channels = [self._configured.get(name, _PLAIN) for name in names]
        self._meanings = meanings(channels)
        fills = [channel.fill for channel in channels]
        gap_s = seconds(self._config.gap) if self._config.gap else None
        if self._streams and self._config.rate_hz and len(self._probes) == 1:
            self._grid = Even(fills, self._config.rate_hz, self.rate_hz, gap_s)
        else:
            self._grid = Align(fills, self.rate_hz, self._config.align, gap_s)
        place = {name: column for column, name in enumerate(names)}
        self._columns = []
        for probe in self._probes:
            counting = sorted(
                (place[name], its) for its, name in enumerate(probe.channels) if name in place
            )
            self._columns.append(([its for _, its in counting], [its for its, _ in counting]))

    # --- what people are told --------------------------------------------------------------

    def _tell(self, grid: Align | Even, now: float) -> None:
        lost = self._strands.lost() if self._strands else {}
        reasons = [f"{name}: {reason}" for name, reason in lost.items()]
        for column, silent_s in grid.missing_for(now).items():
            name = self._channels[column]
            reasons.append(f"{name}: no value for {silent_s:.0f} s{self._why(name, column)}")
        self.tally.ailing = "; ".join(reasons)
        self.tally.corrupt = sum(probe.faults.count for probe in self._probes)
        self.tally.figures = {
            "channels": {name: self._channel(column) for column, name in enumerate(self._channels)},
            "windows_skipped": self._skipped(),
            "late_readings": grid.late,
        }

    def _channel(self, column: int) -> dict[str, Any]:
        meaning, name = self._meanings[column], self._channels[column]
        channel = self._configured.get(name, _PLAIN)
        value = meaning.last
        return {
            "value": None if value != value else round(value, 6),
            "unit": channel.unit or self._unit(name),
            **({"rejected": dict(meaning.rejected)} if meaning.rejected else {}),
        }

    def _unit(self, name: str) -> str:
        return next((unit for probe in self._probes
                     if (unit := getattr(probe, "units", {}).get(name))), "")  # fmt: skip

    def _why(self, name: str, column: int) -> str:
        """The reason of a channel that is missing, as far as one is known."""
        for probe in self._probes:
            if name in probe.faults.since or (name in probe.channels and probe.faults.last):
                return f" ({probe.faults.last})"
        rejected = self._meanings[column].rejected
        return f" (not believed: {', '.join(rejected)})" if rejected else ""

    def _skipped(self) -> int:
        """Windows that would be there if all rows were whole."""
        if self._rows < self._cutter.length:
            return 0
        whole = (self._rows - self._cutter.length) // self._cutter.hop + 1
        return max(0, whole - self._given)


_PLAIN = Channel()


def _stretches(whole: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Start and end of each run of rows that are whole."""
    if whole.all():
        yield 0, len(whole)
        return
    edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
