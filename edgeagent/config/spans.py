"""Stretches of local time: the hour, day and month that a budget is for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from edgeagent.config.hours import Window, local_zone

Span = Literal["hour", "day", "month"]
SPANS: tuple[Span, ...] = ("hour", "day", "month")
LONGEST_S: dict[Span, float] = {"hour": 3600.0, "day": 25 * 3600.0, "month": 31 * 86400.0 + 3600.0}
"""How long each may last (a day has 25 hours where summer time ends)."""


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
