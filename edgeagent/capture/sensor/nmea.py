"""NMEA 0183 sentences: the values that people ask for by name, all others by place.

Source: NMEA 0183 version 4.11 as documented by gpsd ("NMEA Revealed", Eric S. Raymond). A sentence
is ``$`` talker type, fields between commas, ``*`` and the XOR of all bytes in between as two hex
digits.
"""

from __future__ import annotations

from collections.abc import Mapping

_NAMED: dict[str, tuple[tuple[str, int], ...]] = {
    "GGA": (("fix", 6), ("satellites", 7), ("hdop", 8), ("altitude", 9)),
    "RMC": (("speed_knots", 7), ("course", 8)),
    "VTG": (("course", 1), ("speed_knots", 5), ("speed_kmh", 7)),
    "MTW": (("water_temperature", 1),),
    "DBT": (("depth", 3),),
    "DPT": (("depth", 1),),
    "MWV": (("wind_angle", 1), ("wind_speed", 3)),
    "HDT": (("heading", 1),),
}
"""Sentence → names of its fields, by place behind the type."""
_PLACES: dict[str, tuple[int, int]] = {"GGA": (2, 4), "RMC": (3, 5), "GLL": (1, 3)}
"""Sentence → places of latitude and longitude, each followed by its half of the earth."""
NAMES = frozenset(["lat", "lon", *(name for named in _NAMED.values() for name, _ in named)])


def sentence_parser(reads: Mapping[str, str]) -> _Parser:
    """A parser for `fields.Fields` that passes over sentences which hold none of these fields."""
    return _Parser({read or name for name, read in reads.items()})


class _Parser:
    def __init__(self, wanted: set[str]) -> None:
        self._wanted = wanted

    def __call__(self, line: str) -> Mapping[str, str] | None:
        """Fields by name and by place (``GGA.9``); None where none of them is wanted.

        Raises:
            ValueError: it is no sentence, or its check sum is wrong.
        """
        kind, cells = _sentence(line)
        found = {f"{kind}.{place}": cell for place, cell in enumerate(cells, 1)}
        for name, place in _NAMED.get(kind, ()):
            if place <= len(cells):
                found[name] = cells[place - 1]
        if kind in _PLACES and len(cells) > _PLACES[kind][1]:
            lat, lon = _PLACES[kind]
            found["lat"] = _degrees(cells[lat - 1], cells[lat])
            found["lon"] = _degrees(cells[lon - 1], cells[lon])
        wanted = self._wanted
        return found if not wanted or wanted & found.keys() else None


def _sentence(line: str) -> tuple[str, list[str]]:
    start = line.rfind("$")
    body, star, told = line[start + 1 :].strip().rpartition("*")
    if start < 0 or not star:
        raise ValueError(f"is no NMEA sentence: {line[:60]!r}")
    own = 0
    for byte in body.encode("latin-1", "replace"):
        own ^= byte
    if told.strip().upper() != f"{own:02X}":
        raise ValueError(f"has the check sum {told[:2]!r} instead of {own:02X}: {line[:60]!r}")
    head, *cells = body.split(",")
    return head[-3:], cells


def _degrees(text: str, half: str) -> str:
    """``4807.038`` N → degrees as a text; empty stays empty."""
    if not text:
        return ""
    degrees, point, rest = text.partition(".")
    whole = float(degrees[:-2] or 0) + float(degrees[-2:] + point + rest) / 60
    return repr(-whole if half in ("S", "W") else whole)
