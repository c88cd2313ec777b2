"""What a rollout was asked to do: said once when it is created, and never changed after."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

from msgspec import Struct, field

from edgeagent.config.spans import Calendar, Window
from edgeagent.errors import ConfigError, UsageError
from edgeagent.prove.semver import is_version
from edgeagent.sync.topics import is_id


class Limit(Struct, frozen=True):
    """Too many: ``share`` (0..1) of the devices that were asked, once ``after`` have ended."""

    share: float
    after: int = 1


class Pace(Struct, frozen=True):
    """How quickly devices of a wave are asked.

    ``per_minute`` 0 = all at once. It is multiplied by ``factor`` each time that ``every`` more
    devices are well (exponential; ``every`` 0 = constant), up to ``most_per_minute`` (0 = any).
    """

    per_minute: float = 0.0
    factor: float = 1.0
    every: int = 0
    most_per_minute: float = 0.0
    at_once: int = 0
    """Devices that may be under way at a time; 0 = any number."""


class Quality(Struct, frozen=True):
    """How far a wave's outputs may be from what they were before; 0 = not judged."""

    rate: float = 0.0
    """Relative change of events per hour, either way: 0.5 = half or double … (see `quality`)."""
    score: float = 0.0
    """Shift of the 10th, 50th and 90th percentile of events' scores."""
    before_s: float = 86400.0
    after_s: float = 3600.0

    @property
    def judged(self) -> bool:
        return bool(self.rate or self.score)


class Plan(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """All of it. Durations in seconds, shares 0..1."""

    model: str
    version: str
    group: str = ""
    """Whose devices are meant; empty = all."""
    devices: tuple[str, ...] = ()
    """Or these."""
    canary: str = ""
    """A group whose devices all are in the first wave."""
    shares: tuple[float, ...] = (0.05, 0.25, 1.0)
    """How much of each profile has been asked by the end of each wave."""
    least: int = 3
    """Devices of each profile in each wave, while there are so many."""
    total: Limit = Limit(0.1, 10)
    profile: Limit = Limit(0.3, 3)
    pace: Pace = field(default_factory=Pace)
    windows: tuple[str, ...] = ()
    """Local times in which devices are asked, as ``sync.budget.quiet`` writes them."""
    timezone: str = "UTC"
    """Of devices that do not say theirs."""
    timeout_s: float = 7200.0
    """For a device that was reached, from being asked to the end of its deployment."""
    settle_s: float = 120.0
    """How long after it committed a device must still be heard of."""
    silent_s: float = 900.0
    """Without a sign of life for so long after it committed a device is lost."""
    reach_s: float = 600.0
    """How long a wave waits for devices that were away when it began."""
    quality: Quality = field(default_factory=Quality)
    ask: bool = False
    """Pause at the end of each wave, for a person."""
    give_back: bool = False
    """When it aborts, devices that committed go back as well (a downgrade)."""
    policy: dict[str, Any] = field(default_factory=dict)
    """For each device's deployment: ``soak_s``, ``shadow_s``, ``expires`` …"""

    @property
    def target(self) -> str:
        return f"{self.model}@{self.version}"

    def check(self) -> Plan:
        """Itself. Raises UsageError, ConfigError."""
        if not is_id(self.model) or not is_version(self.version):
            raise UsageError(
                f"{self.target} is no model with its version",
                remedy="Write it as parts@1.3.0.",
            )
        for name in filter(None, (self.group, self.canary, *self.devices)):
            if not is_id(name):
                raise UsageError(f"{name!r} can't be the id of a device or group")
        rising = (0.0, *self.shares)
        if not self.shares or any(b <= a for a, b in pairwise(rising)) or rising[-1] > 1:
            raise UsageError(
                "the waves' shares must rise, up to 100 %",
                remedy='Write them as "5%,25%,100%".',
            )
        for limit in (self.total, self.profile):
            if not 0 < limit.share <= 1 or limit.after < 1:
                raise UsageError(
                    "a threshold lies between 0 and 100 %, after 1 device or more",
                    remedy='Write it as "10% after 10".',
                )
        self._check_pace()
        for text in self.windows:
            try:
                Window.parse(text)
            except ConfigError as error:
                raise UsageError(
                    f"--between {text!r} is not a time of the day", remedy=error.remedy
                ) from error
        Calendar(self.timezone)
        return self

    def _check_pace(self) -> None:
        pace = self.pace
        if min(pace.per_minute, pace.every, pace.at_once, pace.most_per_minute) < 0:
            raise UsageError("rates and counts can't be negative")
        if pace.factor < 1 or (pace.factor > 1 and not (pace.every and pace.per_minute)):
            raise UsageError(
                "a rate grows by a factor above 1, each time that so many devices are well",
                remedy='Write it as "--rate 10 --grow 2 --every 50".',
            )


RolloutState = Literal["running", "paused", "aborting", "aborted", "done"]
FINISHED: frozenset[str] = frozenset({"aborted", "done"})
Wish = Literal["", "pause", "resume", "abort"]
