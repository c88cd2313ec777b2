"""A limit to how often something may happen: a bucket of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeagent.config.units import seconds

if TYPE_CHECKING:
    from edgeagent.config.model import Limit


class Bucket:
    """Holds ``events`` tokens, and gets as many back within ``per``; time that stands still or
    goes back gives none."""

    def __init__(self, limit: Limit) -> None:
        self._most = float(limit.events)
        self._per_ms = limit.events / (seconds(limit.per) * 1000)
        self._tokens = self._most
        self._now_ms: float | None = None

    def take(self, now_ms: float) -> bool:
        """Whether one more may happen now."""
        if self._now_ms is not None and now_ms > self._now_ms:
            self._tokens = min(self._most, self._tokens + (now_ms - self._now_ms) * self._per_ms)
        self._now_ms = now_ms
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True
