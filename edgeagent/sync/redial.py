"""Which broker comes next, in which version of MQTT, and after what pause.

Version 5 first, 3.1.1 for brokers that don't know it. Some answer that they don't; others hang
up or wait for ever, which a restarting broker does too: so that is believed for an hour only.
With several brokers each gets its try before there is a pause, the first is preferred again
after every loss, and the pauses are those of `backoff`.
"""

from __future__ import annotations

from msgspec import Struct

from edgeagent.sync import reasons
from edgeagent.sync.backoff import Backoff
from edgeagent.sync.endpoint import Endpoint, LinkSettings, Version
from edgeagent.sync.reasons import Reason

BELIEVED_S = 3600.0


class Attempt(Struct, frozen=True):
    """How one try to connect went."""

    reason: Reason
    """Why it ended."""
    reached: bool
    """The broker's host took the connection (and TLS succeeded)."""
    answered: bool
    """CONNACK came with success."""
    up_s: float | None
    """How long it was up; None = it never was."""


class Redial:
    """Plans the next connection from how the last one ended. Belongs to the link's thread."""

    def __init__(self, settings: LinkSettings) -> None:
        self._endpoints = settings.endpoints
        self._dialects = [Dialect(settings.version) for _ in settings.endpoints]
        self._backoff = Backoff(settings.ranges, settings.stable_s)
        self._choice = 0
        self.rival = False
        """Another device uses our id."""

    @property
    def endpoint(self) -> Endpoint:
        """The broker to try, or in use."""
        return self._endpoints[self._choice]

    def next(self, now: float) -> tuple[Endpoint, bool]:
        """The broker to try, and whether to speak MQTT 5."""
        return self.endpoint, self._dialects[self._choice].five(now)

    def pause(self, attempt: Attempt, now: float) -> float:
        """Seconds to wait before `next`."""
        reason = attempt.reason
        if reason is reasons.RENEWED:
            return 0.0
        if attempt.up_s is not None:
            self._backoff.held(attempt.up_s)
            self.rival = (self.rival and not self._backoff.settled) or reason.kind == "taken"
            self._choice = 0
            return self._backoff.next("taken" if self.rival else reason.kind)
        if self._other_version(attempt, now):
            return 0.0
        self._choice = (self._choice + 1) % len(self._endpoints)
        return self._backoff.next(reason.kind) if self._choice == 0 else 0.0

    def _other_version(self, attempt: Attempt, now: float) -> bool:
        if attempt.answered or not attempt.reached:
            return False
        explicit = attempt.reason.kind == "version"
        if explicit or attempt.reason.kind in ("network", "protocol"):
            return self._dialects[self._choice].refused(now, explicit=explicit)
        return False


class Dialect:
    """The version for one broker."""

    def __init__(self, wanted: Version) -> None:
        self._fixed = wanted != "auto"
        self._five = wanted != "3.1.1"
        self._until = float("inf")

    def five(self, now: float) -> bool:
        """Whether the next connection speaks MQTT 5."""
        if not self._fixed and now >= self._until:
            self._five, self._until = True, float("inf")
        return self._five

    def refused(self, now: float, *, explicit: bool) -> bool:
        """It ended before CONNACK. True if the other version should be tried at once."""
        if self._fixed:
            return False
        if self._five:
            self._five = False
            self._until = float("inf") if explicit else now + BELIEVED_S
            return True
        self._five, self._until = True, float("inf")
        return False
