"""Whether sources of values make sense: devices, channels, calibration.

Imported only where a configuration has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from edgeagent.config.check import Fault
from edgeagent.config.look import Look
from edgeagent.config.toml import KeyPath


def sensors(look: Look) -> Iterator[Fault]:
    """All that is wrong with them."""
    for name, source in look.named("sources"):
        path: KeyPath = ("sources", name)
        check = _KINDS.get(str(source.get("kind")))
        if check is not None:
            yield from check(look, path)
        for channel, _ in look.named("sources", name, "channels"):
            yield from _channel(look, (*path, "channels", channel))


def _channel(look: Look, path: KeyPath) -> Iterator[Fault]:
    if look.get(*path, "scale") == 0:
        said = "every value would be the offset"
        yield look.fault((*path, "scale"), "", "", "1 leaves values as they are", said)
    least, most = look.get(*path, "min"), look.get(*path, "max")
    if _numbers(least, most) and least >= most:
        said = f"min is {least}, max is {most}: nothing lies between"
        yield look.fault((*path, "min"), "", "", "exchange them", said)
    points = look.get(*path, "points")
    if isinstance(points, list) and points:
        yield from _points(look, (*path, "points"), points)
    fill = look.get(*path, "fill")
    if _numbers(fill, 0) and abs(fill) > 3.4e38:
        yield look.fault((*path, "fill"), "a number that a tensor can hold", str(fill))


def _points(look: Look, path: KeyPath, points: list[Any]) -> Iterator[Fault]:
    try:
        read = sorted(float(x) for x, _ in points)
    except (TypeError, ValueError):
        return  # `check` has named it
    if len(read) < 2:
        remedy = "for one, use offset"
        yield look.fault(path, "at least 2 points", str(len(read)), remedy)
    same = [before for before, after in pairwise(read) if before == after]
    if same:
        said = f"two points say what {same[0]:g} means"
        yield look.fault(path, "", "", "keep one of them", said)


def _serial(look: Look, path: KeyPath) -> Iterator[Fault]:
    if not look.text(*path, "device"):
        remedy = 'add device = "/dev/serial/by-id/…" (see edgeagent devices list)'
        yield look.fault(path, "a device", "none", remedy)
    form, pattern = look.text(*path, "format") or "text", look.text(*path, "pattern")
    if pattern and form != "text":
        remedy = 'take it away, or say format = "text"'
        yield look.fault((*path, "pattern"), "", "", remedy, f"a {form} line has no pattern")
    if pattern:
        yield from _pattern(look, path, pattern)
    columns = look.get(*path, "columns")
    if isinstance(columns, list) and columns and form != "csv":
        remedy = 'take it away, or say format = "csv"'
        yield look.fault((*path, "columns"), "", "", remedy, f"a {form} line has no columns")
    elif form == "csv" and isinstance(columns, list) and columns:
        yield from _columns(look, path, [its for its in columns if isinstance(its, str)])


def _pattern(look: Look, path: KeyPath, pattern: str) -> Iterator[Fault]:
    here = (*path, "pattern")
    try:
        groups = list(re.compile(pattern).groupindex)
    except (re.error, OverflowError, RecursionError) as error:
        yield look.fault(here, "", "", "", f"is no regular expression: {error}")
        return
    if not groups:
        remedy = "name what it finds: (?P<t>[-0-9.]+)"
        yield look.fault(here, "a pattern with named groups", "none", remedy)
        return
    yield from _fields(look, path, groups, "a named group of the pattern")


def _columns(look: Look, path: KeyPath, columns: list[str]) -> Iterator[Fault]:
    yield from _fields(look, path, columns, "a column")
    time = look.text(*path, "time")
    if time and time not in columns:
        from edgeagent.config.words import did_you_mean

        yield look.fault((*path, "time"), "a column", f'"{time}"', did_you_mean(time, columns))


def _fields(look: Look, path: KeyPath, known: list[str], what: str) -> Iterator[Fault]:
    """Each channel reads something that is there."""
    from edgeagent.config.words import did_you_mean

    for name, channel in look.named(*map(str, path), "channels"):
        read = channel.get("read") or name
        if isinstance(read, str) and read not in known:
            key = (*path, "channels", name, *(("read",) if channel.get("read") else ()))
            yield look.fault(key, what, f'"{read}"', did_you_mean(read, known))


def _modbus(look: Look, path: KeyPath) -> Iterator[Fault]:
    host, device = look.text(*path, "host"), look.text(*path, "device")
    if bool(host) == bool(device):
        said = "host (TCP) and device (RTU) are both given" if host else "neither host nor device"
        yield look.fault(path, "", "", "give one of them", said)
    if not list(look.named(*map(str, path), "channels")):
        remedy = "add a table for each register: [sources.….channels.t] with address = …"
        yield look.fault((*path, "channels"), "at least one channel", "none", remedy)
    for name, channel in look.named(*map(str, path), "channels"):
        table, kind = channel.get("table", "holding"), channel.get("type", "int16")
        here = (*path, "channels", name)
        if table in ("coil", "discrete") and kind not in ("bool", "int16"):
            said = f"a {table} is one bit, not {kind}"
            yield look.fault((*here, "type"), "", "", 'say type = "bool"', said)
        address = channel.get("address")
        wide = {"int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4}
        if isinstance(address, int) and address + wide.get(str(kind), 1) > 65536:
            said = f"{kind} at {address} reaches beyond the last register, 65535"
            yield look.fault((*here, "address"), "", "", "", said)


def _mqtt(look: Look, path: KeyPath) -> Iterator[Fault]:
    if not look.text("mqtt", "host"):
        remedy = "add host to [mqtt]"
        said = "it reads at the agent's own broker, and there is none"
        yield look.fault(path, "", "", remedy, said)
    whole = look.text(*path, "topic")
    named = list(look.named(*map(str, path), "channels"))
    if not named:
        remedy = 'add channels = { t = { topic = "…" } }'
        yield look.fault((*path, "channels"), "at least one channel", "none", remedy)
    if whole:
        yield from _topic(look, (*path, "topic"), whole)
    for name, channel in named:
        own = channel.get("topic", "")
        if isinstance(own, str) and own:
            yield from _topic(look, (*path, "channels", name, "topic"), own)
        elif not whole:
            remedy = 'add topic = "…" here, or to the source for all channels'
            yield look.fault((*path, "channels", name), "a topic", "none", remedy)


def _topic(look: Look, path: KeyPath, topic: str) -> Iterator[Fault]:
    parts = topic.split("/")
    hashes = [place for place, part in enumerate(parts) if "#" in part]
    right = all(part in ("+", "#") for part in parts if "+" in part or "#" in part)
    if not right or (hashes and hashes != [len(parts) - 1]):
        remedy = "+ stands for one whole part between two /, # for all that follow, at the end"
        yield look.fault(path, "a topic or a filter", f'"{topic}"', remedy)


def _audio(look: Look, path: KeyPath) -> Iterator[Fault]:
    file, device = look.text(*path, "path"), look.text(*path, "device")
    if bool(file) == bool(device):
        said = "path and device are both given" if file else "neither a file nor a device"
        remedy = "keep one of them" if file else 'add path = "….wav" or device = "hw:CARD=…"'
        yield look.fault(path, "", "", remedy, said)
    channel, count = look.get(*path, "channel"), look.get(*path, "channels")
    if isinstance(channel, int) and isinstance(count, int) and channel >= count:
        said = f"channel {channel} is not among {count} (0 is the first)"
        yield look.fault((*path, "channel"), "", "", "", said)


def _numbers(*values: Any) -> bool:
    return all(isinstance(its, (int, float)) and not isinstance(its, bool) for its in values)


def _iio(look: Look, path: KeyPath) -> Iterator[Fault]:
    if look.get(*path, "buffer") is True and look.get(*path, "rate_hz") is None:
        remedy = "add rate_hz = …, as sampling_frequency_available of the device lists it"
        yield look.fault(path, "rate_hz beside buffer", "none", remedy)
    elif look.text(*path, "trigger") and look.get(*path, "buffer") is not True:
        remedy = "add buffer = true"
        yield look.fault((*path, "trigger"), "", "", remedy, "has no effect without buffer")
    for name, channel in look.named(*map(str, path), "channels"):
        if look.get(*path, "buffer") is True and channel.get("device"):
            said = "a buffer is of one device"
            here = (*path, "channels", name, "device")
            yield look.fault(here, "", "", "make a source of its own for it", said)


_KINDS = {"iio": _iio, "serial": _serial, "modbus": _modbus, "mqtt": _mqtt, "audio": _audio}
