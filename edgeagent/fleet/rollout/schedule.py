"""When a device may be asked, in its own local time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from edgeagent.config.spans import Calendar, Window
from edgeagent.errors import ConfigError
from edgeagent.fleet.rollout.plan import Plan


def open_now(plan: Plan, zone: str, now: float) -> bool:
    """Whether ``now`` (seconds since 1970) lies in a window of the plan at a device that keeps
    the time of ``zone`` (empty or unknown here: the plan's)."""
    if not plan.windows:
        return True
    return _calendar(zone, plan.timezone).within(_windows(plan.windows), int(now) * 1_000_000_000)


@lru_cache(maxsize=512)
def _calendar(zone: str, otherwise: str) -> Calendar:
    try:
        return Calendar(zone or otherwise)
    except ConfigError:
        return Calendar(otherwise)


@lru_cache(maxsize=64)
def _windows(texts: Sequence[str]) -> tuple[Window, ...]:
    return tuple(Window.parse(text) for text in texts)
