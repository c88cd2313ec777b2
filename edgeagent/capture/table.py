"""Rows of sensor values from text: CSV with a header, or one JSON object a line.

Every row is either a complete tuple of finite numbers or an InputError that names file, line
and column. Nothing is guessed, filled in or skipped in silence.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from edgeagent.errors import InputError, NotFound, NotPermitted

Read = Callable[[str, str, object], float]
"""(where, name, value) → a finite number, or InputError."""

_DELIMITERS = (",", ";", "\t")


class Row(Struct, frozen=True):
    """One usable row."""

    line: int
    time_s: float | None
    values: tuple[float, ...]


class Table:
    """An opened table.

    Args:
        path: the file; ``-`` is standard input.
        csv_file: CSV with a header, else JSON lines.
        channels: columns to read, in order; None = all numeric ones but the time, as the
            header or the first usable object orders them.
        time: column of the time, in seconds or as ISO 8601; empty = none.

    Raises:
        NotFound, NotPermitted, InputError: the file or its header can't be used.
    """

    def __init__(
        self, path: str, *, csv_file: bool, channels: tuple[str, ...] | None, time: str
    ) -> None:
        self.path = path
        self.channels = channels
        self._time = time
        self._stream = _open(path)
        self._line = 0
        self._columns: list[str] | None = None
        try:
            self._csv = self._header() if csv_file else None
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        """The next row. Raises InputError for an unusable one; go on with the next."""
        return self._next_json() if self._csv is None else self._next_csv(self._csv)

    def close(self) -> None:
        """Close the file (not standard input)."""
        if self._stream is not sys.stdin:
            self._stream.close()

    # --- CSV -------------------------------------------------------------------------------

    def _header(self) -> Iterator[list[str]]:
        first = self._stream.readline()
        self._line = 1
        if not first.strip():
            raise InputError(f"{self.path}: the file is empty; a header with names is needed")
        delimiter = max(_DELIMITERS, key=first.count)
        try:
            names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter))]
        except csv.Error as error:  # zero bytes, before Python 3.11
            raise InputError(f"{self.path}: its header is no text: {error}") from error
        if all(_is_number(name) for name in names):
            raise InputError(
                f"{self.path}: line 1 holds numbers instead of names",
                remedy="Add a header line, e.g. time,x,y,z",
            )
        self._columns = names
        if self.channels is None:
            self.channels = tuple(name for name in names if name and name != self._time)
        for name in (*self.channels, *([self._time] if self._time else [])):
            if name not in names:
                raise InputError(
                    f"{self.path}: has no column {name!r}; its header says {', '.join(names)}"
                )
        return csv.reader(self._stream, delimiter=delimiter)

    def _next_csv(self, reader: Iterator[list[str]]) -> Row:
        columns = self._columns or []
        while True:
            self._line += 1
            try:
                cells = next(reader)
            except csv.Error as error:
                raise InputError(f"{self.path}:{self._line}: {error}") from error
            except OSError as error:
                raise InputError(f"{self.path}: can't be read: {error.strerror}") from error
            if cells:
                break
        if len(cells) != len(columns):
            raise InputError(
                f"{self.path}:{self._line}: {len(cells)} values instead of {len(columns)}"
            )
        row = dict(zip(columns, cells, strict=True))
        return self._row(row, _from_text)

    # --- JSON lines ------------------------------------------------------------------------

    def _next_json(self) -> Row:
        while True:
            try:
                text = self._stream.readline()
            except OSError as error:
                raise InputError(f"{self.path}: can't be read: {error.strerror}") from error
            if not text:
                raise StopIteration
            self._line += 1
            if text.strip():
                break
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path}:{self._line}: is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{self.path}:{self._line}: is no JSON object ({{…}})")
        if self.channels is None:
            self.channels = tuple(
                name for name, value in row.items() if name != self._time and _may_be_number(value)
            )
        return self._row(row, _from_json)

    # --- both ------------------------------------------------------------------------------

    def _row(self, row: Mapping[str, object], read: Read) -> Row:
        where = f"{self.path}:{self._line}"
        time_s = None
        if self._time:
            time_s = _time(where, self._time, row.get(self._time), read)
        values = tuple(read(where, name, row.get(name)) for name in self.channels or ())
        if not values:
            raise InputError(f"{where}: has no numbers")
        return Row(self._line, time_s, values)


def _from_text(where: str, name: str, value: object) -> float:
    text = str(value).strip() if value is not None else ""
    if not text:
        raise InputError(f"{where}: {name} is empty")
    try:
        number = float(text)
    except ValueError as error:
        hint = " (a decimal comma?)" if _is_number(text.replace(",", ".")) else ""
        raise InputError(f"{where}: {name} is {text[:40]!r}, not a number{hint}") from error
    return _finite(where, name, number)


def _from_json(where: str, name: str, value: object) -> float:
    if value is None:
        raise InputError(f"{where}: {name} is missing or null")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{where}: {name} is {str(value)[:40]!r}, not a number")
    try:
        return _finite(where, name, float(value))
    except OverflowError as error:
        raise InputError(f"{where}: {name} is too large a number") from error


def _time(where: str, name: str, value: object, read: Read) -> float:
    """Seconds: a number, or a date and time as ISO 8601 writes it (UTC unless it says)."""
    if isinstance(value, str) and not _is_number(value):
        try:
            moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        except ValueError as error:
            raise InputError(
                f"{where}: {name} is {value[:40]!r}, neither seconds nor a date and time"
            ) from error
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.timestamp()
    return read(where, name, value)


def _finite(where: str, name: str, number: float) -> float:
    # The largest float32; what is beyond becomes infinity on its way into a tensor.
    if not math.isfinite(number) or abs(number) > 3.4028234e38:
        raise InputError(f"{where}: {name} is {number}, not a finite number")
    return number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _may_be_number(value: object) -> bool:
    # A null is a number that is missing today; left out now, it would never be missed.
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _open(path: str) -> TextIO:
    if path == "-":
        return sys.stdin
    try:
        return Path(path).open(encoding="utf-8-sig", errors="replace", newline="")
    except FileNotFoundError as error:
        raise NotFound(f"{path}: there is no such file") from error
    except PermissionError as error:
        raise NotPermitted(f"{path}: may not be read") from error
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from error
