"""What a serial line speaks: found out by listening."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from edgeagent.capture.sensor.fields import Csv, Fields, parse_json, text_parser
from edgeagent.capture.sensor.lines import Port, Reader
from edgeagent.capture.sensor.nmea import NAMES, sentence_parser

BAUDS = (9600, 115200, 4800, 57600, 38400, 19200)
_LINES = 6


class Heard(Struct, frozen=True):
    """What was found."""

    format: str
    """Empty = lines that nothing of ours can read."""
    channels: tuple[str, ...]
    lines: tuple[str, ...]


def guess(lines: Sequence[str]) -> Heard:
    """The format that reads most lines, at least half of them."""
    readers: dict[str, Callable[[], Reader]] = {
        "nmea": lambda: Fields(sentence_parser({}), {}),
        "json": lambda: Fields(parse_json, {}),
        "csv": lambda: Csv({}, ()),
        "text": lambda: Fields(text_parser(""), {}),
    }
    best = Heard("", (), tuple(lines))
    most = max(1, (len(lines) + 1) // 2) - 1
    for name, make in readers.items():
        reader, count = make(), 0
        for line in lines:
            try:
                count += reader.row(line) is not None
            except ValueError:
                continue
        if count > most:
            most = count
            channels = _named(lines) if name == "nmea" else reader.channels
            best = Heard(name, channels, tuple(lines))
    return best


def _named(lines: Sequence[str]) -> tuple[str, ...]:
    """The values that go by names in these sentences, as far as they are there."""
    parse = sentence_parser({})
    found: dict[str, None] = {}
    for line in lines:
        try:
            fields = parse(line) or {}
        except ValueError:
            continue
        found.update({name: None for name in sorted(NAMES) if fields.get(name)})
    return tuple(found)


def listen(port: Port, patience_s: float) -> Heard:
    """Hear some lines of a port and guess. Raises SourceLost, NotPermitted, Busy."""
    port.open()
    try:
        data = b""
        until = time.monotonic() + patience_s
        while time.monotonic() < until and data.count(b"\n") <= _LINES:
            data += port.read(max(0.0, until - time.monotonic()))
    finally:
        port.close()
    # The first line may have begun before we listened, the last one not have ended.
    lines = [line for line in data.split(b"\n")[1:-1] if line.strip()]
    shown = [line.decode("ascii", "replace").strip() for line in lines]
    return guess([line for line in shown if "�" not in line and line.isprintable()])
