"""Stretches of local time: the hour, day and month that a budget is for, and times of the day."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Literal

from msgspec import Struct

from edgeagent.errors import ConfigError

Span = Literal["hour", "day", "month"]
SPANS: tuple[Span, ...] = ("hour", "day", "month")
LONGEST_S: dict[Span, float] = {"hour": 3600.0, "day": 25 * 3600.0, "month": 31 * 86400.0 + 3600.0}
"""How long each may last (a day has 25 hours where summer time ends)."""

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? )?"
    r"(?P<from>\d\d:\d\d)-(?P<to>\d\d:\d\d)"
)


class Window(Struct, frozen=True):
    """A time of the day on some days of the week. Minutes since midnight; an end before the
    beginning lies on the next day, which still counts as the day it began on."""

    days: frozenset[int]
    begins: int
    ends: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """``"22:00-06:00"`` or ``"mon-fri 08:00-18:00"``. Raises ConfigError."""
        found = _WINDOW.fullmatch(text.strip().lower())
        try:
            if found is None:
                raise ValueError
            first = _DAYS.index(found["first"] or "mon")
            last = _DAYS.index(found["last"] or found["first"] or "sun")
            begins, ends = _minutes(found["from"]), _minutes(found["to"])
            days = frozenset((first + n) % 7 for n in range((last - first) % 7 + 1))
            return cls(days, begins, ends)
        except ValueError:
            raise ConfigError(
                f"{text!r} is not a time of the day",
                remedy='Write "22:00-06:00" or "mon-fri 08:00-18:00".',
            ) from None

    def holds(self, at: datetime) -> bool:
        """Whether ``at`` (local) lies within it."""
        minute, today = at.hour * 60 + at.minute, at.weekday()
        if self.begins < self.ends:
            return today in self.days and self.begins <= minute < self.ends
        late = today in self.days and minute >= self.begins
        return late or ((today - 1) % 7 in self.days and minute < self.ends)


class Calendar:
    """Local time of one zone. Instants are nanoseconds since 1970 (UTC)."""

    def __init__(self, zone: str = "UTC", month_begins: int = 1) -> None:
        """``month_begins``: the day (1–28) on which the tariff's month begins."""
        self._zone = local_zone(zone)
        self._skip = month_begins - 1

    def key(self, span: Span, at_ns: int) -> str:
        """Names the span that ``at_ns`` lies in; later spans sort behind earlier ones."""
        at = self._local(at_ns)
        if span == "hour":
            return f"{at:%Y-%m-%dT%H}"
        return f"{at:%Y-%m-%d}" if span == "day" else f"{at - timedelta(days=self._skip):%Y-%m}"

    def end(self, span: Span, at_ns: int) -> int:
        """When the span that ``at_ns`` lies in is over."""
        at = self._local(at_ns)
        if span == "hour":
            end = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        else:
            end = at.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
            days = 1
            if span == "month":
                end -= timedelta(days=self._skip)
                days = 32 - end.day
            end += timedelta(days=days)
            if span == "month":
                end = end.replace(day=1 + self._skip)
        return int(end.timestamp()) * 1_000_000_000

    def within(self, windows: Iterable[Window], at_ns: int) -> bool:
        """Whether ``at_ns`` lies in one of the windows."""
        at = self._local(at_ns)
        return any(window.holds(at) for window in windows)

    def _local(self, at_ns: int) -> datetime:
        return datetime.fromtimestamp(at_ns // 1_000_000_000, self._zone)


def _minutes(text: str) -> int:
    hours, minutes = int(text[:2]), int(text[3:])
    if hours > 23 or minutes > 59:
        raise ValueError
    return hours * 60 + minutes


def local_zone(name: str) -> tzinfo:
    if name in ("", "UTC"):
        return timezone.utc
    import zoneinfo  # 10 ms, and most devices keep UTC

    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise ConfigError(
            f"device.timezone {name!r} is not known here",
            remedy='Write a name such as "Europe/Berlin", or install tzdata.',
        ) from error
