"""What one line or message says: JSON, CSV, text, NMEA 0183 → a number for each channel.

A reader gives a row, None for a line that is not about its channels, or ValueError with a sentence
for one that can't be used. A field that is empty (a GPS without a fix) is NaN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

NAN = float("nan")
_WORDS = {"on": 1.0, "off": 0.0, "true": 1.0, "false": 0.0, "open": 1.0, "closed": 0.0}
_PAIR = re.compile(r"([A-Za-z_][\w.-]*)\s*[=:]\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
_LARGEST = 1e300
_NUMBERS = {float, int}

Parse = Callable[[str], "Mapping[str, Any] | None"]
"""A line → its fields; None = not about us. Raises ValueError."""


class Fields:
    """Rows out of what a parser finds.

    Args:
        reads: channel → field; a dotted one goes into tables and lists. Empty = all numbers of
            the first line that can be read.
        time: field with the sender's time in seconds; empty = none.
    """

    def __init__(self, parse: Parse, reads: Mapping[str, str], time: str = "") -> None:
        self.channels = tuple(reads)
        self.time_s: float | None = None
        """The sender's time of the last row."""
        self._parse = parse
        self._time = time
        self._paths = [_path(read or channel) for channel, read in reads.items()]
        self._quick = self._plain_names()
        """Names of the fields, where none of them is within another: a thousand lines a second are
        read without a detour."""

    def row(self, line: str) -> list[float] | None:
        """A number for each channel. Raises ValueError."""
        fields = self._parse(line)
        if fields is None:
            return None
        if not self.channels:
            self._discover(fields)
        if self._quick and isinstance(fields, dict):
            row: list[Any] = [fields.get(name) for name in self._quick]
            if _NUMBERS.issuperset(map(type, row)):
                return row
        values = [_find(fields, path) for path in self._paths]
        if all(value is None for value in values):
            raise ValueError(f"holds none of {', '.join(self.channels)}: {line[:60]!r}")
        if self._time:
            self.time_s = number(fields.get(self._time), self._time)
        return [number(value, name) for value, name in zip(values, self.channels, strict=True)]

    def _discover(self, fields: Mapping[str, Any]) -> None:
        names = [name for name, value in fields.items() if name != self._time and _numeric(value)]
        if not names:
            raise ValueError("holds no numbers")
        self.channels = tuple(names)
        self._paths = [(name,) for name in names]
        self._quick = self._plain_names()

    def _plain_names(self) -> list[str]:
        plain = not self._time and all(len(path) == 1 for path in self._paths)
        return [path[0] for path in self._paths] if plain else []


class Csv:
    """Rows of numbers between commas, semicolons, tabs or blanks, by their places.

    Args:
        columns: names of the columns in order; empty = the channels.
    """

    def __init__(self, reads: Mapping[str, str], columns: Sequence[str], time: str = "") -> None:
        names = list(columns) or ([time] if time else []) + [
            read or name for name, read in reads.items()
        ]
        self.channels = tuple(reads) or tuple(name for name in names if name and name != time)
        self.time_s: float | None = None
        wanted = [reads[name] or name for name in reads] or list(self.channels)
        unknown = [name for name in (*wanted, *([time] if time else [])) if name not in names]
        if unknown:
            raise LookupError(", ".join(unknown))
        self._places = [names.index(name) for name in wanted]
        self._time = names.index(time) if time else None
        self._count = len(names)

    def row(self, line: str) -> list[float] | None:
        """A number for each channel. Raises ValueError."""
        cells = line.split("," if "," in line else ";" if ";" in line else None)
        if not self._count:
            self._discover(cells)
        if len(cells) != self._count:
            raise ValueError(f"{len(cells)} columns instead of {self._count}: {line[:60]!r}")
        try:
            row = [float(cells[place]) for place in self._places]
        except ValueError:
            row = [number(cells[place], f"column {place + 1}") for place in self._places]
        if self._time is not None:
            self.time_s = number(cells[self._time], "the time")
        return row

    def _discover(self, cells: list[str]) -> None:
        for cell in cells:
            float(cell)
        self._count = len(cells)
        self.channels = tuple(f"column{place + 1}" for place in range(len(cells)))
        self._places = list(range(len(cells)))


def parse_json(line: str) -> Mapping[str, Any]:
    """A JSON object. Raises ValueError."""
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        try:
            found = json.loads(line)  # which takes NaN as well, as Python writes it
        except (ValueError, RecursionError) as error:
            raise ValueError(f"is no JSON: {line[:60]!r}") from error
    if not isinstance(found, dict):
        raise ValueError(f"is no JSON object: {line[:60]!r}")
    return found


def text_parser(pattern: str) -> Parse:
    """Fields by a pattern's named groups, or by ``name=value`` and ``name: value``."""
    if not pattern:

        def pairs(line: str) -> Mapping[str, Any]:
            found = dict(_PAIR.findall(line))
            if not found:
                raise ValueError(f"has no name=value: {line[:60]!r}")
            return found

        return pairs
    compiled = re.compile(pattern)

    def matched(line: str) -> Mapping[str, Any]:
        match = compiled.search(line)
        if match is None:
            raise ValueError(f"does not match the pattern: {line[:60]!r}")
        return match.groupdict()

    return matched


def number(value: Any, name: str) -> float:
    """A value as a number; NaN where there is none. Raises ValueError."""
    if isinstance(value, (int, float)):
        found = float(value) if abs(value) < _LARGEST else NAN
    elif value is None:
        return NAN
    else:
        text = str(value).strip()
        if not text:
            return NAN
        word = _WORDS.get(text.lower())
        if word is not None:
            return word
        try:
            found = float(text)
        except ValueError:
            raise ValueError(f"{name} is {text[:40]!r}, no number") from None
    return found if abs(found) < _LARGEST else NAN


def _path(read: str) -> tuple[str, ...]:
    return tuple(read.split(".")) if read else ()


def _find(fields: Any, path: tuple[str, ...]) -> Any:
    """The value at a path; None where there is none. A key with dots in it goes first."""
    if len(path) > 1 and isinstance(fields, Mapping) and ".".join(path) in fields:
        return fields[".".join(path)]
    for part in path:
        if isinstance(fields, Mapping):
            fields = fields.get(part)
        elif isinstance(fields, list) and part.isdigit() and int(part) < len(fields):
            fields = fields[int(part)]
        else:
            return None
    return fields


def _numeric(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool)
