"""When something was, on a clock that may be wrong: by the wall where it can be told, else how
long ago, else how far into which run of the machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo

from msgspec import Struct

from edgeagent import clock
from edgeagent.config.spans import local_zone
from edgeagent.config.units import seconds
from edgeagent.decide.block import Block
from edgeagent.errors import UsageError

DEFAULT_S = 3600.0


class Now(Struct, frozen=True):
    """The moment of asking."""

    boot: str
    ms: float
    wall_ms: float
    synced: bool
    zone: tzinfo = timezone.utc

    @classmethod
    def read(cls, zone: str = "UTC", trusted: Callable[[], bool] = clock.synced) -> Now:
        return cls(
            clock.boot_id(), clock.mono_ms(), clock.wall_ns() / 1e6, trusted(), local_zone(zone)
        )


class Moment(Struct, frozen=True):
    """A time of one run of the machine."""

    boot: str
    ms: float
    wall_ms: float | None
    """None = the clock could not be trusted, then or since."""

    @classmethod
    def of(cls, block: Block, ms: float, now: Now) -> Moment:
        if block.boot == now.boot and now.synced:
            return cls(block.boot, ms, now.wall_ms - now.ms + ms)
        return cls(block.boot, ms, block.ahead_ms + ms if block.synced else None)


class Since(Struct, frozen=True):
    """From when on."""

    span_s: float
    text: str

    def holds(self, moment: Moment, now: Now) -> bool:
        """Whether a moment lies in the span. One whose age nobody knows does not."""
        age = age_s(moment, now)
        return age is not None and age <= self.span_s


def age_s(moment: Moment, now: Now) -> float | None:
    """Seconds ago; None = nobody knows."""
    if moment.boot == now.boot:
        return (now.ms - moment.ms) / 1e3
    if moment.wall_ms is not None and now.synced:
        return (now.wall_ms - moment.wall_ms) / 1e3
    return None


def after(moment: Moment | None, other: Moment) -> bool:
    """Whether a moment is the later one; False where nobody knows."""
    if moment is None:
        return False
    if moment.boot == other.boot:
        return moment.ms > other.ms
    if moment.wall_ms is None or other.wall_ms is None:
        return False
    return moment.wall_ms > other.wall_ms


def since(text: str, now: Now) -> Since:
    """``2h``, ``30 min``, ``5m``, ``10:00`` (today, or yesterday if that is still to come) or
    RFC 3339; empty = the last hour.

    Raises:
        UsageError: it is none of these, or names a time while the clock can't be trusted.
    """
    given = text.strip()
    if not given:
        return Since(DEFAULT_S, "in the last hour")
    try:
        span = seconds(re.sub(r"(?<=[\d ])m$", "min", given))
        return Since(span, f"in the last {given}")
    except ValueError:
        pass
    local = datetime.fromtimestamp(now.wall_ms / 1e3, now.zone)
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", given):
            hour, minute = map(int, given.split(":"))
            at = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
            at = at if at <= local else at - timedelta(days=1)
        else:
            at = datetime.fromtimestamp(clock.parse_rfc3339(given) / 1e9, now.zone)
    except ValueError as error:
        raise UsageError(
            f"--since {text}: expected a span such as 2h, or a time such as 10:00"
        ) from error
    if not now.synced:
        raise UsageError(
            f"--since {text}: the clock of this device can't be trusted, so nobody knows when "
            "that was",
            remedy="Give a span: --since 2h",
        )
    return Since(
        (local - at).total_seconds(), f"since {said(Moment('', 0.0, at.timestamp() * 1e3), now)}"
    )


def said(moment: Moment, now: Now) -> str:
    """``10:12``, with the date where it was another day; ``12 min ago`` on a wrong clock."""
    if moment.wall_ms is not None and now.synced:
        local = datetime.fromtimestamp(moment.wall_ms / 1e3, now.zone)
        today = datetime.fromtimestamp(now.wall_ms / 1e3, now.zone)
        return f"{local:%H:%M}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M}"
    age = age_s(moment, now)
    if age is not None:
        return f"{span(age)} ago"
    return f"{span(moment.ms / 1e3)} after the start of an earlier run"


def span(length_s: float) -> str:
    """``40 s``, ``12 min``, ``2.5 h``, ``3 d``"""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if length_s >= 2 * size:
            return f"{length_s / size:.3g} {unit}"
    return f"{max(0.0, length_s):.0f} s"
