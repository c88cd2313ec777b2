"""Lines that come by themselves, through whatever port: found again after garbage."""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

from edgeagent.capture.rhythm import Rhythm
from edgeagent.capture.sensor.probe import Batch, Faults, batch
from edgeagent.capture.sensor.timeline import Timeline
from edgeagent.errors import SourceLost

_LONGEST = 65_536
"""Bytes without a line end that are kept: whatever sends more sends no lines."""
_GARBAGE = 20
_GARBAGE_S = 3.0
"""So many unusable lines in a row, over so long, and none that can be used: something else is
wrong than the way."""


class Port(Protocol):
    """Bytes from somewhere."""

    def open(self) -> None:
        """Raises SourceLost, NotPermitted, Busy."""

    def read(self, timeout_s: float) -> bytes:
        """What came, as soon as something did; empty = nothing in time.

        Raises SourceLost, SourceEnded.
        """

    def close(self) -> None: ...


class Reader(Protocol):
    """What lines mean; see `fields`."""

    channels: tuple[str, ...]
    time_s: float | None

    def row(self, line: str) -> list[float] | None: ...


class LineProbe:
    """One stream of lines.

    Args:
        joins_in: it may begin in the middle of a line, which looks like a whole one.
        patience: silence beyond what is usual means that it is lost.
    """

    def __init__(
        self, name: str, port: Port, reader: Reader, *, joins_in: bool, patience: bool
    ) -> None:
        self.name = name
        self.faults = Faults()
        self._port = port
        self._reader = reader
        self._joins_in = joins_in
        self._rhythm = Rhythm() if patience else None
        self._timeline = Timeline()
        self._rest = b""
        self._lines: deque[bytes] = deque()
        self._hole = False
        self._garbage = 0
        self._good_at = 0.0
        self._last = 0.0
        self._skips = False

    @property
    def channels(self) -> tuple[str, ...]:
        return self._reader.channels

    def open(self) -> None:
        """Open the port."""
        self._port.open()
        self._rest = b""
        self._lines.clear()
        self._hole = self._last > 0
        self._skips = self._joins_in
        self._garbage = 0
        self._good_at = self._last = time.monotonic()
        if self._rhythm is not None:
            self._rhythm.pause()

    def read(self, until: float) -> Batch | None:
        """Rows of all lines that came; one batch ends at a line that can't be used.

        Raises:
            SourceLost: the port is, or nothing usable comes.
        """
        if not self._lines:
            data = self._port.read(max(0.0, until - time.monotonic()))
            if not data:
                self._silent(time.monotonic())
                return None
            self._split(data)
        return self._rows() if self._lines else None

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def _split(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            self._unusable(f"{len(self._rest)} bytes without a line end")
            self._rest, self._skips = b"", True
        if lines and self._skips:
            lines, self._skips = lines[1:], False
        self._lines.extend(line for line in lines if line.strip())

    def _rows(self) -> Batch | None:
        arrived = time.monotonic()
        rows: list[list[float]] = []
        sent: list[float] = []
        hole, self._hole = self._hole, False
        while self._lines:
            line = self._lines.popleft().decode("utf-8", "replace")
            try:
                row = self._reader.row(line)
            except ValueError as error:
                self._unusable(str(error))
                if rows:
                    break
                hole, self._hole = True, False
                continue
            if row is None:
                continue
            rows.append(row)
            if self._reader.time_s is not None:
                sent.append(self._reader.time_s)
        if not rows:
            self._hole = hole
            return None
        if len(sent) == len(rows):
            times = self._timeline(sent, arrived)
        else:
            # They waited together: spread over the time since the last ones came.
            step = (arrived - self._last) / len(rows)
            times = [self._last + step * (number + 1) for number in range(len(rows))]
        self._garbage, self._good_at, self._last = 0, arrived, arrived
        if self._rhythm is not None:
            self._rhythm.tick(arrived)
        return batch(times, rows, hole)

    def _unusable(self, why: str) -> None:
        self.faults.add(why)
        self._hole = True
        self._garbage += 1
        if self._garbage >= _GARBAGE and time.monotonic() - self._good_at > _GARBAGE_S:
            raise SourceLost(
                f"{self.name}: nothing of it can be used: {why}",
                remedy="Check its speed (baud), its format and what else is connected.",
            )

    def _silent(self, now: float) -> None:
        rhythm = self._rhythm
        if rhythm is None or now - self._last <= rhythm.silence_s:
            return
        rhythm.lost_in_silence()
        raise SourceLost(f"{self.name}: silent for {now - self._last:.0f} s")
