"""Whether a wave goes wrong: counted in total and per profile, of the devices that were asked.

The share of bad ends is taken of those *asked* in the wave, not of those that have ended:
failures are quick and successes take their probation, so a share of the ended would abort each
large wave in its first minutes. Held and unreached devices say nothing about the version and do
not count. ``after`` is how many must have ended before a share means anything; a stratum that
has fewer devices in the wave is judged once all of them have ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from edgeagent.fleet.rollout.plan import Limit, Plan
from edgeagent.fleet.rollout.standing import BAD, ENDED, Row


class Count(Struct):
    """Devices of one wave and, where it is about one, one profile."""

    size: int = 0
    asked: int = 0
    """Of them, without those that are held or were never reached."""
    ended: int = 0
    """Of the asked."""
    bad: int = 0
    well: int = 0
    held: int = 0
    unreached: int = 0
    cancelled: int = 0

    def add(self, row: Row) -> None:
        self.size += 1
        if row.standing in ("held", "unreached", "cancelled"):
            setattr(self, row.standing, getattr(self, row.standing) + 1)
        elif row.standing != "waiting":
            self.asked += 1
            self.ended += row.standing in ENDED
            self.bad += row.standing in BAD
            self.well += row.standing == "well"

    @property
    def counting(self) -> int:
        """Devices that have a say."""
        return self.size - self.held - self.unreached - self.cancelled

    @property
    def share(self) -> float:
        return self.bad / self.asked if self.asked else 0.0


class Trip(Struct, frozen=True):
    """A threshold that is passed."""

    profile: str
    """Empty = in total."""
    sentence: str


def count(rows: Iterable[Row]) -> tuple[Count, dict[str, Count]]:
    """In total and per profile."""
    total, profiles = Count(), dict[str, Count]()
    for row in rows:
        total.add(row)
        profiles.setdefault(row.profile, Count()).add(row)
    return total, profiles


def tripped(rows: Iterable[Row], plan: Plan) -> Trip | None:
    """The threshold that the rows of a wave pass, the worst profile first."""
    rows = list(rows)
    total, profiles = count(rows)
    over = [(its.share, name) for name, its in profiles.items() if _over(its, plan.profile)]
    if over:
        name = max(over)[1]
        return Trip(name, _sentence(f"profile {name}", profiles[name], plan.profile, rows, name))
    if _over(total, plan.total):
        where = ", ".join(
            f"{its.bad} × {name}"
            for name, its in sorted(profiles.items(), key=lambda item: (-item[1].bad, item[0]))
            if its.bad
        )
        sentence = _sentence("all profiles", total, plan.total, rows, None)
        return Trip("", f"{sentence}; by profile {where}")
    return None


def _over(its: Count, limit: Limit) -> bool:
    return bool(
        its.bad and its.ended >= min(limit.after, its.counting) and its.share >= limit.share - 1e-9
    )


def _sentence(who: str, its: Count, limit: Limit, rows: list[Row], profile: str | None) -> str:
    reasons: dict[str, int] = {}
    for row in rows:
        if row.standing in BAD and profile in (None, row.profile):
            reasons[cause(row)] = reasons.get(cause(row), 0) + 1
    return (
        f"{who}: {its.bad} of {its.asked} asked went wrong ({its.share:.0%}, "
        f"limit {limit.share:.0%} after {limit.after}); most often {_commonest(reasons)}"
    )


def cause(row: Row) -> str:
    """How it ended and why, as one counts it."""
    return f"{row.standing}: {row.reason}" if row.reason != row.standing else row.standing


def _commonest(reasons: Mapping[str, int]) -> str:
    text, times = max(reasons.items(), key=lambda item: (item[1], item[0]))
    return f"“{text}” ({times} ×)"
