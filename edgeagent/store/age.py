"""How old something stored is, on a device whose clock may have been wrong when it was written.

CLOCK_BOOTTIME tells it exactly within one boot. Between boots only a wall clock that could be
trusted then and now does; where it could not, all that is known is that the thing is older than
this boot.
"""

from __future__ import annotations

from msgspec import Struct

from edgeagent import clock as system_clock
from edgeagent.store.encode import Clock


class Now(Struct, frozen=True):
    """All clocks, read together."""

    wall_ns: int
    mono_ms: float
    boot: str
    synced: bool

    @classmethod
    def read(cls, clock: Clock = system_clock, boot: str = "") -> Now:
        """``boot``: of the machine; empty = as the kernel says."""
        its = boot or system_clock.boot_id()
        return cls(clock.wall_ns(), clock.mono_ms(), its, clock.synced())


class Stamp(Struct, frozen=True, array_like=True):
    """When something was written. ``synced``: the wall clock could be trusted."""

    wall_ns: int
    mono_ms: float = 0.0
    boot: str = ""
    synced: bool = False


class Limit(Struct, frozen=True):
    """What is older goes. Either a time, or an age."""

    now: Now
    before_ns: int
    age_s: float | None = None
    """None = ``before_ns`` was named by a person."""
    careful: bool = False
    """What may be younger stays (a rule that is enforced again and again); else it goes (somebody
    wants things gone)."""

    @classmethod
    def of_age(cls, now: Now, age_s: float, *, careful: bool) -> Limit:
        return cls(now, now.wall_ns - int(age_s * 1e9), age_s, careful)

    def reached(self, its: Stamp) -> bool:
        """Whether something of this stamp is to go."""
        now = self.now
        if its.boot == now.boot:
            # What it is in UTC is not known as long as the clock is not; its age always is.
            ago_s = (now.mono_ms - its.mono_ms) / 1000
            if self.age_s is not None:
                return ago_s >= self.age_s
            if now.synced:
                return now.wall_ns - int(ago_s * 1e9) < self.before_ns
        if its.synced and (now.synced or self.age_s is None):
            return its.wall_ns < self.before_ns
        if self.careful and self.age_s is not None:
            return its.boot not in ("", now.boot) and now.mono_ms / 1000 >= self.age_s
        return True
