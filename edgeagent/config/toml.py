"""TOML with line numbers: `parse_toml` gives the tables and where each key stands.

The parser of the standard library (``tomllib``; ``tomli`` below Python 3.11) tells no places,
so a scanner walks the same text a second time. It only ever sees text that has parsed, hence
it may be short: it knows how keys, strings, arrays and inline tables begin and end (TOML 1.0,
https://toml.io/en/v1.0.0) and nothing about what values mean.
"""

from __future__ import annotations

import bisect
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

KeyPath = tuple[str | int, ...]
"""Keys from the root; numbers are positions in arrays."""

_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_PAIR = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")
_HEADER = re.compile(r"^\s*\[\[?([^\[\]#=]+)")
_BLANK = " \t\r\n"
_BARE_END = " \t\r\n,]}#"
_KEY_END = " \t=.]"


class Place(NamedTuple):
    """Where a key stands; line 0 = not in a file that has lines (a flag, JSON)."""

    file: str
    line: int


class Places(dict[KeyPath, Place]):
    """Key path → where it is set."""

    def nearest(self, path: KeyPath, file: str = "") -> Place:
        """The place of ``path`` or of the closest table or array that holds it."""
        for end in range(len(path), 0, -1):
            place = self.get(path[:end])
            if place is not None:
                return place
        return Place(file, 0)


class TomlError(ValueError):
    """It is no TOML. ``str()`` begins with ``line N``."""

    def __init__(self, said: str, text: str, line: int, column: int = 0) -> None:
        where = f"line {line}, column {column}" if column else f"line {line}"
        super().__init__(f"{where}: {said}")
        self.said = said
        self.line = line
        self.column = column
        self.text = text
        self.key = _key_near(text.split("\n"), line)
        """The key whose line it is, as far as one can tell; may be empty."""

    def all(self) -> list[TomlError]:
        """This one and those further down the text, as far as they can be told apart."""
        from edgeagent.config.mistakes import further

        below = further(self.text, self.line, lambda text: parse_text(text, ""))
        return [self, *(error for error in below if isinstance(error, TomlError))]


def parse_toml(file: Path) -> tuple[dict[str, Any], Places]:
    """Tables of a TOML file and the line of every key.

    Raises:
        OSError: it can't be read.
        TomlError: it is no TOML.
    """
    data = file.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise TomlError("the file is UTF-16; save it as UTF-8", "", 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TomlError(
            f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8",
            data.decode("utf-8", errors="replace"),
            data.count(b"\n", 0, error.start) + 1,
        ) from error
    return parse_text(text, str(file))


def read_plainly(file: Path) -> dict[str, Any]:
    """Tables of a sound TOML file, without lines: a third of the time of `parse_toml`.

    Raises:
        OSError: it can't be read.
        ValueError: it is no TOML; `parse_toml` says where.
    """
    table: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    return table


def parse_text(text: str, file: str) -> tuple[dict[str, Any], Places]:
    """As `parse_toml`, of text. Raises TomlError."""
    text = text.replace("\r\n", "\n")
    if "\x00" in text:
        said = "the file holds zero bytes, as after a power cut; restore it from a copy"
        raise TomlError(said, text, text.count("\n", 0, text.index("\x00")) + 1)
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except ValueError as error:  # tomllib's own, or of a number that Python can't take
        raise _explained(str(error), text) from error
    except RecursionError as error:
        raise TomlError("values are nested too deeply", text, 1) from error
    return table, _Scanner(text, file).scan()


def _explained(message: str, text: str) -> TomlError:
    """From tomllib's ``Expected '=' after a key (at line 3, column 5)``."""
    match = _WHERE.search(message)
    said = message[: match.start()] if match else message
    said = said[:1].lower() + said[1:]
    line, column = (int(match[1]), int(match[2])) if match and match[1] else (0, 0)
    if not line:
        line = text.rstrip().count("\n") + 1
        said += " before the end of the file" if match else ""
    from edgeagent.config.mistakes import remedy

    advice = remedy(said, text, line)
    return TomlError(said + (f"; {advice}" if advice else ""), text, line, column)


def _key_near(lines: list[str], number: int) -> str:
    """The key of a line by its looks, below the last header above it."""
    match = _PAIR.match(lines[number - 1]) if number <= len(lines) else None
    for line in reversed(lines[:number]):
        header = _HEADER.match(line)
        if header:
            return f"{header[1].strip()}.{match[1]}" if match else header[1].strip()
    return match[1] if match else ""


class _Scanner:
    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.at = 0
        self.starts = [0] + [i + 1 for i, char in enumerate(text) if char == "\n"]
        self.places = Places()
        self.last: dict[KeyPath, int] = {}
        """Arrays of tables → position of their newest table."""

    def scan(self) -> Places:
        table: KeyPath = ()
        while self.skip(_BLANK) < len(self.text):
            if self.text.startswith("[", self.at):
                table = self.header()
            else:
                self.pair(table)
        return self.places

    def header(self) -> KeyPath:
        array = self.text.startswith("[[", self.at)
        here = self.at
        self.at += 2 if array else 1
        keys = self.keys()
        self.at += 2 if array else 1
        path: KeyPath = ()
        for position, key in enumerate(keys):
            path = (*path, key)
            self.mark(path, here)
            if position < len(keys) - 1 and path in self.last:
                path = (*path, self.last[path])
        if array:
            self.last[path] = self.last.get(path, -1) + 1
            path = (*path, self.last[path])
        # A table's own header tells more than a sub-table that came before it.
        self.places.pop(path, None)
        self.mark(path, here)
        return path

    def pair(self, table: KeyPath) -> None:
        here = self.at
        path = table
        for key in self.keys():
            path = (*path, key)
            self.mark(path, here)
        self.skip(_BLANK)
        self.at += 1  # =
        self.skip(_BLANK)
        self.value(path)

    def keys(self) -> list[str]:
        found = []
        while True:
            self.skip(" \t")
            start = self.at
            if self.text[start] in "\"'":
                self.string()
                found.append(tomllib.loads("k=" + self.text[start : self.at])["k"])
            else:
                while self.text[self.at] not in _KEY_END:
                    self.at += 1
                found.append(self.text[start : self.at])
            self.skip(" \t")
            if self.text[self.at] != ".":
                return found
            self.at += 1

    def value(self, path: KeyPath) -> None:
        first = self.text[self.at]
        if first in "\"'":
            self.string()
        elif first == "[":
            self.array(path)
        elif first == "{":
            self.inline_table(path)
        else:
            while self.at < len(self.text) and self.text[self.at] not in _BARE_END:
                self.at += 1
            # A date and its time may be parted by one blank: 1979-05-27 07:32:00.
            after = self.text[self.at : self.at + 2]
            if first.isdigit() and after[:1] == " " and after[1:].isdigit():
                self.at += 1
                self.value(path)

    def array(self, path: KeyPath) -> None:
        self.at += 1
        position = 0
        while self.skip(_BLANK + ",") and self.text[self.at] != "]":
            here = (*path, position)
            self.mark(here, self.at)
            self.value(here)
            position += 1
        self.at += 1

    def inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while self.skip(_BLANK + ",") and self.text[self.at] != "}":
            self.pair(path)
        self.at += 1

    def string(self) -> None:
        quote = self.text[self.at]
        mark = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(mark)
        while not self.text.startswith(mark, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(mark)
        if len(mark) == 3:  # up to two quotes may stand before the closing three
            for _ in range(2):
                if self.text.startswith(quote, self.at):
                    self.at += 1

    def skip(self, characters: str) -> int:
        """Over blanks and comments; returns the position reached."""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif char in characters:
                self.at += 1
            else:
                break
        return self.at

    def mark(self, path: KeyPath, at: int) -> None:
        line = bisect.bisect_right(self.starts, at)
        self.places.setdefault(path, Place(self.file, line))
