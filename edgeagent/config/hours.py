"""Times of the day on days of the week, in the device's own zone."""

from __future__ import annotations

import re
from datetime import datetime, timezone, tzinfo

from msgspec import Struct

from edgeagent.errors import ConfigError

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


def local_zone(name: str) -> tzinfo:
    """A zone by its name (``device.timezone``). Raises ConfigError."""
    if name == "UTC":
        return timezone.utc
    import zoneinfo  # 10 ms, and most devices keep UTC

    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise ConfigError(
            f"device.timezone {name!r} is not known here",
            remedy='Write a name such as "Europe/Berlin", or install tzdata.',
        ) from error


def _minutes(text: str) -> int:
    hours, minutes = int(text[:2]), int(text[3:])
    if hours > 23 or minutes > 59:
        raise ValueError
    return hours * 60 + minutes
